"""From rows to sightings: each row is judged, located and decided, and has exactly one fate; the kept ones are sightings.

Pure tables in and out, nothing per row. The cell is looked up by (rat, plmn, cell_id) and its validity at the event's time;
what the row says of its token's side is `movement.sighting.side_of`, worked out beforehand for every kind of row there is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from itertools import product

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ingest.attachment import Domain, EventType, Rat, Refusal
from ingest.door import (
    ACCEPTED,
    REASON_OF_VERDICT,
    Admission,
    Distinct,
    Judged,
    is_time,
    judge_columns,
    to_microseconds,
)
from ingest.tokens import token_bytes
from movement.advance import HOUR_MS, SIGHTING_SCHEMA
from movement.sighting import Fate, Network, Networks, Place, side_of

SIGHTED_SCHEMA = pl.Schema({**SIGHTING_SCHEMA, "hour": pl.Int32()})
"""A sighting and the hour that it belongs to: whole hours since 1970 UTC."""
TALLY_SCHEMA = pl.Schema({"hour": pl.Int32(), "what": pl.String(), "rows": pl.Int64()})
"""`what`: "received", "refused:" with a Refusal, or a Fate. In every hour "received" is the sum of all others."""
RECEIVED = "received"
OUTCOMES = (*(f"refused:{reason.value}" for reason in Refusal), *(fate.value for fate in Fate))
"""What can become of a row that was received."""

_PLACES_TABLE = pa.schema(
    [
        *[(name, pa.large_string()) for name in ("rat", "plmn", "cell_id")],
        *[(name, pa.int32()) for name in ("cell", "zone")],
        *[(name, pa.timestamp("us", "UTC")) for name in ("valid_from", "valid_to")],
    ]
)
_HOUR_US = HOUR_MS * 1000
_DAY_US = timedelta(days=1) // timedelta(microseconds=1)
_NO_HOUR = np.iinfo(np.int64).min
_EVER = np.iinfo(np.int64)
_HOURS_AT_ONCE = 10_000
_STRANGE = -(1 << 40)
"""The position of what no plan knows: the key that it is part of is no key."""


@dataclass(frozen=True, slots=True, eq=False)
class Sighted:
    """What a table of rows comes to: `sightings` (SIGHTED_SCHEMA) in the order of the rows, `tallies` (TALLY_SCHEMA)."""

    sightings: pl.DataFrame
    tallies: pl.DataFrame


class Lookup:
    """Where every cell of a plan lies, and what every network is to this border.

    `cells`: rat, plmn, cell_id, cell, zone, valid_from, valid_to, as in a LocatedPlan.
    """

    def __init__(self, cells: pl.DataFrame, networks: Networks) -> None:
        self.cells = cells.select(_PLACES_TABLE.names).sort("cell_id", "valid_from", "cell", nulls_last=False)
        self.networks = networks
        self._ids = self.cells.select("cell_id", pl.int_range(pl.len(), dtype=pl.Int32).alias("first")).unique(
            "cell_id", keep="first", maintain_order=True
        )
        self._plmns = self.cells["plmn"].unique().sort()
        key = self._keys(self.cells["rat"], len(self._plmns)) + self._plmn_positions(self.cells["plmn"])
        # Two more rows behind the last: [-1] is the unknown cell, [-2] is no cell at all.
        self._key = np.append(key, [-1, -1]).astype(np.int64)
        self._last = np.append(self.cells["cell_id"] != self.cells["cell_id"].shift(-1, fill_value=""), [True, True])
        self._longest = int(self.cells.group_by("cell_id").len()["len"].max() or 0)  # type: ignore[arg-type]
        self._from = np.append(self.cells["valid_from"].to_physical().fill_null(_EVER.min), [0, 0])
        self._to = np.append(self.cells["valid_to"].to_physical().fill_null(_EVER.max), [0, 0])
        self._cell = np.append(self.cells["cell"], [-1, -1]).astype(np.int32)
        places = np.where(self.cells["zone"].to_numpy() >= 0, _rank(Place.BELT), _rank(Place.INLAND))
        self._place = np.append(places, [_rank(Place.NONE), _rank(Place.UNKNOWN)]).astype(np.int16)

    def to_bytes(self) -> bytes:
        """All of it as an Arrow stream; equal lookups give equal bytes."""
        networks = {"own": sorted(self.networks.own), "across": sorted(self.networks.across)}
        table = self.cells.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_PLACES_TABLE).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, _PLACES_TABLE.with_metadata({"networks": json.dumps(networks)})) as stream:
            stream.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, stored: bytes) -> "Lookup":
        """The lookup that `to_bytes` wrote."""
        with pa.ipc.open_stream(stored) as stream:
            table = stream.read_all()
        networks = json.loads(table.schema.metadata[b"networks"])
        cells = pl.DataFrame(table)
        return cls(cells, Networks(frozenset(networks["own"]), frozenset(networks["across"])))

    def locate(self, judged: Judged) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
        """Of every accepted row its cell's number (-1 for none) and the position in Place of where it lies."""
        rat, plmn, cell_id = (judged.columns[name] for name in ("rat", "plmn", "cell_id"))
        key = rat.rows(self._keys(rat.values, len(self._plmns)), _STRANGE)
        key += plmn.rows(self._plmn_positions(plmn.values), _STRANGE)
        row = cell_id.rows(self._first_rows(cell_id.values), -2)
        found = self._found(row, key, judged.event_time)
        if self._longest > 1:
            # Another range of validity, or the same id on another network: the next rows of the same cell_id.
            missed = np.flatnonzero((row >= 0) & (found < 0))
            for _ in range(self._longest - 1):
                missed = missed[~self._last[row[missed]]]
                row[missed] += 1
                found[missed] = self._found(row[missed], key[missed], judged.event_time[missed])
                missed = missed[found[missed] < 0]
        return self._cell[found], self._place[found]

    def network_ranks(self, plmns: pl.Series) -> NDArray[np.int16]:
        """The position in Network of each PLMN."""
        return np.array([_rank(self.networks.network_of(plmn)) for plmn in plmns], np.int16)

    def _found(self, row: NDArray[np.int32], key: NDArray[np.int64], at: NDArray[np.int64]) -> NDArray[np.int32]:
        """The row itself where it is of this key and valid at that time, else -1; no cell (-2) stays none."""
        fits = (self._key[row] == key) & (self._from[row] <= at) & (at < self._to[row])
        return np.where(fits | (row == -2), row, np.int32(-1))

    def _first_rows(self, cell_ids: pl.Series) -> NDArray[np.int32]:
        asked = pl.DataFrame({"cell_id": cell_ids})
        rows = asked.join(self._ids, on="cell_id", how="left", maintain_order="left")["first"]
        return rows.fill_null(-1).to_numpy()

    def _plmn_positions(self, plmns: pl.Series) -> NDArray[np.int64]:
        known = {plmn: at for at, plmn in enumerate(self._plmns)}
        # What the plan does not know must fit no key, whatever rat it is added to.
        return np.array([known.get(plmn, _STRANGE) for plmn in plmns], np.int64)

    @staticmethod
    def _keys(rats: pl.Series, plmns: int) -> NDArray[np.int64]:
        known = {rat.value: at for at, rat in enumerate(Rat)}
        return np.array([known[rat] * plmns if rat in known else _STRANGE for rat in rats], np.int64)


