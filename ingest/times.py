"""Times as feeds write them, many at a time, as UTC instants. A text or number that is no time of its form is null."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np
import polars as pl

from ingest.attachment import EARLIEST, LATEST, parse_time
from ingest.rows import INSTANT, NO_TIME
from ingest.spelling import padded, plain_times, time_column


class TimeForm(StrEnum):
    """How a column writes an instant. It is declared, never guessed from the numbers."""

    RFC_3339 = "rfc3339"
    EPOCH_S = "epoch_s"
    EPOCH_MS = "epoch_ms"
    EPOCH_US = "epoch_us"


_UNITS_A_SECOND = {TimeForm.EPOCH_S: 1, TimeForm.EPOCH_MS: 1_000, TimeForm.EPOCH_US: 1_000_000}
_WALL_CLOCK = r"^[12][0-9]{3}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?$"
_NUMBER = "^[0-9]{1,17}$"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instants(texts: pl.Series) -> pl.Series:
    """RFC 3339 texts as `ingest.attachment.parse_time` reads them; an unusual spelling is read by `parse_time` itself.

    >>> instants(pl.Series(["2026-03-02T12:00:00+07:00", "2026-03-02T12:00:00"])).to_list()
    [datetime.datetime(2026, 3, 2, 5, 0, tzinfo=zoneinfo.ZoneInfo(key='UTC')), None]
    """
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, raw = array.buffers()
    bounds = np.frombuffer(offsets, np.int64, count=len(array) + 1, offset=array.offset * 8)
    block = padded(np.frombuffer(raw or b"", np.uint8)[bounds[0] : bounds[-1]])
    quick = plain_times(block, bounds[:-1] - bounds[0], np.diff(bounds).astype(np.int32))
    absent = array.is_null().to_numpy(zero_copy_only=False)
    for at in np.flatnonzero((quick == NO_TIME) & ~absent):
        if (found := parse_time(array[int(at)].as_py())) is not None:
            quick[at] = (found - _EPOCH) // timedelta(microseconds=1)
    return pl.Series(time_column(quick, absent | (quick == NO_TIME))).alias(texts.name)


def epoch_instants(numbers: pl.Series, form: TimeForm) -> pl.Series:
    """Counts since 1970 UTC (whole numbers, or texts of digits) in the declared unit.

    Seconds, milliseconds and microseconds that are mixed up lie outside the times of the contract, and are null.

    >>> epoch_instants(pl.Series(["1772427600", "1772427600000"]), TimeForm.EPOCH_S).is_null().to_list()
    [False, True]
    """
    if numbers.dtype == pl.String:
        numbers = numbers.set(~numbers.str.contains(_NUMBER).fill_null(True), None)
    units = _UNITS_A_SECOND[form]
    first, past = (int(at.timestamp()) * units for at in (EARLIEST, LATEST))
    counts = numbers.cast(pl.Int64, strict=False)
    timely = counts.set(~counts.is_between(first, past, closed="left").fill_null(True), None)
    return (timely * (1_000_000 // units)).cast(INSTANT)


def wall_clock_instants(wall_clock: pl.Series, time_zone: str) -> pl.Series:
    """Local times (texts without an offset, or datetimes whose label is not believed) read in the zone that is declared.

    An hour that a clock change repeats or skips is null: which instant was meant cannot be known.
    """
    if wall_clock.dtype in (pl.String, pl.Null):
        wall_clock = wall_clock.cast(pl.String)
        texts = wall_clock.set(~wall_clock.str.contains(_WALL_CLOCK).fill_null(True), None)
        local = texts.str.replace(" ", "T", literal=True).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False)
    else:
        local = wall_clock.cast(pl.Datetime("us", wall_clock.dtype.time_zone)).dt.replace_time_zone(None)  # type: ignore[attr-defined]
    return (
        local.dt.replace_time_zone(time_zone, ambiguous="null", non_existent="null")
        .dt.convert_time_zone("UTC")
        .cast(INSTANT)
    )
