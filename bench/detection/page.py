"""The figures as a page for people: what "must show" asks, what was seen, whether it was reached."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.detection.evaluate import BUDGET, PREVALENCE
from bench.detection.figures import FARRINGTON, FLOORS, ORACLE, OURS
from bench.edge_page import UNMEASURED, Row

Figures = Mapping[str, Any]
HEAD = f"""# Evidence: detection

Made by `make evidence-detection`. Every figure is at noise of sigma 9.45 a carrier, nothing published below 50, and the
floors of design.md section 6, which stand over every method that is not named `without floors`. Intervals are 95 %, by a
bootstrap over surges (recall), the same surges for both (ratios) and zones (false alerts); that a threshold is itself
uncertain is not in them.
*Matched* means: every method has the threshold that leaves it {BUDGET} false alerts per zone-month on the test span itself,
all kinds of time included; it is fair between methods and flatters each. *Own policy* means the threshold as it stood
before the test span. Surges that test come from `bench/detection/planting.py`, not from what trains.

The oracle is told the true mean and spread of every zone-hour. On the Auckland counts nobody knows them: there it has a
smooth over the whole series, the future included, and real crowds that nobody marked count as false alerts of everybody.
"""


def page(report: Figures) -> str:
    """The page of what `python -m bench.detection --json` printed."""
    parts = [HEAD, f"\nCommit {report['commit']}, {report['machine']}.\n"]
    for kind, found in report["worlds"].items():
        parts.append(f"\n## {kind}\n\n")
        if found is None:
            parts.append(UNMEASURED + "\n")
            continue
        parts.append(
            f"{'; '.join(found['worlds'])}. {found['zone_months']:,} zone-months without a surge, "
            f"{found['surges_of_the_plan']} surges of 30 to 800 and {found['one_hour_bursts']} one-hour bursts planted.\n\n"
        )
        parts.append("| | asked | seen | reached |\n|---|---|---|---|\n")
        parts += [row.line() + "\n" for row in _rows(kind, found)]
        parts += _tables(found)
    parts.append("\n## Cost\n\n| | asked | seen | reached |\n|---|---|---|---|\n")
    parts += [row.line() + "\n" for row in _cost(report.get("cost"))]
    if report.get("left_out"):
        parts.append("\nLeft out: " + "; ".join(report["left_out"]) + ".\n")
    return "".join(parts)


def _rows(kind: str, found: Figures) -> Iterator[Row]:
    own, target = found["own_policy"], kind == "simulated"
    yield _ratio("recall over the oracle's, matched", 0.90, found["to_oracle"])
    yield _ratio(
        f"PPV over the oracle's, matched, {PREVALENCE} surges per zone-month", 0.90, found["precision_to_oracle"]
    )
    for name, least in ((FLOORS, 1.0), (FARRINGTON, 1.5)):
        for which, what in (("above_30", "surges of the plan"), ("above_30_ladder", "one-hour bursts")):
            yield _ratio(
                f"recall over {name}, background over 30, {what}", least, found[which].get(name), above=least == 1.0
            )
    for background, by_method in own["at_least_90_an_hour"].items():
        seen, low = by_method[OURS], float(background.split()[0])
        asked = 0.95 if low < 50 and target else None
        yield _share(f"recall of 90 and more in an hour, background {background}, own policy", asked, seen)
    yield Row("surges that nobody could see under the floors", "", f"{found['unseen_by_anyone']['share']:.3f}")
    rate = own["false_rate"]
    yield Row(
        "false alerts per zone-month at its own policy, later months",
        f"{BUDGET / 2} to {BUDGET * 2}, over 300 zone-months",
        f"{rate['value']} {_span(rate)}, {rate['alerts']} alerts in {rate['zone_months']:,} zone-months; {rate['by_run']}",
        BUDGET / 2 <= rate["value"] <= BUDGET * 2 and rate["zone_months"] >= 300,
    )
    yield _lunar(own["by_regime"])
    if found.get("beside_first_look"):
        worst = min(found["beside_first_look"].items(), key=lambda item: item[1])
        yield Row(
            "worst size class beside the first look alone",
            "at least -0.05",
            f"{worst[1]} at {worst[0]}",
            worst[1] >= -0.05,
        )
    else:
        yield Row("worst size class beside the first look alone", "at least -0.05", UNMEASURED)
    yield from _calibration(found["calibration"])
    excess, delay = found["excess"], found["delay"]
    median = excess["median"]
    yield Row(
        "excess said over excess planted, in flagged hours, median",
        "0.9 to 1.1",
        f"{median}, quartiles {excess['quartiles']}, {excess['surges']} surges",
        median is not None and 0.9 <= median <= 1.1,
    )
    yield Row("hours from a surge's first to its first flag", "", f"mean {delay['mean']}, 90 % within {delay['p90']}")
    if found.get("new_zones"):
        young = found["new_zones"]
        yield _ratio("recall with 14 days of history over mature recall, own policy", 0.90, young["ratio"])
    elif target:
        yield Row("recall with 14 days of history over mature recall", "at least 0.9", UNMEASURED)


def _lunar(by_regime: Figures) -> Row:
    lunar, quiet = by_regime["lunar_new_year"], by_regime["quiet"]
    what, asked = "false alerts at the lunar new year over quiet time, own policy", "at most 2"
    if not lunar["zone_months"]:
        return Row(what, asked, "no lunar new year in the test span")
    if not quiet["rate"]:
        return Row(what, asked, f"none in quiet time; {lunar['rate']} at the lunar new year", lunar["rate"] == 0)
    ratio = lunar["rate"] / quiet["rate"]
    return Row(what, asked, f"{ratio:.2f} ({lunar['rate']} over {quiet['rate']})", ratio <= 2)


def _calibration(found: Figures | None) -> Iterator[Row]:
    for name, what, asked in (
        ("ece", "calibration error (ECE) at 0.5 surges per zone-month, by zone-hour", "at most 0.005"),
        ("brier_skill", "Brier skill at 0.5 surges per zone-month, by zone-hour", "at least 0.2"),
    ):
        if found is None:
            yield Row(what, asked, UNMEASURED)
        else:
            value = found[name]
            yield Row(what, asked, f"{value}", value <= 0.005 if name == "ece" else value >= 0.2)


def _cost(found: Figures | None) -> Iterator[Row]:
    for name, what, most in (
        ("retrain_cpu_s", "CPU-seconds of a full retrain, 200 zones, 1 year", 90),
        ("hour_cpu_s", "CPU-seconds of an hour's detection, features and reasons included", 1),
    ):
        if found is None:
            yield Row(what, f"under {most}", UNMEASURED)
        else:
            yield Row(what, f"under {most}", f"{found[name]}", found[name] < most)


def _tables(found: Figures) -> Iterator[str]:
    names = list(found["methods"])
    for title, asked in (("Matched at the budget", found), ("In ordinary time, matched", found["ordinary_time"])):
        yield f"\n### {title}\n\n"
        if asked is not found:
            yield (
                f"Alerts at unregistered festivals, in the three weeks after a level shift and around drop-outs left out: "
                f"{asked['zone_months']:,} zone-months.\n\n"
            )
        yield "| method | recall | false alerts per zone-month | PPV |\n|---|---|---|---|\n"
        for name in names:
            one = asked["methods"][name]
            yield f"| {name} | {_value(one['recall'])} | {one['false_rate']['value']} | {one['precision']} |\n"
        if asked is found:
            one = found["floors_as_they_are"]
            yield (
                f"| whatever passes the floors, not matched | {_value(one['recall'])} | {one['false_rate']['value']} | "
                f"{one['precision']} |\n"
            )
    yield "\n### At the threshold from before the test span\n\n"
    yield "| method | recall | false alerts per zone-month | PPV |\n|---|---|---|---|\n"
    for name, one in found["own_policy"]["methods"].items():
        yield f"| {name} | {_value(one['recall'])} | {_value(one['false_rate'])} | {one['precision']} |\n"
    if found.get("subset"):
        part = found["subset"]
        yield f"\n### On {part['zones']} zones alone, matched\n\n"
        yield (
            f"{part['zone_months']} zone-months, {part['surges']} surges, most of them one-hour bursts: a model that is too "
            "slow for all zones (`bench/detection/ets.py`).\n\n"
        )
        yield "| method | recall | false alerts per zone-month | PPV |\n|---|---|---|---|\n"
        for name, one in part["methods"].items():
            yield f"| {name} | {_value(one['recall'])} | {one['false_rate']['value']} | {one['precision']} |\n"
    for title, key in (
        ("Recall by size (over all hours and zones), matched", "by_size"),
        ("Recall by background (movements an hour), matched", "by_background"),
        ("Recall by signal-to-noise of the surge's hours, matched", "by_snr"),
        ("Recall of 90 and more in one hour by background, matched", "at_least_90_an_hour"),
    ):
        yield f"\n### {title}\n\n"
        yield from _table(found[key], names)
    yield "\n### Smallest one-hour burst of which nine in ten are found, by background, matched\n\n"
    columns = list(found["smallest_visible"])
    yield "| method | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 1) + "\n"
    for name in names:
        cells = [found["smallest_visible"][column][name] for column in columns]
        yield f"| {name} | " + " | ".join("none" if cell is None else str(cell) for cell in cells) + " |\n"
    yield "\n### False alerts by kind of time, own policy\n\n| | alerts | zone-months | rate |\n|---|---|---|---|\n"
    for regime, one in found["own_policy"]["by_regime"].items():
        yield f"| {regime.replace('_', ' ')} | {one['alerts']} | {one['zone_months']} | {one['rate']} |\n"
    if found["calibration"]:
        yield "\n### What is said and what is so\n\n| said | real | share of hours |\n|---|---|---|\n"
        for one in found["calibration"]["table"]:
            yield f"| {one['said']} | {one['real']} | {one['share']} |\n"


def _table(rows: Figures, names: list[str]) -> Iterator[str]:
    columns = [column for column in rows if rows[column][ORACLE]["surges"]]
    yield "| method | " + " | ".join(f"{c} (n = {rows[c][ORACLE]['surges']})" for c in columns) + " |\n"
    yield "|" + "---|" * (len(columns) + 1) + "\n"
    for name in names:
        yield f"| {name} | " + " | ".join(f"{rows[c][name]['value']:.3f}" for c in columns) + " |\n"


def _value(found: Figures) -> str:
    return "none" if found["value"] is None else f"{found['value']:.3f} {_span(found)}"


def _span(found: Figures) -> str:
    return "" if not found.get("interval") else "({:.3f} to {:.3f})".format(*found["interval"])


def _ratio(what: str, least: float, found: Figures | None, *, above: bool = False) -> Row:
    asked = f"more than {least:g}" if above else f"at least {least:g}"
    if found is None:
        return Row(what, asked, UNMEASURED)
    value = found["value"]
    if value is None:
        ours = found.get("found", 0)
        return Row(what, asked, f"{ours} of {found['surges']} over none", True if ours else None)
    return Row(what, asked, f"{value:.3f} {_span(found)}", value > least if above else value >= least)


def _share(what: str, least: float | None, found: Figures) -> Row:
    if found["value"] is None:
        return Row(what, f"at least {least}" if least else "", UNMEASURED)
    seen = f"{_value(found)}, n = {found['surges']}"
    return Row(what, f"at least {least}", seen, found["value"] >= least) if least else Row(what, "", seen)
