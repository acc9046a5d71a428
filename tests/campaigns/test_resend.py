"""A small day sent twice; and the proof that the comparison can fail."""

import polars as pl

from tests.campaigns import resend
from tests.jobs.border import SCHEMA, edge_settings, feed
from tests.jobs.conftest import one_process  # noqa: F401 - a fixture

ROWS = pl.from_dicts(feed(seed=5, devices=80, hours=20), schema=pl.from_arrow(SCHEMA.empty_table()).schema)


def test_a_day_sent_twice_out_of_order_with_garbage_counts_like_the_clean_one(one_process, tmp_path):  # noqa: F811
    report = resend.compared(one_process, edge_settings(tmp_path), ROWS, tmp_path, seed=1)
    assert report["faults"] == []
    assert report["windows_compared"] == 24
    assert report["refused_twice"] >= 2 * report["refused_clean"] + report["garbage"] > report["garbage"] > 0


def test_rows_that_do_count_are_seen_in_the_comparison(one_process, tmp_path):  # noqa: F811
    report = resend.compared(one_process, edge_settings(tmp_path), ROWS, tmp_path, seed=1, sound=True)
    assert resend.DIFFERENT in report["faults"]
