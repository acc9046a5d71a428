"""Where and of what a figure was measured: it travels with every figure."""

import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


def provenance(seed: int | None) -> dict[str, str | int | None]:
    """Commit, seed and machine."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    answer = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return {
        "commit": answer.stdout.strip() or "unknown",
        "seed": seed,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }


@dataclass
class Cost:
    """What a piece of work took."""

    cpu_s: float = 0.0
    wall_s: float = 0.0


def process_cpu_s(pids: list[int]) -> float:
    """CPU seconds that processes and their ended and living descendants have used, from /proc."""
    ticks = os.sysconf("SC_CLK_TCK")
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(entry.name)
            children.setdefault(int(fields[1]), []).append(pid)
            used[pid] = sum(map(int, fields[11:15])) / ticks
    total, waiting = 0.0, list(pids)
    while waiting:
        pid = waiting.pop()
        total += used.get(pid, 0.0)
        waiting += children.get(pid, [])
    return total


@contextmanager
def measured() -> Iterator[Cost]:
    """The CPU and wall seconds of a block, Spark's JVM and workers included."""
    cost = Cost()
    cpu, wall = process_cpu_s([os.getpid()]), time.perf_counter()
    yield cost
    cost.cpu_s, cost.wall_s = process_cpu_s([os.getpid()]) - cpu, time.perf_counter() - wall


def warm(act: Callable[[], Result]) -> tuple[Cost, Result]:
    """The cost and result of the second of two runs: the first compiles."""
    act()
    with measured() as cost:
        result = act()
    return cost, result
