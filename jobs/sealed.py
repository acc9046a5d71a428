"""Sealed files: Parquet under a token-day's key, the rows in order of the buckets of their tokens.

A bucket is a span of the token's first byte, so that a task can close one bucket of an hour without a shuffle. Everything is
encrypted and authenticated (AES-256-GCM, the footer too) under a key of the file's own, made from the day's key and a salt
that the file's record keeps: reading a file takes its record and the day's key.
"""

import errno
import hmac
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from numpy.typing import NDArray

from jobs.disk import file_digest, sync

TOKEN_BYTES = 16
SALT_BYTES = 16
MOST_BUCKETS = 256
ROWS_WORTH_A_GROUP = 8192
"""Neighbouring buckets with fewer rows share a row group: a small group costs more to open than to read."""
_TOKEN = pl.Array(pl.UInt8, TOKEN_BYTES)
_OF_THE_FILE = (None, errno.ENOENT)
_OF_THE_MACHINE = (MemoryError, pa.ArrowCancelled)
"""Exceptions of Arrow that say nothing of a file."""


class SealBroken(ValueError):
    """A sealed file is gone, is not what was written, or was written under another key."""


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A sealed file as its record keeps it: `digest` is of its bytes, `buckets` says how many rows each bucket has."""

    path: str
    rows: int
    bytes: int
    digest: str
    salt: str
    buckets: tuple[int, ...]

    def document(self) -> dict[str, Any]:
        """The file as JSON."""
        return {**asdict(self), "buckets": list(self.buckets)}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "SealedFile":
        """The file that a record describes."""
        return cls(**{**document, "buckets": tuple(document["buckets"])})


def token_bytes(tokens: pl.Series) -> NDArray[np.uint8]:
    """The tokens as an (n, 16) array."""
    if not len(tokens):
        return np.zeros((0, TOKEN_BYTES), np.uint8)
    return tokens.bin.reinterpret(dtype=_TOKEN).to_numpy()


def write_sealed(table: pl.DataFrame, path: Path, day_key: bytes, buckets: int) -> SealedFile:
    """Write a table with a column `token` (16 bytes) to the disk; equal buckets keep the order of their rows."""
    tokens, others = token_bytes(table["token"]), table.drop("token")
    bucket = (tokens[:, 0].astype(np.uint16) * buckets) >> 8
    if table.height and (np.diff(bucket.astype(np.int16)) < 0).any():
        order = np.argsort(bucket, kind="stable")
        others, tokens = others[order], tokens[order]
    counts = np.bincount(bucket, minlength=buckets).tolist()
    token = pa.FixedSizeBinaryArray.from_buffers(pa.binary(TOKEN_BYTES), len(tokens), [None, pa.py_buffer(tokens)])
    sealed = others.to_arrow().add_column(0, pa.field("token", token.type), token)
    salt = secrets.token_bytes(SALT_BYTES)
    with pq.ParquetWriter(
        path,
        sealed.schema,
        compression="lz4",
        use_dictionary=False,
        write_statistics=False,
        encryption_properties=pe.create_encryption_properties(_file_key(day_key, salt)),
    ) as writer:
        for start, stop in _row_groups(counts):
            writer.write_table(sealed.slice(start, stop - start), row_group_size=stop - start)
    sync(path)
    return SealedFile(str(path), table.height, path.stat().st_size, file_digest(path), salt.hex(), tuple(counts))


def _row_groups(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    start = stop = 0
    for count in counts:
        stop += count
        if stop - start >= ROWS_WORTH_A_GROUP:
            yield start, stop
            start = stop
    if stop > start:
        yield start, stop


def read_sealed(
    root: Path,
    file: SealedFile,
    day_key: bytes,
    schema: pl.Schema,
    first_bucket: int = 0,
    past_bucket: int | None = None,
) -> pl.DataFrame:
    """The rows of some neighbouring buckets of a file, all of them unless said otherwise; raises SealBroken."""
    starts = [0, *accumulate(file.buckets)]
    start, stop = starts[first_bucket], starts[len(file.buckets) if past_bucket is None else past_bucket]
    if start == stop:
        return pl.DataFrame(schema=schema)
    unsealing = pe.create_decryption_properties(_file_key(day_key, bytes.fromhex(file.salt)))
    try:
        with pq.ParquetFile(root / file.path, decryption_properties=unsealing) as source:
            sizes = [source.metadata.row_group(group).num_rows for group in range(source.num_row_groups)]
            begins = [0, *accumulate(sizes)]
            if begins[-1] != file.rows:
                raise SealBroken("a sealed file has another number of rows than its record")
            wanted = [
                group for group, size in enumerate(sizes) if begins[group] < stop and begins[group] + size > start
            ]
            rows = source.read_row_groups(wanted, columns=schema.names(), use_threads=False)
    except _OF_THE_MACHINE:
        raise
    except (OSError, pa.ArrowException) as fault:
        if isinstance(fault, OSError) and fault.errno not in _OF_THE_FILE:
            raise
        raise SealBroken("a sealed file is gone, damaged, or under another key") from None
    table = pl.from_arrow(rows.slice(start - begins[wanted[0]], stop - start))
    assert isinstance(table, pl.DataFrame)
    return table.select(schema.names()).cast(dict(schema))  # type: ignore[arg-type]


def seal(content: bytes, day_key: bytes) -> bytes:
    """A short content that is no table, sealed in the same way; its salt stands before it."""
    salt, sink = secrets.token_bytes(SALT_BYTES), pa.BufferOutputStream()
    properties = pe.create_encryption_properties(_file_key(day_key, salt))
    pq.write_table(pa.table({"content": [content]}), sink, write_statistics=False, encryption_properties=properties)
    return salt + bytes(sink.getvalue())


def unseal(sealed: bytes, day_key: bytes) -> bytes:
    """What `seal` was given; raises SealBroken."""
    unsealing = pe.create_decryption_properties(_file_key(day_key, sealed[:SALT_BYTES]))
    try:
        table = pq.read_table(pa.BufferReader(sealed[SALT_BYTES:]), decryption_properties=unsealing, use_threads=False)
        content: bytes = table["content"][0].as_py()
    except _OF_THE_MACHINE:
        raise
    except (OSError, IndexError, KeyError, pa.ArrowException):
        raise SealBroken("a sealed content is damaged, or under another key") from None
    return content


def _file_key(day_key: bytes, salt: bytes) -> bytes:
    return hmac.digest(day_key, salt, "sha256")
