"""How long each bad cell plan takes to be refused: the files of `tests/geofence/bad_plans.py`, the slowest first."""

import json
import tempfile
import time
from pathlib import Path

from bench.machine import provenance
from geofence.cell_plan import CellPlanError, read_cell_plan
from tests.geofence.bad_plans import bad_plans


def main() -> None:
    """Print one JSON object: how many plans, and seconds by plan."""
    seconds, not_refused = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for bad in bad_plans(Path(folder)):
            began = time.perf_counter()
            try:
                read_cell_plan(bad.path)
                not_refused.append(bad.name)
            except CellPlanError as refused:
                if not refused.rule.startswith(bad.rule):
                    not_refused.append(bad.name)
            seconds[bad.name] = round(time.perf_counter() - began, 3)
    slowest = dict(sorted(seconds.items(), key=lambda row: -row[1])[:5])
    row = {**provenance(None), "plans": len(seconds), "not_refused_by_their_rule": not_refused, "slowest": slowest}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
