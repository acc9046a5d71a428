"""The door: every row of every source is judged by the rules of `ingest.attachment`, many rows at a time.

There is one door for all formats. Its verdicts are those of `ingest.attachment.judge`, by the same patterns and in the same
order; a property test holds the two together. Texts are judged once per distinct value and looked up per row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.attachment import (
    CELL_ID_PATTERNS,
    EARLIEST,
    IDENTITY_PATTERN,
    LATENESS,
    LATEST,
    ROAMING_TYPES,
    SCREENED_FIELDS,
    TEXT_FIELDS,
    Field,
    Rat,
    Refusal,
)
from ingest.rows import LAYOUT, NO_TIME
from ingest.tokens import are_tokens

_Kind = TypeVar("_Kind", bound=np.integer[Any])

_LAWS = (
    Refusal.MISSING_FIELD,
    Refusal.IDENTITY_LIKE,
    *(field.reason for field in TEXT_FIELDS),
    Refusal.CELL_ON_ROAMING_ROW,
    Refusal.CELL_MISSING,
    Refusal.CELL_ID,
    Refusal.TIME,
    Refusal.FUTURE,
    Refusal.LATE,
    Refusal.FUTURE,
    Refusal.LATE,
)
_VERDICTS = (*Refusal, *_LAWS)
"""What a verdict says, in the order of the rules: first the layout's own word, then the laws in the order of `judge`."""
ACCEPTED = len(_VERDICTS)
"""The verdict on a row that breaks no rule."""
REASON_OF_VERDICT = np.array([list(Refusal).index(reason) for reason in _VERDICTS], np.uint8)
"""The position in `Refusal` of what a verdict says."""

_FIRST_LAW = len(Refusal)
_MISSING, _IDENTITY_LIKE = _FIRST_LAW, _FIRST_LAW + 1
_PATTERN = {field.name: _FIRST_LAW + 2 + at for at, field in enumerate(TEXT_FIELDS)}
_CELL_ON_ROAMING_ROW, _CELL_MISSING, _CELL_ID, _TIME, _FUTURE, _LATE, _AFTER_NOW, _DAY_GONE = range(
    ACCEPTED - 8, ACCEPTED
)


@dataclass(frozen=True, slots=True)
class Admission:
    """What a live door knows of the true time: no row may be newer than now, none of a day that is deleted already."""

    not_after: datetime
    not_before: datetime


@dataclass(frozen=True, slots=True, eq=False)
class Distinct:
    """A column of text by its distinct values; `at` is the position of each row's value, one past the last for a null."""

    values: pl.Series
    at: NDArray[np.int32]

    def rows(self, of_values: NDArray[_Kind], of_null: int) -> NDArray[_Kind]:
        """For every row what `of_values` holds for its value."""
        return np.append(of_values, of_values.dtype.type(of_null))[self.at]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The verdict on every row, and what was taken apart to find it.

    `verdict` is ACCEPTED or the first rule broken; `columns` are the texts but the token; times are microseconds since
    1970 UTC, NO_TIME if missing.
    """

    verdict: NDArray[np.uint8]
    columns: Mapping[str, Distinct]
    event_time: NDArray[np.int64]
    ingest_time: NDArray[np.int64]


def judge_rows(rows: pl.DataFrame, admission: Admission | None = None) -> pl.Series:
    """The first rule that each row (ROW_TABLE) breaks, as a Refusal's value, or null: `ingest.attachment.judge` by columns.

    A live door judges by the true time as well; a replay's clock is its own rows.
    """
    reasons = pl.Series([*(reason.value for reason in _VERDICTS), None], dtype=pl.String)
    return reasons.gather(pl.Series(judge_columns(rows, admission).verdict)).alias("refusal")


def judge_columns(rows: pl.DataFrame, admission: Admission | None = None) -> Judged:
    """`judge_rows` with what it has found out about the columns on its way."""
    columns = {name: _distinct(rows[name]) for name in SCREENED_FIELDS}
    event_time, ingest_time = (_microseconds(rows[name]) for name in ("event_time", "ingest_time"))
    verdict = _by_layout(rows[LAYOUT])
    # The rules stand in their order, so the first that is broken is the smallest.
    for rule in (
        _by_token(rows["token"]),
        *(_by_text(field, columns[field.name]) for field in TEXT_FIELDS if field.name in columns),
        _by_cell(columns),
        _by_time(event_time, ingest_time, admission),
    ):
        np.minimum(verdict, rule, out=verdict)
    return Judged(verdict, columns, event_time, ingest_time)


def is_time(at: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each instant (microseconds) is a time of the contract."""
    return (at >= to_microseconds(EARLIEST)) & (at < to_microseconds(LATEST))


