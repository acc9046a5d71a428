"""`python -m bench.edge_page docs/figures > docs/evidence-edge.md`: what the edge's programs measured, as one page.

The folder holds their output as it was printed, a file a section: sight, close, peak, growth, streaming (`bench.edge`),
kafka (`bench.kafka`), kills, crash_points, resend, canary (`tests.campaigns`). Nothing is left out: a figure below its
target stands beside it, and a file that is missing is a section that says so.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
UNMEASURED = "*Not measured.*"
HEAD = """# Evidence: the edge

Made by `make edge-page` from what `make bench`, `make bench-kafka` and `make evidence-edge` printed, which is kept as it
was in `docs/figures`. Speeds are of made-up rows, in CPU seconds of driver, JVM and workers, beside yardsticks of the same
run. The machines are shared and noisy: read the ratios first.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, what was asked, and whether it was reached; None where nothing was."""

    what: str
    asked: str
    seen: str
    reached: bool | None = None

    def line(self) -> str:
        """The row of a Markdown table."""
        verdict = {True: "yes", False: "**no**", None: ""}[self.reached]
        return f"| {self.what} | {self.asked} | {self.seen} | {verdict} |"


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    sys.stdout.write(page(parser.parse_args().folder))


def page(folder: Path) -> str:
    """The page over all sections whose output is in the folder."""
    parts = [HEAD]
    for name, title, rows in SECTIONS:
        path = folder / f"{name}.json"
        parts.append(f"\n## {title}\n\n")
        if not path.exists():
            parts.append(UNMEASURED + "\n")
            continue
        found = json.loads(path.read_bytes())
        parts.append(f"Commit {found['commit']}, seed {found['seed']}, {found['machine']}.\n\n")
        parts.append("| | asked | seen | reached |\n|---|---|---|---|\n")
        parts += [row.line() + "\n" for row in rows(found)]
    return "".join(parts)


def _at_least(what: str, asked: float, seen: float) -> Row:
    return Row(what, f"at least {asked:,}", f"{seen:,}", seen >= asked)


def _at_most(what: str, asked: float, seen: float) -> Row:
    return Row(what, f"at most {asked:,}", f"{seen:,}", seen <= asked)


def _sight(found: Figures) -> Iterator[Row]:
    sight = found["sight"]
    yield _at_least("rows per CPU-second, the door included", 350_000, sight["sight_rows_per_cpu_s"])
    yield _at_least("share of Spark's bare scan of the same files", 0.35, sight["sight_to_bare_scan"])
    yield Row("share of Polars alone in one process", "", f"{sight['sight_to_polars_alone']}")
    yield Row("rows", "", f"{sight['rows']:,}")


def _close(found: Figures) -> Iterator[Row]:
    close = found["close"]
    yield _at_least("sightings per CPU-second", 350_000, close["close_sightings_per_cpu_s"])
    yield _at_least("share of Polars alone in one process", 0.15, close["close_to_polars_alone"])
    yield Row("sightings", "", f"{close['sightings']:,}")


def _peak(found: Figures) -> Iterator[Row]:
    peak = found["peak"]
    yield Row("sightings of the hour", "43 million", f"{peak['sightings']:,}", peak["sightings"] >= 43_000_000)
    yield _at_most("seconds on 2 cores", 90, peak["wall_s"])
    yield _at_most("GB at most, driver, JVM and workers together", 6, peak["peak_rss_gb"])
    yield Row("sealed bytes a sighting", "", f"{peak['sealed_bytes_per_sighting']}")


def _growth(found: Figures) -> Iterator[Row]:
    growth = found["growth"]
    yield _at_most("exponent of CPU seconds over sightings", 1.05, growth["exponent"])
    for one in growth["points"]:
        yield Row(f"CPU-seconds of {one['sightings']:,} sightings", "", f"{one['cpu_s']}")


def _streaming(found: Figures) -> Iterator[Row]:
    streaming = found["streaming"]
    for batch, factor in streaming["close_to_the_best_by_batch"].items():
        yield _at_least(f"factor over the best variant, {int(batch):,} sightings a batch", 2.5, factor)
    yield Row("factor over the per-token variant", "for the record", f"{streaming['close_to_per_token']:,}")
    for one in streaming["variants"]:
        said = f"{one['sightings_per_cpu_s']:,} of {one['sightings']:,}, {one['sightings_a_batch']:,} a batch"
        counts = "" if one["counts_equal"] else "; other counts than the close"
        yield Row(f"{one['variant']}, sightings per CPU-second", "", said + counts)


def _kafka(found: Figures) -> Iterator[Row]:
    backlog, steady = found["backlog"], found["steady"]
    yield _at_least("`sight` from JSON, rows per CPU-second", 80_000, backlog["sight_from_kafka_rows_per_cpu_s"])
    for name, rate in backlog["profile_rows_per_cpu_s"].items():
        yield Row(f"profile: {name.replace('_', ' ')}, rows per CPU-second", "", f"{rate:,}")
    rate, seconds = steady["rate_produced"], steady["seconds"]
    yield Row("steady stream", "20,000/s, 600 s", f"{rate:,}/s, {seconds} s", rate >= 20_000 and seconds >= 600)
    yield Row("produced, received", "", f"{steady['produced']:,}, {steady['received']:,}")
    yield _at_most("unaccounted", 0, steady["unaccounted"])
    slope = steady["backlog_slope_rows_per_s"]
    yield Row("growth of the backlog, rows a second", "at most 1 % of the stream", f"{slope}", slope <= rate / 100)
    yield Row("backlog at most, seconds of stream", "", f"{steady['backlog_max_s_of_stream']}")


def _faults(found: Figures) -> Iterator[Row]:
    for name in ("lost_sightings", "doubled_sightings", "wrong_counts", "second_digests"):
        yield _at_most(name.replace("_", " "), 0, found[name])
    others = {name: count for name, count in found["faults"].items() if count}
    yield Row("all faults", "none", json.dumps(others) if others else "none", not others)
    seconds = found["recovery_seconds"]
    yield Row("recovery, seconds", "", f"median {seconds['median']}, max {seconds['max']}")


def _kills(found: Figures) -> Iterator[Row]:
    yield _at_least("kills from outside (SIGKILL)", 40, found["kills"])
    for victim in ("driver", "worker", "broker"):
        yield _at_least(f"of them of a {victim}", 1, found["killed"].get(victim, 0))
    yield from _faults(found)


def _crash_points(found: Figures) -> Iterator[Row]:
    yield _at_least("crashes", 1000, found["crashes"])
    yield Row("runs", "", f"{found['runs']}, {found['runs_of_a_whole_token_day']} of a whole token-day")
    yield from _faults(found)


def _resend(found: Figures) -> Iterator[Row]:
    yield _at_least("windows compared with the clean day's, before noise", 24, found["windows_compared"])
    yield _at_most("windows that differ", 0, found["windows_that_differ"])
    yield _at_most("day levels that differ", 0, found["levels_that_differ"])
    yield Row("rows sent, movements", "", f"{found['rows_sent_twice']:,}, {found['movements_counted']:,}")
    yield Row("all faults", "none", json.dumps(found["faults"]) if found["faults"] else "none", not found["faults"])


def _canary(found: Figures) -> Iterator[Row]:
    planted = found["planted_tokens"]
    yield _at_least("planted tokens", 1000, planted)
    yield _at_least("found before the turn, with the day's key", planted, found["found_before_the_turn_with_the_key"])
    for name, what in (
        ("found_before_the_turn_without_it", "found before the turn without the key"),
        ("found_after_the_turn", "found after the turn"),
        ("found_in_a_backup_after_the_turn", "found in a copy made before the turn"),
        ("found_in_output_and_logs", "found in output and logs"),
        ("key_found_after", "keys found after the turn"),
    ):
        yield _at_most(what, 0, found[name])
    yield Row("all faults", "none", json.dumps(found["faults"]) if found["faults"] else "none", not found["faults"])


SECTIONS: tuple[tuple[str, str, Callable[[Figures], Iterator[Row]]], ...] = (
    ("sight", "`sight` from Parquet", _sight),
    ("kafka", "`sight` from Kafka, and end to end", _kafka),
    ("close", "`close`", _close),
    ("peak", "A nation's belt at its peak", _peak),
    ("growth", "Growth with size", _growth),
    ("streaming", "Beside streaming state", _streaming),
    ("kills", "Random kills from outside", _kills),
    ("crash_points", "Crash points", _crash_points),
    ("resend", "A day sent twice, shuffled, with duplicates and garbage", _resend),
    ("canary", "Planted tokens after the turn of the key", _canary),
)

if __name__ == "__main__":
    main()
