"""The Spark session of the edge: everything that could show an exact count to someone else is off."""

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from jobs.java import find_java


def edge_session(*, master: str, scratch: Path, driver_memory: str = "3g") -> SparkSession:
    """A session for `sight` and `close`; no UI, no event log, no metrics sink, spill inside the edge's own folder."""
    os.environ.setdefault("JAVA_HOME", str(find_java()))
    # The workers run in the very environment that the driver runs in.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    scratch.mkdir(parents=True, exist_ok=True)
    cores = os.cpu_count() or 1
    return (
        SparkSession.builder.appName("tidemark-edge")
        .master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.eventLog.enabled", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.memory", driver_memory)
        .config("spark.driver.maxResultSize", "2g")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.local.dir", str(scratch))
        .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", str(cores))
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.ansi.enabled", "true")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "200000")
        .config("spark.sql.streaming.minBatchesToRetain", "10")
        .config("spark.python.worker.reuse", "true")
        .config(
            "spark.driver.extraJavaOptions",
            f"-XX:+UseParallelGC -XX:-DontCompileHugeMethods -Djava.io.tmpdir={scratch}",
        )
        .getOrCreate()
    )
