"""The stop switch: one person inside a carrier says stop, and nothing leaves until somebody says start.

The switch is a file, `STOPPED`, in the edge's folder; that it is there is all that counts. While it is, nothing is drawn,
released, published or pushed. Rows are still taken in, and deletion goes on by the clock: a stop never keeps a token longer.
"""

import fcntl
import json
import os
import pwd
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from ingest.release import canonical_json, format_utc
from jobs.disk import sync, write_whole

_LONGEST_REASON = 500
_SPEAKING_S = 60.0
"""Longer than a push waits for its answer."""
_SIGNED_IN, _NOBODY_SIGNED_IN = Path("/proc/self/loginuid"), 2**32 - 1


class EdgeStopped(RuntimeError):
    """Nothing is said: the stop switch of this edge is on."""


class StopRefused(ValueError):
    """The switch stays as it is; says why."""


class StopUnsure(RuntimeError):
    """The switch is on, and something that left just before may still be on its way."""


@dataclass(frozen=True, slots=True)
class Stop:
    """A stop in force. What is None nobody wrote down: somebody made the file by hand."""

    who: str | None
    at: str | None
    reason: str | None


def stop_in_force(root: Path) -> Stop | None:
    """The stop that is in force on an edge's folder, or None."""
    try:
        written = json.loads(_switch(root).read_bytes())
        return Stop(*(str(written[name]) for name in ("who", "at", "reason")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, OSError):
        return Stop(None, None, None)


@contextmanager
def leave_to_speak(root: Path) -> Iterator[None]:
    """The time in which something may be drawn or leave; raises EdgeStopped when the switch is on.

    Many may hold it at once. A stop waits until nobody does, so that nothing leaves after it has returned.
    """
    with _lock(root) as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        refuse_when_stopped(root)
        yield


def refuse_when_stopped(root: Path) -> None:
    """Raise EdgeStopped when the switch is on; for asking before long work that would end in saying something."""
    if stop_in_force(root) is not None:
        raise EdgeStopped("the stop switch is on: nothing is released or published until `tidemark edge start`")


def stop(root: Path, reason: str, *, now: datetime, speaking_s: float = _SPEAKING_S) -> Stop:
    """Turn the switch on and wait until what is just leaving has left. A stop that is in force already stays as it is.

    Raises StopUnsure, with the switch on, if something that was speaking does not end.
    """
    _refuse_empty(reason)
    if not root.is_dir():
        raise StopRefused("there is no edge folder to stop; edge.state names it")
    found = stop_in_force(root)
    if found is None:
        found = Stop(_account(), format_utc(now), reason)
        # The file first: from here on nobody begins to speak.
        write_whole(_switch(root), canonical_json(asdict(found)))
        _hand_over(_switch(root), root)
        _remember(root, {"act": "stop", **asdict(found)})
    until = time.monotonic() + speaking_s
    with _lock(root) as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise StopUnsure(
                        "the switch is on, but a process that was just letting something leave has not ended: end it"
                    ) from None
                time.sleep(0.02)
            else:
                return found


def start(root: Path, reason: str, *, now: datetime) -> Stop:
    """Turn the switch off; gives the stop that was in force."""
    _refuse_empty(reason)
    found = stop_in_force(root)
    if found is None:
        raise StopRefused("the stop switch is off already")
    # Remembered before it happens: a start that nobody wrote down must not be possible.
    act = {"act": "start", "who": _account(), "at": format_utc(now), "reason": reason, "stopped": asdict(found)}
    _remember(root, act)
    _switch(root).unlink()
    sync(root)
    return found


def stop_history(root: Path) -> list[dict[str, Any]]:
    """Every stop and start of an edge's life, oldest first."""
    path = root / "stops.ndjson"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _switch(root: Path) -> Path:
    return root / "STOPPED"


def _lock(root: Path) -> IO[bytes]:
    path = root / "stop.lock"
    made = not path.exists()
    lock = path.open("ab")
    if made:
        _hand_over(path, root)
    return lock


def _remember(root: Path, act: dict[str, Any]) -> None:
    path = root / "stops.ndjson"
    with path.open("ab") as history:
        history.write(canonical_json(act) + b"\n")
        history.flush()
        os.fsync(history.fileno())
    _hand_over(path, root)


def _hand_over(path: Path, root: Path) -> None:
    # A stop by the machine's administrator must not leave files that the edge's own account cannot use later.
    if os.geteuid() == 0:
        owner = root.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _account() -> str:
    """Who runs this, by the operating system and not by a variable that anybody may set.

    With `sudo -u` it is the edge's account; Linux also keeps who signed in.
    """
    account = _name_of(os.getuid())
    try:
        signed_in = int(_SIGNED_IN.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return account
    if signed_in in (os.getuid(), _NOBODY_SIGNED_IN):
        return account
    return f"{account}, signed in as {_name_of(signed_in)}"


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _refuse_empty(reason: str) -> None:
    if not reason.strip() or len(reason) > _LONGEST_REASON or not reason.isprintable():
        raise StopRefused(f"a reason is one line of 1 to {_LONGEST_REASON} characters")