def _by_layout(reasons: pl.Series) -> NDArray[np.uint8]:
    if reasons.null_count() == len(reasons):
        return np.full(len(reasons), ACCEPTED, np.uint8)
    distinct = _distinct(reasons)
    verdicts = [list(Refusal).index(Refusal(reason)) for reason in distinct.values]
    return distinct.rows(np.array(verdicts, np.uint8), ACCEPTED)


def _by_token(tokens: pl.Series) -> NDArray[np.uint8]:
    verdict = np.where(are_tokens(tokens), np.uint8(ACCEPTED), np.uint8(_PATTERN["token"]))
    if tokens.null_count():
        verdict[tokens.is_null().to_numpy()] = _MISSING
    return verdict


def _by_text(field: Field, column: Distinct) -> NDArray[np.uint8]:
    """What a field's own value breaks: it is missing, looks like an identity, or does not match its pattern."""
    fits = column.values.str.contains(_whole(str(field.pattern))).to_numpy()
    identity = column.values.str.contains(IDENTITY_PATTERN).to_numpy()
    verdicts = np.where(fits, ACCEPTED, _PATTERN[field.name])
    verdicts[identity] = _IDENTITY_LIKE
    return column.rows(verdicts.astype(np.uint8), ACCEPTED if field.nullable else _MISSING)


def _by_cell(columns: Mapping[str, Distinct]) -> NDArray[np.uint8]:
    """What event type, rat and cell_id break together."""
    event_type, rat, cell_id = (columns[name] for name in ("event_type", "rat", "cell_id"))
    roaming = event_type.values.is_in([kind.value for kind in ROAMING_TYPES]).to_numpy()
    technology = np.full(len(rat.values), _NO_RAT, np.int16)
    for at, one in enumerate(Rat):
        technology[(rat.values == one.value).to_numpy()] = at
    grammars = np.zeros(len(cell_id.values), np.int16)
    for at, one in enumerate(Rat):
        grammars += cell_id.values.str.contains(_whole(CELL_ID_PATTERNS[one])).to_numpy().astype(np.int16) << at
    kind = event_type.rows(roaming.astype(np.int16) * np.int16(_RATS * _GRAMMARS), 0)
    kind += rat.rows(technology * np.int16(_GRAMMARS), _NULL_RAT * _GRAMMARS)
    kind += cell_id.rows(grammars, _NULL_CELL)
    return np.asarray(_CELL_LAW[kind])


_NO_RAT, _NULL_RAT, _RATS = len(Rat), len(Rat) + 1, len(Rat) + 2
_NULL_CELL, _GRAMMARS = 1 << len(Rat), (1 << len(Rat)) + 1


def _cell_law() -> NDArray[np.uint8]:
    """The verdict by (roaming, rat, which technologies' cell_id pattern it matches), as one row of a table."""
    law = np.full((2, _RATS, _GRAMMARS), ACCEPTED, np.uint8)
    law[0, :_NO_RAT] = _CELL_ID
    for at in range(len(Rat)):
        law[0, at, [grammars for grammars in range(_NULL_CELL) if grammars >> at & 1]] = ACCEPTED
    law[0, _NULL_RAT], law[0, :, _NULL_CELL] = _CELL_MISSING, _CELL_MISSING
    law[1] = _CELL_ON_ROAMING_ROW
    law[1, _NULL_RAT, _NULL_CELL] = ACCEPTED
    return law.reshape(-1)


_CELL_LAW = _cell_law()


def _by_time(
    event_time: NDArray[np.int64], ingest_time: NDArray[np.int64], admission: Admission | None
) -> NDArray[np.uint8]:
    verdict = np.full(len(event_time), ACCEPTED, np.uint8)
    # The last rule first: what is written later stands before it.
    if admission is not None:
        verdict[event_time < to_microseconds(admission.not_before)] = _DAY_GONE
        verdict[ingest_time > to_microseconds(admission.not_after)] = _AFTER_NOW
    verdict[ingest_time - event_time > LATENESS // _US] = _LATE
    verdict[event_time > ingest_time] = _FUTURE
    verdict[~(is_time(event_time) & is_time(ingest_time))] = _TIME
    return verdict


def _distinct(column: pl.Series) -> Distinct:
    coded = column.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    values = pl.Series(coded.dictionary, dtype=pl.String)
    indices = coded.indices.fill_null(len(values)) if coded.null_count else coded.indices
    return Distinct(values, indices.to_numpy())


def _microseconds(times: pl.Series) -> NDArray[np.int64]:
    return times.to_physical().fill_null(NO_TIME).to_numpy()


def _whole(pattern: str) -> str:
    return rf"\A(?:{pattern})\z"


_US = timedelta(microseconds=1)
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def to_microseconds(at: datetime) -> int:
    """An instant as microseconds since 1970 UTC."""
    return (at - _EPOCH) // _US
