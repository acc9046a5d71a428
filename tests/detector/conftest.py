"""One small border, trained on once: ten weeks of eight belts and two crossing points, then two weeks to be judged."""

from datetime import timedelta

import polars as pl
import pytest

from detector.backtest import TRUTH_SCHEMA
from detector.calendar import Calendar
from detector.detect import Trained, train
from detector.policy import Arming
from tests.detector.border import START, Border, make_border

DAYS, TRAINED_DAYS = 84, 70
LEVELS = [3.0, 3.0, 8.0, 20.0, 20.0, 40.0, 60.0, 90.0]
# zone, direction (0: arrival), hour after the start, hours, size
SURGES = (
    (3, 0, (TRAINED_DAYS + 2) * 24 + 20, 1, 200),  # 200 in a zone of 20 an hour
    (1, 1, (TRAINED_DAYS + 5) * 24 + 3, 2, 240),
    (5, 0, (TRAINED_DAYS + 9) * 24 + 10, 1, 300),
)


@pytest.fixture(scope="session")
def border() -> Border:
    return make_border(LEVELS, days=DAYS, surges=SURGES, crossing_levels=(150.0, 80.0))


@pytest.fixture(scope="session")
def history(border: Border) -> pl.DataFrame:
    return border.history()


@pytest.fixture(scope="session")
def truth() -> pl.DataFrame:
    rows = [
        (f"s{i}", [f"b{zone:02d}"], ("arrival", "departure")[direction], START + timedelta(hours=hour), lasts, size)
        for i, (zone, direction, hour, lasts, size) in enumerate(SURGES)
    ]
    return pl.DataFrame(rows, schema=TRUTH_SCHEMA, orient="row")


@pytest.fixture(scope="session")
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture(scope="session")
def trained(border: Border, history: pl.DataFrame, calendar: Calendar) -> Trained:
    return train(
        history.filter(pl.col("window_start") < START + timedelta(days=TRAINED_DAYS)),
        border.neighbours,
        calendar,
        proposed_by="trainer",
        approved_by="second",
        reason="first policy",
        rounds=60,
    )


@pytest.fixture(scope="session")
def armings() -> list[Arming]:
    from_ = START + timedelta(days=60)
    return [
        Arming(sector, "decree 1", "assessment 1", from_, from_ + timedelta(days=90)) for sector in ("south", "north")
    ]
