"""How long each bad zone file takes to be refused, and by which rule: the files of `tests/geofence/bad_zones.py`.

Timed is what `zones check` does with a file once it runs: reading the file and the border line and asking every rule. The
start of the process (about a second of imports) is not, and neither is writing the bad file.
"""

import argparse
import json
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.machine import provenance
from geofence.border import BorderError, read_border
from geofence.check import check_home_country, check_zone_grid
from geofence.grid import GridError, read_zone_grid
from tests.geofence.bad_zones import BAD_ZONES, BadZones, lines

LIMIT_S = 1.0


def main() -> None:
    """Print one row a file as JSON, the slowest first, or as a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    rows = sorted(refusals(), key=lambda row: -row["cpu_seconds"])
    report = {
        **provenance(None),
        "files": len(rows),
        "refused_by_their_rule": sum(row["as_expected"] for row in rows),
        "slower_than_1_s": sum(row["cpu_seconds"] > LIMIT_S for row in rows),
        "slowest_cpu_seconds": rows[0]["cpu_seconds"],
    }
    if not asked.markdown:
        print(json.dumps({**report, "rows": rows}, indent=1))
        return
    print("\n".join(f"{name.replace('_', ' ')}: {value}  " for name, value in report.items()))
    print("\n| file | refused by | CPU seconds |\n|---|---|---|")
    print("\n".join(f"| {row['file']} | `{row['rule']}` | {row['cpu_seconds']:.2f} |" for row in rows))


def refusals() -> list[dict[str, Any]]:
    """Every bad file with the rule that refused it and the seconds that took."""
    with tempfile.TemporaryDirectory() as folder:
        borders = lines(Path(folder))
        refuse(BAD_ZONES[0], BAD_ZONES[0].write(Path(folder)), borders)  # libraries are loaded by the first
        rows = []
        for number, bad in enumerate(BAD_ZONES):
            room = Path(folder) / str(number)
            room.mkdir()
            path = bad.write(room)
            began, cpu = time.perf_counter(), time.process_time()
            rule = refuse(bad, path, borders)
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
            rows.append(
                {
                    "file": bad.title,
                    "rule": rule,
                    "as_expected": rule == bad.rule.label,
                    "cpu_seconds": round(cpu_seconds, 3),
                    "seconds": round(seconds, 3),
                }
            )
    return rows


def refuse(bad: BadZones, path: Path, borders: dict[bool, Path]) -> str:
    """The name of the rule that refuses a file; empty if none does."""
    said = dict(zip(bad.options[::2], bad.options[1::2], strict=True))
    turn, start = said.get("--turn-hour"), said.get("--valid-from")
    try:
        grid = read_zone_grid(
            path,
            turn_hour_utc=None if turn is None else int(turn),
            valid_from=None if start is None else datetime.fromisoformat(start),
        )
        border = read_border(borders[bad.long_border])
        check_zone_grid(grid, border.line)
        check_home_country(grid, border, said.get("--home"))
    except (GridError, BorderError) as refused:
        return getattr(refused.rule, "label", str(refused.rule))
    return ""


if __name__ == "__main__":
    main()
