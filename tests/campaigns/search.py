"""A search for secrets of sixteen bytes or more in whatever spelling, in every file of a folder, decompressed first.

A sealed file is opened where its day's key is at hand; SQLite's pages and everything else are read as bytes.
"""

import base64
import json
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ingest.token_day import folder_name
from jobs.keys import KeyMissing, read_key
from jobs.sealed import SealBroken, SealedFile, read_sealed, unseal
from jobs.tables import EdgeFolder, day_folder
from movement.advance import CARRY_OVER_SCHEMA, SIGHTING_SCHEMA

ANCHOR = 8
COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
DEEPEST = 3


def spellings(secret):
    """name -> the bytes in which sixteen or more bytes may be written."""
    base32 = base64.b32encode(secret).decode().rstrip("=")
    base64_, url = (base64.b64encode(secret, alt).decode().rstrip("=") for alt in (b"+/", b"-_"))
    texts = {
        "hex": secret.hex(),
        "HEX": secret.hex().upper(),
        "base32": base32.lower(),
        "BASE32": base32,
        "base64": base64_,
        "base64url": url,
    }
    spelled = {"raw": secret}
    for name, text in texts.items():
        spelled |= {f"{name}, {code}": text.encode(code) for code in ("ascii", "utf-16-le", "utf-16-be")}
    return spelled


class Wanted:
    """What is searched for: secrets by name, each in all its spellings, and strings of bytes as they are."""

    def __init__(self, secrets, plain=None):
        self.needles = defaultdict(list)
        for name, secret in secrets.items():
            for way, needle in spellings(secret).items():
                self.needles[needle[:ANCHOR]].append((needle, name, way))
        for name, needle in (plain or {}).items():
            self.needles[needle[:ANCHOR]].append((needle, name, "as it is"))
        self.anchors = np.unique(np.frombuffer(b"".join(self.needles), "<u8"))

    def found_in(self, content):
        """(name, way) of what is there."""
        found = set()
        for shift in range(min(ANCHOR, len(content))):
            count = (len(content) - shift) // ANCHOR
            windows = np.frombuffer(content, "<u8", count, shift)
            places = np.minimum(np.searchsorted(self.anchors, windows), len(self.anchors) - 1)
            for at in np.flatnonzero(self.anchors[places] == windows):
                start = shift + int(at) * ANCHOR
                for needle, name, way in self.needles[content[start : start + ANCHOR]]:
                    if content[start : start + len(needle)] == needle:
                        found.add((name, way))
        return found


def search(folder, wanted, keys_of=None):
    """path -> what was found in it, over all files of a folder and in their names.

    `keys_of` is the edge's folder whose keys open the sealed files of `folder`; None: nothing opens them.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        here = wanted.found_in(path.relative_to(folder).as_posix().encode() + b"\0" * ANCHOR)
        if path.is_file():
            for content in contents(path.read_bytes()):
                here |= wanted.found_in(content)
        if here:
            found[path.relative_to(folder).as_posix()] = here
    if keys_of is not None:
        for path, content in unsealed(folder, keys_of):
            here = wanted.found_in(content)
            if here:
                found.setdefault(path, set()).update(here)
    return found


def contents(raw, deep=0):
    """The bytes of a file, and what they hold when they are compressed or a table."""
    yield raw
    for magic, name in COMPRESSED.items():
        if deep < DEEPEST and raw.startswith(magic):
            try:
                with pa.CompressedInputStream(pa.BufferReader(raw), name) as stream:
                    yield from contents(stream.read(), deep + 1)
            except (OSError, pa.ArrowException):
                continue
    if raw.startswith(b"PAR1"):
        try:
            table = pq.read_table(pa.BufferReader(raw))
        except (OSError, pa.ArrowException):
            return
        yield from columns(table)


def columns(table):
    """The bytes of every column's buffers."""
    for column in table.columns:
        for chunk in column.chunks:
            yield from (buffer.to_pybytes() for buffer in chunk.buffers() if buffer is not None)


def unsealed(folder, keys_of):
    """(path, bytes) of every sealed file of an edge's folder that a record describes and a key of `keys_of` opens."""
    edge, holder = EdgeFolder(folder), EdgeFolder(keys_of)
    files = [file for record in edge.records() for file in record["files"]]
    for day in edge.token_days():
        try:
            key = read_key(holder.root, day)
        except KeyMissing:
            continue
        prefix = f"token_day={folder_name(day)}/"
        there = [(edge.sightings, file, SIGHTING_SCHEMA) for file in files if file["path"].startswith(prefix)]
        for path in (edge.carry_overs / day_folder(day)).glob("*.sealed"):
            try:
                record = unseal(path.read_bytes(), key)
            except SealBroken:
                continue
            yield path.relative_to(folder).as_posix(), record
            there += [(path.parent, file, CARRY_OVER_SCHEMA) for file in json.loads(record)["files"]]
        for room, file, schema in there:
            try:
                table = read_sealed(room, SealedFile.of(file), key, schema)
            except SealBroken:
                continue
            path = (room / file["path"]).relative_to(folder).as_posix()
            yield from ((path, content) for content in columns(table.to_arrow()))
