"""`make evidence`: every figure that README quotes, with commit, seed and machine, as Markdown and JSON.

The demo's whole way is run for several seeds, each a border drawn anew; the surges' sizes are fixed in the code. Group
visibility draws through the product's own mechanism and threshold.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.machine import provenance
from jobs.demo import run_demo
from privacy.accountant import epsilon
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy
from privacy.suppression import suppress

SEEDS = (1, 2, 3)
GROUPS = (5, 10, 20, 30, 50, 100)
DRAWS = 20_000
DAYS = (1, 7, 30, 365)


def main() -> None:
    """Print Markdown, or JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=list(SEEDS))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    report = {
        "privacy": {**provenance(None), "epsilon": epsilon_by_days(), "published_share": group_visibility()},
        "demo": [demo_figures(seed) for seed in asked.seeds],
    }
    print(json.dumps(report, indent=1) if asked.json else markdown(report))


def epsilon_by_days() -> dict[str, float]:
    """What the day's budget means over a number of device-days at one carrier, for one delta in total."""
    policy = ReleasePolicy()
    return {str(days): round(epsilon(policy.rho_day, policy.delta, days=days), 2) for days in DAYS}


def group_visibility() -> dict[str, float]:
    """In which share of draws a zone-hour whose whole true count is the group's is published at all."""
    policy = ReleasePolicy()
    mechanism = DiscreteGaussian(policy)
    shares = {}
    for size in GROUPS:
        drawn = mechanism.draw([size] * DRAWS)
        shares[str(size)] = sum(suppress(value, policy.threshold) is not None for value in drawn) / DRAWS
    return shares


def demo_figures(seed: int) -> dict[str, Any]:
    """What one whole demo run found and what it flagged falsely."""
    folder = Path(tempfile.mkdtemp(prefix="tidemark-evidence-"))
    try:
        report = run_demo(folder / "demo", seed=seed, tell=lambda title: print(title, file=sys.stderr))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = ("events_read", "refused_by_reason", "sightings", "hours_closed", "share_suppressed", "zone_months")
    found = ("false_alerts_per_zone_month", "surges_in_the_month", "surges_through_spark", "ledger", "seconds")
    return {**provenance(seed), **{name: report[name] for name in (*names, *found)}}


def markdown(report: dict[str, Any]) -> str:
    """The report for people."""
    privacy = report["privacy"]
    lines = [
        f"Commit {privacy['commit']}, {privacy['machine']}.",
        "",
        "| device-days | epsilon at delta 1e-6 |",
        "|---|---|",
    ]
    lines += [f"| {days} | {value} |" for days, value in privacy["epsilon"].items()]
    lines += ["", f"| true count of the zone-hour | published, share of {DRAWS} draws |", "|---|---|"]
    lines += [f"| {size} | {share:.4f} |" for size, share in privacy["published_share"].items()]
    head = (
        "seed",
        "events",
        "sightings",
        "suppressed",
        "false alerts per zone-month",
        "found in the month",
        "through Spark",
        "seconds",
    )
    lines += ["", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for run in report["demo"]:
        month, spark = run["surges_in_the_month"], run["surges_through_spark"]
        cells = (
            run["seed"],
            run["events_read"],
            run["sightings"],
            run["share_suppressed"],
            run["false_alerts_per_zone_month"],
            f"{month['found']}/{month['planted']} {month['by_size']}",
            f"{spark['found']}/{spark['planted']}",
            round(sum(run["seconds"].values())),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
