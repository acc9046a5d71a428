"""Named points of the edge's jobs, where a test from outside may stop the process dead.

With `TIDEMARK_HOLD=<point>:<file>` in the environment a process that reaches the point writes the file and waits there to
be killed. Without it, nothing happens. The points are where a crash would hurt most; nothing else may depend on them.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path

Milestone = Callable[[str], None]
POINTS = (
    "before-write",
    "after-write",
    "before-commit",
    "after-commit",
    "before-carry-over",
    "after-carry-over",
    "before-ledger-commit",
    "after-ledger-commit",
    "before-day-commit",
    "after-day-commit",
    "before-publish",
)


def milestones(setting: str | None) -> Milestone:
    """What to call at each point, from the value of TIDEMARK_HOLD; raises ValueError for an unknown point."""
    if not setting:
        return lambda _: None
    point, _, marker = setting.partition(":")
    if point not in POINTS or not marker:
        raise ValueError(f"TIDEMARK_HOLD is one of {POINTS}, a colon and a file")

    def hold(reached: str) -> None:
        if reached == point:
            Path(marker).write_text(str(os.getpid()), encoding="ascii")
            while True:
                time.sleep(60)

    return hold
