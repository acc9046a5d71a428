"""What Spark does for the edge, done in this process: tasks run one after the other, new files are found by looking.

For stories in which Spark has no part to play; those in which it has use the real one.
"""

from types import SimpleNamespace

import pyarrow as pa

from jobs.sight import refuse_unread, rewritten, sight_files
from jobs.tables import batch_key


class OneProcess:
    """Stands in for a SparkSession where only `range` and `mapInArrow` are asked of it."""

    def __init__(self, cores=2):
        self.sparkContext = SimpleNamespace(defaultParallelism=cores)

    def range(self, start, end, step=1, numPartitions=1):  # noqa: N803
        return _Numbers(start, end)


class _Numbers:
    def __init__(self, start, end):
        self.numbers = range(start, end)

    def toDF(self, name):  # noqa: N802
        self.name = name
        return self

    def mapInArrow(self, task, schema):  # noqa: N802
        name = schema.split()[0]
        batches = [pa.RecordBatch.from_pydict({self.name: pa.array([number], pa.int64())}) for number in self.numbers]
        rows = [row for batch in batches for answer in task(iter([batch])) for row in answer.to_pylist()]
        return SimpleNamespace(collect=lambda: [SimpleNamespace(**{name: row[name]}) for row in rows])


def sight_at_once(run, files_per_batch=64):
    """`jobs.sight.sight` without a stream: what was not read yet is read now."""
    read, there = run.folder.read_inputs(), run.source.files()
    new = [file for file in there if run.source.name_of(file) not in read]
    for start in range(0, len(new), files_per_batch):
        files = new[start : start + files_per_batch]
        key = batch_key(run.source.folder, files)
        if not run.folder.committed(key):
            sight_files(run, key, files)
    refuse_unread(run, rewritten(run.source, run.folder, there))
