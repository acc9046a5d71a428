"""The same day in every format goes through the whole edge to the same sightings and the same counts before noise."""

import gzip

import polars as pl
import pytest

from ingest.attachment import FIELD_NAMES, TIME_FIELDS
from ingest.columns import ColumnMap
from jobs.close import close_window
from tests.ingest.feeds import avro_bytes, zstd
from tests.jobs.border import DAY
from tests.jobs.edge_run import HOUR, ROWS, EdgeRun

TABLE = pl.DataFrame(
    ROWS, schema={name: pl.Datetime("us", "UTC") if name in TIME_FIELDS else pl.String for name in FIELD_NAMES}
)
EPOCH = TABLE.with_columns(pl.col(name).dt.epoch("us") for name in TIME_FIELDS).rename(str.upper)
MAPPED = ColumnMap(
    fields={name: name.upper() for name in FIELD_NAMES}, times=dict.fromkeys(TIME_FIELDS, "epoch_us"), delimiter="|"
)


def csv_files(folder):
    (folder / "a.csv.gz").write_bytes(gzip.compress(EPOCH[::2].write_csv(separator="|").encode()))
    (folder / "b.csv.zst").write_bytes(zstd(EPOCH[1::2].write_csv(separator="|").encode()))


def parquet_files(folder):
    EPOCH.write_parquet(folder / "a.parquet", row_group_size=1000)


def avro_files(folder):
    (folder / "a.avro").write_bytes(avro_bytes(*ROWS[::3], codec="deflate"))
    (folder / "b.avro").write_bytes(avro_bytes(*ROWS[1::3], *ROWS[2::3]))


FEEDS = {
    "csv": (csv_files, {"format": "csv", "columns": MAPPED}),
    "parquet with other columns": (parquet_files, {"format": "parquet", "columns": MAPPED}),
    "avro": (avro_files, {"format": "avro"}),
}


@pytest.mark.parametrize(("write", "changes"), FEEDS.values(), ids=FEEDS)
def test_a_day_counts_alike_whatever_it_is_written_in(one_process, tmp_path, write, changes):
    plain = EdgeRun(one_process, tmp_path / "plain", ROWS)
    run = EdgeRun(one_process, tmp_path / "other", **changes)
    write(run.settings.source)
    assert run.sight() == plain.sight()
    edges = [one.edge() for one in (run, plain)]
    for edge in edges:
        for hour in range(3):
            close_window(one_process, edge, DAY + HOUR * hour)
    assert edges[0].noise.seen == edges[1].noise.seen
    assert sum(map(sum, edges[0].noise.seen)) > 0
