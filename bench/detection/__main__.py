"""`python -m bench.detection`: what the detector finds, beside other methods and an oracle, under the same floors.

    python -m bench.detection --quick --markdown
    python -m bench.detection --world simulated --seeds 1 2 --json
    python -m bench.detection --from docs/figures/detection.json --markdown

The whole takes about an hour on one core; progress goes to stderr. Worlds are simulated, auckland, and simulated-3 (three
carriers, each with its own noise and threshold).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from bench.detection import ets, farrington
from bench.detection.figures import Extent, cost, figures, measure, new_zones, on_a_subset, tell
from bench.detection.page import page
from bench.detection.planting import PLAN
from bench.detection.worlds import World, auckland, simulated
from bench.machine import provenance

WORLDS: Final = {"simulated": (1, 2, 3), "auckland": (0, 1, 2), "simulated-3": (1,)}
TITLES: Final = {"simulated": "simulated", "auckland": "Auckland counts", "simulated-3": "simulated, three carriers"}


def main() -> None:
    """Print Markdown, or JSON when asked."""
    parser = argparse.ArgumentParser(prog="python -m bench.detection", description="What the detector finds.")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true")
    shape.add_argument("--markdown", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small borders, few surges, no cost")
    parser.add_argument("--world", choices=sorted(WORLDS), action="append")
    parser.add_argument("--seeds", type=int, nargs="*")
    parser.add_argument("--without-r", action="store_true", help="leave Farrington out")
    parser.add_argument("--without-cost", action="store_true")
    parser.add_argument("--from", dest="path", type=Path, help="print the page of figures that were printed before")
    asked = parser.parse_args()
    if asked.path:
        report = json.loads(asked.path.read_bytes())
    else:
        report = measured_report(
            asked.world or list(WORLDS),
            asked.seeds,
            quick=asked.quick,
            with_r=not asked.without_r,
            with_cost=not (asked.without_cost or asked.quick),
        )
    sys.stdout.write(json.dumps(report, indent=1) + "\n" if asked.json else page(report))


def measured_report(
    worlds: list[str], seeds: list[int] | None, *, quick: bool, with_r: bool, with_cost: bool
) -> dict[str, Any]:
    """All figures asked for; a world that nobody asked for is None."""
    left_out = []
    if with_r and farrington.missing():
        left_out.append(f"Farrington flexible: {farrington.missing()}")
    elif not with_r:
        left_out.append("Farrington flexible and STL + ETS: not asked for")
    if with_r and ets.missing():
        left_out.append(f"STL + ETS: {ets.missing()}")
    report: dict[str, Any] = {**provenance(None), "worlds": {}, "left_out": left_out}
    for name, usual in WORLDS.items():
        if name not in worlds:
            continue
        chosen = seeds if seeds is not None else list(usual[:1] if quick else usual)
        whole = name != "simulated-3"
        extent = Extent(with_r=with_r and whole, ablations=whole and not quick)
        if quick:
            extent = Extent(copies=2, plan=PLAN[::3], ablations=False, with_r=with_r and whole, rounds=60, rows=60_000)
        found = [measure(_world(name, seed, quick=quick), extent) for seed in chosen]
        told = report["worlds"][TITLES[name]] = figures(found)
        rate = told["own_policy"]["false_rate"]["value"]
        tell(f"{name}: recall over the oracle's {told['to_oracle']['value']}, {rate} false alerts at its own policy")
        if name == "simulated":
            report["worlds"][TITLES[name]]["new_zones"] = new_zones(found[0])
            if with_r and ets.missing() is None:
                report["worlds"][TITLES[name]]["subset"] = on_a_subset(found[0], 2 if quick else 8)
    report["cost"] = cost() if with_cost else None
    return report


def _world(name: str, seed: int, *, quick: bool) -> World:
    if name == "auckland":
        return auckland(seed, months=2.0 if quick else 6.0, learn_days=200 if quick else 365)
    carriers = 3 if name == "simulated-3" else 1
    if quick:
        return simulated(seed, zones=12, months=2.0, learn_days=200, carriers=carriers)
    return simulated(seed, carriers=carriers)


if __name__ == "__main__":
    main()
