"""`tokens make`: files and streams around `ingest.tokenise`."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from ingest.attachment import FIELD_NAMES
from ingest.day_keys import KeyRefused, read_day_key
from ingest.times import TimeForm
from ingest.tokenise import (
    Columns,
    LeftOut,
    RowsRefused,
    read_csv_rows,
    read_ndjson_rows,
    read_prefixes,
    read_subscribers,
    tokenise,
    write_csv_rows,
    write_ndjson_rows,
)


@dataclass(frozen=True, slots=True)
class TokenOrder:
    """How tokens are to be made, as the command was given."""

    keys: Path
    turn_hour_utc: int
    subscriber: str
    time: str
    time_form: str
    file_format: str
    delimiter: str
    keep: tuple[str, ...]
    opted_out: Path
    machines: Path | None
    machine_prefixes: Path | None


def make_tokens(order: TokenOrder, source: Path | None, out: Path | None) -> Counter[str]:
    """Read rows, write them with tokens, and say what became of how many. A file appears when it is whole."""
    if order.file_format not in ("csv", "ndjson"):
        raise RowsRefused("--format is csv or ndjson")
    if order.time_form not in set(TimeForm):
        raise RowsRefused(f"--time-form is one of {', '.join(TimeForm)}")
    if not order.keys.is_dir():
        raise KeyRefused("--keys is a folder of keys, as `tokens new-key` makes it")
    columns = Columns(order.subscriber, order.time, TimeForm(order.time_form), frozenset({*FIELD_NAMES, *order.keep}))
    left_out = LeftOut(
        read_subscribers(_lines(order.opted_out), "the list of who opted out"),
        read_subscribers(_lines(order.machines), "the list of machines"),
        read_prefixes(_lines(order.machine_prefixes), "the list of machine prefixes"),
    )
    counts = Counter[str]()
    key_of = partial(read_day_key, order.keys)
    with _reading(source) as rows_in, _writing(out) as rows_out:
        if order.file_format == "csv":
            names, rows = read_csv_rows(rows_in, columns, order.delimiter)
            made = tokenise(rows, columns, order.turn_hour_utc, key_of, left_out, counts)
            write_csv_rows(made, columns.kept(names), rows_out)
        else:
            made = tokenise(read_ndjson_rows(rows_in), columns, order.turn_hour_utc, key_of, left_out, counts)
            write_ndjson_rows(made, rows_out)
    return counts


def _lines(path: Path | None) -> list[str]:
    return [] if path is None else path.read_text(encoding="utf-8", errors="replace").splitlines()


@contextmanager
def _reading(source: Path | None) -> Iterator[TextIO]:
    # What is not UTF-8 is marked and refused at the door; here nobody must see it in an error.
    if source is None:
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
        yield sys.stdin
        return
    with source.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        yield stream


@contextmanager
def _writing(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    draft = out.with_name(f".{out.name}.part")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
