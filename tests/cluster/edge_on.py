"""The edge run once on a Spark master, for the story beside it: `python -m tests.cluster.edge_on CONFIG MASTER [WORKER_PID]`.

With the number of a worker process, its executor is stopped before the last window is closed, and both are killed as soon
as the executor holds the only task of that close that is not done. Tells as JSON what it saw.
"""

import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import jobs.closing
import jobs.sight
from ingest.release import format_utc
from jobs.edge import open_edge, place_cells, run_close, run_sight
from jobs.milestone import milestones
from jobs.settings import read_settings
from jobs.spark import edge_session

# A small day is to be spread like a large one.
jobs.closing.ROWS_WORTH_A_STEP = 50
jobs.sight.ROWS_WORTH_A_TASK = 50
WINDOWS = 3


def main(config: str, master: str, worker: str | None = None) -> None:
    settings = read_settings(Path(config)).edge
    placed = place_cells(settings)
    edge = open_edge(settings, placed, milestones(None))
    now = datetime.now(UTC)
    told: list[str] = []
    saw: dict = {}
    with edge.folder.held():
        spark = edge_session(master=master, scratch=edge.folder.scratch, driver_memory="1g")
        watch = Watch(spark, int(worker)) if worker else None

        def progress(entry) -> None:
            told.append(format_utc(entry.window_start))
            if watch and len(told) == WINDOWS - 1:
                watch.begin()

        try:
            run_sight(spark, settings, placed, milestones(None), now=now)
            run_close(spark, settings, edge, now=now, progress=progress)
            if watch:
                watch.thread.join(60)
                saw = watch.saw
        finally:
            spark.stop()
    print(json.dumps({"told": told, **saw}))


class Watch:
    """Stops the executor of a worker, and kills both once a close waits for nothing else."""

    def __init__(self, spark, worker: int) -> None:
        self.context, self.worker, self.saw = spark.sparkContext, worker, {}
        self.thread = threading.Thread(target=self._kill_in_the_middle, daemon=True)

    def begin(self) -> None:
        self.saw["executors"] = len(self.context._jsc.sc().statusTracker().getExecutorInfos()) - 1  # and the driver
        self.executors = children(self.worker)
        for executor in self.executors:
            os.kill(executor, signal.SIGSTOP)
        self.thread.start()

    def _kill_in_the_middle(self) -> None:
        tracker, waiting = self.context.statusTracker(), None
        while waiting is None:
            time.sleep(0.05)
            for stage in filter(None, map(tracker.getStageInfo, tracker.getActiveStageIds())):
                if stage.numActiveTasks == 1 == stage.numTasks - stage.numCompletedTasks < stage.numTasks:
                    waiting = stage
        self.saw |= {"tasks": waiting.numTasks, "done_when_killed": waiting.numCompletedTasks}
        self.saw["killed"] = [self.worker, *self.executors]
        for process in self.saw["killed"]:
            os.kill(process, signal.SIGKILL)


def children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                ancestor = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if ancestor == parent:
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