def sight_rows(rows: pl.DataFrame, lookup: Lookup, admission: Admission | None = None) -> Sighted:
    """The sightings in a table of rows (ROW_TABLE) and what became of every row.

    A row is tallied at the hour of its event_time when that time can be believed: it is a time of the contract and
    ingest_time lies at most a day after it. Else it is tallied at the hour of ingest_time, and without that at none.
    """
    judged = judge_columns(rows, admission)
    cell, place = lookup.locate(judged)
    kind = _kinds(judged.columns, place, lookup)
    accepted = judged.verdict == ACCEPTED
    outcome = np.append(REASON_OF_VERDICT, np.uint8(0))[judged.verdict]
    outcome[accepted] = len(Refusal) + _FATES[kind[accepted]]
    kept = np.flatnonzero(accepted & (_SIDES[kind] >= 0))
    event_time = judged.event_time[kept]
    sightings = pl.DataFrame(
        {
            "token": token_bytes(rows["token"].gather(kept)),
            "event_time": event_time // 1000,
            "cell": cell[kept],
            "side": _SIDES[kind[kept]],
            "hour": (event_time // _HOUR_US).astype(np.int32),
        },
        schema=SIGHTED_SCHEMA,
    )
    return Sighted(sightings, _tallies(_hours(judged, admission), outcome))


def _kinds(columns: Mapping[str, Distinct], place: NDArray[np.int16], lookup: Lookup) -> NDArray[np.int16]:
    """The position of each row in the table of decisions; meaningless for a row that is refused."""
    plmn, previous = columns["plmn"], columns["previous_plmn"]
    kind = columns["event_type"].rows(_ranks(columns["event_type"].values, EventType) * _STRIDE_EVENT_TYPE, 0)
    kind = kind + columns["domain"].rows(_ranks(columns["domain"].values, Domain) * _STRIDE_DOMAIN, 0)
    kind += plmn.rows(lookup.network_ranks(plmn.values) * _STRIDE_SERVING, 0)
    kind += previous.rows(lookup.network_ranks(previous.values) * _STRIDE_PREVIOUS, 0)
    kind += place
    return kind


def _hours(judged: Judged, admission: Admission | None) -> NDArray[np.int64]:
    """The hour at which each row is tallied, or _NO_HOUR."""
    event_time, ingest_time = judged.event_time, judged.ingest_time
    sound = is_time(ingest_time)
    if admission is not None:
        sound &= ingest_time <= to_microseconds(admission.not_after)
    behind = ingest_time - event_time
    believed = is_time(event_time) & (behind >= 0) & (behind <= _DAY_US)
    hours = np.where(believed, event_time, ingest_time) // _HOUR_US
    hours[~sound] = _NO_HOUR
    return hours


def _tallies(hours: NDArray[np.int64], outcome: NDArray[np.uint8]) -> pl.DataFrame:
    """How many rows of each hour met which outcome, and how many came."""
    if not len(hours):
        return TALLY_SCHEMA.to_frame()
    hour, position = _positions(hours)
    received = pl.DataFrame({"hour": hour, "what": RECEIVED, "rows": np.bincount(position, minlength=len(hour))})
    width = len(OUTCOMES)
    counts = np.bincount(position * width + outcome, minlength=len(hour) * width)
    met = np.flatnonzero(counts)
    fates = pl.DataFrame(
        {"hour": hour[met // width], "what": np.array(OUTCOMES, object)[met % width], "rows": counts[met]},
        schema_overrides={"what": pl.String},
    )
    tallies = pl.concat([received.filter(pl.col("rows") > 0), fates])
    named = pl.when(pl.col("hour") == _NO_HOUR).then(None).otherwise(pl.col("hour"))
    return tallies.with_columns(named.alias("hour")).cast(dict(TALLY_SCHEMA)).sort("hour", maintain_order=True)  # type: ignore[arg-type]


def _positions(hours: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Hours and, for every row, the position of its hour among them. Not every hour need have a row."""
    told = hours[hours != _NO_HOUR]
    first, last = (int(told.min()), int(told.max())) if len(told) else (0, 0)
    if last - first > _HOURS_AT_ONCE:
        hour, position = np.unique(hours, return_inverse=True)
        return hour, position
    position = hours - first
    position[hours == _NO_HOUR] = last - first + 1
    return np.append(np.arange(first, last + 1), _NO_HOUR), position


def _ranks(values: pl.Series, words: type[StrEnum]) -> NDArray[np.int16]:
    """The position of each value among the words, 0 for one that is none of them."""
    known = {word.value: at for at, word in enumerate(words)}
    return np.array([known.get(value, 0) for value in values], np.int16)


def _rank(word: Network | Place) -> int:
    return list(type(word)).index(word)


_KINDS = (EventType, Domain, Network, Network, Place)
_STRIDE_PREVIOUS = len(Place)
_STRIDE_SERVING = _STRIDE_PREVIOUS * len(Network)
_STRIDE_DOMAIN = _STRIDE_SERVING * len(Network)
_STRIDE_EVENT_TYPE = _STRIDE_DOMAIN * len(Domain)
_DECISIONS = [side_of(*kind) for kind in product(*_KINDS)]
_FATES = np.array([list(Fate).index(decision.fate) for decision in _DECISIONS], np.uint8)
_SIDES = np.array([-1 if decision.side is None else decision.side for decision in _DECISIONS], np.int8)
