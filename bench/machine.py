"""Where and of what a figure was measured: it travels with every figure."""

import os
import platform
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
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
    """What a piece of work took: CPU and wall seconds, where the CPU seconds went, the most memory of all its processes."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    driver_cpu_s: float = 0.0
    jvm_cpu_s: float = 0.0
    workers_cpu_s: float = 0.0
    peak_rss_gb: float = 0.0

    def rounded(self) -> dict[str, float]:
        """The cost as it is printed."""
        return {field.name: round(getattr(self, field.name), 2) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Processes:
    """This process, the JVM below it and the Python workers below that: CPU seconds so far and memory now, from /proc."""

    driver_cpu_s: float
    jvm_cpu_s: float
    workers_cpu_s: float
    rss_bytes: int

    @classmethod
    def now(cls, root: int | None = None) -> "Processes":
        """All processes from `root` (this one) down; the CPU seconds of ended ones are with those who waited for them."""
        tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
        children: dict[int, list[int]] = {}
        found: dict[int, tuple[bool, float, float, int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    head, _, tail = (entry / "stat").read_text().rpartition(")")
                except OSError:
                    continue
                stat = tail.split()
                pid, own_ticks, ended_ticks = int(entry.name), sum(map(int, stat[11:13])), sum(map(int, stat[13:15]))
                children.setdefault(int(stat[1]), []).append(pid)
                found[pid] = (head.endswith("(java"), own_ticks / tick, ended_ticks / tick, int(stat[21]) * page)
        cpu = {"driver": 0.0, "jvm": 0.0, "workers": 0.0}
        rss = 0
        waiting = [(root or os.getpid(), "driver")]
        while waiting:
            pid, part = waiting.pop()
            is_java, own, ended, memory = found.get(pid, (False, 0.0, 0.0, 0))
            part = "jvm" if is_java else part
            below = "workers" if is_java or part == "workers" else part
            cpu[part] += own
            cpu[below] += ended
            rss += memory
            waiting += [(child, below) for child in children.get(pid, [])]
        return cls(cpu["driver"], cpu["jvm"], cpu["workers"], rss)


def process_cpu_s(pids: list[int]) -> float:
    """CPU seconds that processes and their ended and living descendants have used, from /proc."""
    seen = [Processes.now(pid) for pid in pids]
    return sum(part.driver_cpu_s + part.jvm_cpu_s + part.workers_cpu_s for part in seen)


@contextmanager
def measured() -> Iterator[Cost]:
    """The cost of a block, Spark's JVM and workers included; memory is looked at five times a second."""
    cost, over = Cost(), threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            cost.peak_rss_gb = max(cost.peak_rss_gb, Processes.now().rss_bytes / 1e9)

    watcher = threading.Thread(target=watch, daemon=True)
    before, began = Processes.now(), time.perf_counter()
    watcher.start()
    try:
        yield cost
    finally:
        over.set()
        cost.wall_s = time.perf_counter() - began
        watcher.join()
    after = Processes.now()
    cost.driver_cpu_s = after.driver_cpu_s - before.driver_cpu_s
    cost.jvm_cpu_s = after.jvm_cpu_s - before.jvm_cpu_s
    cost.workers_cpu_s = after.workers_cpu_s - before.workers_cpu_s
    cost.cpu_s = cost.driver_cpu_s + cost.jvm_cpu_s + cost.workers_cpu_s
    cost.peak_rss_gb = max(cost.peak_rss_gb, after.rss_bytes / 1e9)


def warm(act: Callable[[], Result]) -> tuple[Cost, Result]:
    """The cost and result of the second of two runs: the first compiles."""
    act()
    with measured() as cost:
        result = act()
    return cost, result
