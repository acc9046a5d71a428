"""`python -m tests.guards`: the seven guards of the promise, each taken out of a copy of the code, and the test that fails.

    python -m tests.guards                # the seven, one after the other: a few minutes
    python -m tests.guards --list         # names only
    python -m tests.guards --all          # every guard that tests/test_mutations.py knows

Exit code 1 if a guard can be taken out unnoticed.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.test_mutations import MUTATIONS, Mutation, copied, without_guard

SEVEN = {
    "bound": ("the contribution bound", "the counters in the carry-over"),
    "threshold": ("the threshold", "the threshold of the day levels"),
    "ledger": ("the ledger's memory of a window", "the ledger's memory of a token-day"),
    "lineage": ("the lineage of a token-day",),
    "lateness rule": ("the lateness rule", "the lateness rule at the door"),
    "floor": ("the floor of flags", "the floor of the policy"),
    "scrubber": ("the scrubber", "the silence about foreign faults"),
}
"""The guards of the promise, and the mutations that take them out where they stand."""


def chosen(*, everything: bool = False) -> list[tuple[str, Mutation]]:
    """The guards with their mutations; raises KeyError if one of the seven has none."""
    if everything:
        return [(mutation.guard, mutation) for mutation in MUTATIONS]
    known = {mutation.guard: mutation for mutation in MUTATIONS}
    return [(name, known[guard]) for name, guards in SEVEN.items() for guard in guards]


def main() -> int:
    """Print guard, file and failing test a line; 0 only if every named test failed without its guard."""
    parser = argparse.ArgumentParser(prog="python -m tests.guards", description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name guards and tests without running them")
    parser.add_argument("--all", action="store_true", help="every guard that is known")
    asked = parser.parse_args()
    unnoticed = 0
    with tempfile.TemporaryDirectory(prefix="tidemark-guards-") as folder:
        copy = None if asked.list else copied(Path(folder))
        for name, mutation in chosen(everything=asked.all):
            line = f"{name:14} | {mutation.guard} ({mutation.file}) -> {mutation.test}"
            if copy is None:
                print(line)
                continue
            result = without_guard(copy, mutation)
            failed = result.returncode == 1 and "failed" in result.stdout
            unnoticed += not failed
            print(f"{line}: {'fails' if failed else 'STILL PASSES'}", flush=True)
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
