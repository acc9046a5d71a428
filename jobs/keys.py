"""The keys of the token-days: one random key a day, in a file of its own, shredded before anything else of the day goes.

Every sightings and carry-over file is encrypted under its day's key, so that a day whose key is gone cannot be read, whatever
a disk, a snapshot or a backup still holds of its tables.
"""

import os
import secrets
from datetime import datetime
from pathlib import Path

from ingest.token_day import folder_name
from jobs.disk import sync

KEY_BYTES = 32


class KeyMissing(RuntimeError):
    """The key of a token-day is gone: what was encrypted under it cannot be read by anybody."""


def key_path(root: Path, day_start: datetime) -> Path:
    """Where the key of a token-day lies in an edge's folder."""
    return root / "keys" / f"token_day={folder_name(day_start)}.key"


def make_key(root: Path, day_start: datetime) -> bytes:
    """The key of a token-day, made if there is none yet; all who ask at the same time get the same key."""
    path = key_path(root, day_start)
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{secrets.token_hex(8)}.draft")
        _write(draft, secrets.token_bytes(KEY_BYTES), os.O_CREAT | os.O_EXCL)
        try:
            # A link is made once, also on a shared file system: who comes second takes the first one's key.
            os.link(draft, path)
        except FileExistsError:
            _write(draft, bytes(KEY_BYTES))
        draft.unlink()
        sync(path.parent)
    return read_key(root, day_start)


def read_key(root: Path, day_start: datetime) -> bytes:
    """The key of a token-day; raises KeyMissing if there is none or it is not whole."""
    try:
        key = key_path(root, day_start).read_bytes()
    except FileNotFoundError:
        key = b""
    if len(key) != KEY_BYTES or key == bytes(KEY_BYTES):
        raise KeyMissing("the key of a token-day is gone")
    return key


def shred_key(root: Path, day_start: datetime) -> None:
    """Overwrite and delete the key of a token-day."""
    path = key_path(root, day_start)
    if path.exists():
        _write(path, bytes(KEY_BYTES))
        path.unlink()
        sync(path.parent)


def _write(path: Path, content: bytes, flags: int = 0) -> None:
    handle = os.open(path, os.O_WRONLY | flags, 0o600)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
