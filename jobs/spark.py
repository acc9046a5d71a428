"""The Spark session of the edge: everything that could show an exact count to someone else is off."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from pyspark.sql import SparkSession

from jobs.java import find_java

SUBMITTED = "submit"
_JVM_LOG = f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties').as_uri()}"


def edge_session(*, master: str, scratch: Path, driver_memory: str = "3g", jars: Sequence[Path] = ()) -> SparkSession:
    """A session for `sight` and `close`; no UI, no event log, no metrics sink, spill inside the edge's own folder.

    `master` is Spark's own word (`local[*]`, `spark://host:7077`), or `submit`: what spark-submit was told. Workers elsewhere
    run the same environment from the same paths and share the edge's folder. `jars` count for the first session of a process.
    """
    os.environ.setdefault("JAVA_HOME", str(find_java()))
    # The workers run in the very environment that the driver runs in.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    scratch.mkdir(parents=True, exist_ok=True)
    scratch = scratch.absolute()
    builder = SparkSession.builder.appName("tidemark-edge")
    if master != SUBMITTED:
        builder = builder.master(master)
    if master.startswith("local"):
        builder = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    if jars:
        builder = builder.config("spark.jars", ",".join(str(jar.absolute()) for jar in jars))
    for name, value in _worker_environment().items():
        builder = builder.config(f"spark.executorEnv.{name}", value)
    return (
        builder.config("spark.ui.enabled", "false")
        .config("spark.eventLog.enabled", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.memory", driver_memory)
        .config("spark.driver.maxResultSize", "2g")
        .config("spark.local.dir", str(scratch))
        .config("spark.sql.warehouse.dir", str(scratch / "warehouse"))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", str(os.cpu_count() or 1))
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.ansi.enabled", "true")
        .config("spark.sql.sources.partitionColumnTypeInference.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", "200000")
        .config("spark.sql.streaming.minBatchesToRetain", "10")
        .config("spark.python.worker.reuse", "true")
        .config(
            "spark.driver.extraJavaOptions",
            f"-XX:+UseParallelGC -XX:-DontCompileHugeMethods -Djava.io.tmpdir={scratch} {_JVM_LOG}",
        )
        .config("spark.executor.extraJavaOptions", _JVM_LOG)
        .getOrCreate()
    )


def _worker_environment() -> dict[str, str]:
    """What a worker needs to run the tasks: the project on its path, and one thread a task."""
    here = str(Path(__file__).parent.parent)
    path = os.pathsep.join([here, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    threads = dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {"PYTHONPATH": path, **threads}
