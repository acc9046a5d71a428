"""The scrubber: what a log line, a warning or a fault may say. No token, no identity, no counted value.

Patterns catch what has a shape: tokens, long digit runs, hex runs, bytes. A counted value has none, so the message of a
fault that is not one of the project's own is never told: its kind, its code and its place in the code are.
"""

import logging
import os
import re
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

GONE = "‹…›"

_KEPT = (
    r"sha256:[0-9a-f]{64}(?![0-9a-f])"  # what was said, by its digest: public
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\b"  # a random id, such as a correlation id
)
_SECRETS = (
    r"""(?<![A-Za-z])b(?P<quote>['"])(?:\\.|(?!(?P=quote)).)*(?P=quote)"""  # bytes as Python shows them
    r"|(?:\\x[0-9a-fA-F]{2}[^\\]{0,3}){3,}"  # what is left of them when their beginning was taken for something else
    r"|[A-Za-z0-9+/_-]{22}=="  # sixteen bytes in base64
    r"|[0-9a-fA-F]{16,}"
    r"|(?:[0-9a-fA-F]{2}[: ]){7,}[0-9a-fA-F]{2}"
    r"|[a-z2-7]{26,}|[A-Z2-7]{26,}"  # a token in either case, alone or run together with others
    r"|\d(?:[ .\-]?\d){13,}"  # an identity, also grouped
)
_PATTERN = re.compile(f"(?P<kept>{_KEPT})|{_SECRETS}", re.DOTALL)
_SILENCED = re.compile(r"jobs\.scrub\.TaskFault: ([^\n]*)")
_CODE = re.compile(r"[A-Z][A-Z0-9_.]{2,80}")
_ROOMS = ("ingest.", "geofence.", "movement.", "privacy.", "detector.", "api.", "jobs.", "simulator.")
_FRAMES = 6

Given = ParamSpec("Given")
Made = TypeVar("Made")


class TaskFault(RuntimeError):
    """Something failed inside a task; the message is kind and place only, for it goes through the JVM's log."""


def scrub(text: str) -> str:
    """The text without anything that has the shape of a token, an identity or sixteen raw bytes.

    >>> scrub("row of abcdefghijklmnopqrstuvwxyz, number 452 04 9876543210, at 2026-03-02T05:00:00Z")
    'row of ‹…›, number ‹…›, at 2026-03-02T05:00:00Z'
    """
    return _PATTERN.sub(lambda found: found["kept"] or GONE, text)


def told(fault: BaseException) -> str:
    """One line about a fault: its kind, its code if it has one, its place; the message only if it is the project's own."""
    parts, seen = [], set()
    at: BaseException | None = fault
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        parts.append(" ".join(filter(None, (_kind(at), _code(at), _place(at.__traceback__), _own_words(at)))))
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return "; after ".join(parts)


def is_own(fault: BaseException) -> bool:
    """Whether a fault is one of the project's own, whose messages name rules and settings, never rows or counts."""
    return type(fault).__module__.startswith(_ROOMS)


def _kind(fault: BaseException) -> str:
    return scrub(type(fault).__name__)


def _own_words(fault: BaseException) -> str:
    if is_own(fault):
        return f"({scrub(str(fault))})"
    # Spark hands on a worker's fault as text, and a silenced one says nothing else.
    left = _SILENCED.search(str(fault)) if type(fault).__module__.startswith(("pyspark.", "py4j.")) else None
    return f"({scrub(left[1])})" if left else ""


def _code(fault: BaseException) -> str:
    # Words from a fixed list: errno's, SQLite's, Spark's error conditions. An OSError may be raised with any words.
    if isinstance(fault, OSError) and isinstance(fault.errno, int) and fault.strerror == os.strerror(fault.errno):
        return f"[{fault.strerror}]"
    for name in ("sqlite_errorname", "getCondition", "getErrorClass"):
        found = getattr(fault, name, None)
        try:
            code = found() if callable(found) else found
        except Exception:  # noqa: BLE001 - asking must not fail where a fault is told
            continue
        if isinstance(code, str) and _CODE.fullmatch(code):
            return f"[{code}]"
    return ""


def _place(trace: TracebackType | None) -> str:
    frames = traceback.extract_tb(trace)[-_FRAMES:]
    where = " < ".join(f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in reversed(frames))
    return f"at {scrub(where)}" if where else ""


def silenced(task: Callable[Given, Iterator[Made]]) -> Callable[Given, Iterator[Made]]:
    """A task for Spark's workers whose faults leave as TaskFault: a worker's own message ends in the JVM's log.

    What libraries log or warn of inside a worker is scrubbed as in the driver.
    """

    @wraps(task)
    def guarded(*args: Given.args, **named: Given.kwargs) -> Iterator[Made]:
        if "pyspark.worker" in sys.modules:
            install_scrubber()
        try:
            yield from task(*args, **named)
        except Exception as fault:  # noqa: BLE001 - the rim of a worker: nothing may pass it with a message in hand
            words = told(fault)
        else:
            return
        raise TaskFault(words)

    return guarded


def install_scrubber() -> None:
    """Put the scrubber where this process speaks: every log record of every library, warnings, and uncaught faults."""
    logging.setLogRecordFactory(_scrubbed_record)
    # A formatter that fails would print the raw arguments.
    logging.raiseExceptions = False
    # Not captured by logging, which would swallow them where nobody set a handler up.
    warnings.formatwarning = _told_warning
    sys.excepthook = _on_uncaught
    sys.unraisablehook = lambda fault: say_fault(fault.exc_value, "unraisable")
    threading.excepthook = lambda fault: say_fault(fault.exc_value, "thread")


def _scrubbed_record(*args: Any, **named: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **named)
    try:
        text = scrub(record.getMessage())
    except Exception:  # noqa: BLE001 - a message that does not fit its arguments
        text = "a log message did not fit its arguments"
    if record.exc_info and record.exc_info[1] is not None:
        fault = record.exc_info[1]
        record.exc_text = told(fault)
        # Libraries like to repeat the fault in the message; asyncio shows the whole task below its first line.
        text = text.partition("\n")[0]
        for words in filter(None, (scrub(repr(fault)), scrub(str(fault)))):
            text = text.replace(words, GONE)
    record.msg, record.args, record.exc_info, record.stack_info = text, None, None, None
    return record


def _told_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return f"{filename.rsplit('/', 1)[-1]}:{lineno}: {category.__name__}: {scrub(str(message))}\n"


def say_fault(fault: BaseException | None, where: str = "fault") -> None:
    """Tell a fault on standard error."""
    sys.stderr.write(f"{where}: {'unknown' if fault is None else told(fault)}\n")


def _on_uncaught(kind: type[BaseException], fault: BaseException, _: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("stopped\n")
    else:
        say_fault(fault)
