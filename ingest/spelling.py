"""Texts cut out of a block of bytes by their positions: as columns without a copy, and as times by their digits.

A block is an array of bytes with SPARE unused ones behind its end; a text is where it begins and how long it is.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ingest.rows import NO_TIME

Bytes = NDArray[np.uint8]
Positions = NDArray[np.int64]

SPARE = 64
"""Bytes behind the end of a block, so that many bytes can be taken at once wherever a text begins."""
SHORT = 12
"""The longest text that Arrow's string view holds in itself."""


def padded(raw: bytes | Bytes) -> Bytes:
    """A copy of the bytes with room behind it."""
    block = np.zeros(len(raw) + SPARE, np.uint8)
    block[: len(raw)] = np.frombuffer(raw, np.uint8) if isinstance(raw, bytes) else raw
    return block


def pieces(block: Bytes, at: Positions, size: int) -> Bytes:
    """So many bytes from each position on, one row a position."""
    anywhere = np.ndarray((len(block) - size + 1,), f"V{size}", buffer=block, strides=(1,))
    return anywhere[at].view(np.uint8).reshape(len(at), size)


def text_views(block: Bytes, at: Positions, size: NDArray[np.int32]) -> NDArray[np.uint32]:
    """The texts at these positions (not before the fourth byte) as Arrow's string views into the block, one row a text.

    A view is the length in 4 bytes, then the text if it is short, else its first 4 bytes, a 0 and where it stands.
    """
    views = pieces(block, at - 4, 16).view("<u4")
    views &= _KEPT.take(np.minimum(size, SHORT + 1), axis=0)
    views[:, 0] = size
    if (long := np.flatnonzero(size > SHORT)).size:
        views[long, 3] = at[long]
    return views


def own_views(texts: list[str | None]) -> tuple[NDArray[np.uint32], Bytes]:
    """Texts that stand in no block, as views into a second one made for them (a null as the empty text)."""
    raw = [b"" if text is None else text.encode() for text in texts]
    size = np.array([len(text) for text in raw], np.int32)
    at = SPARE + np.cumsum(size) - size
    second = padded(bytes(SPARE) + b"".join(raw))
    views = text_views(second, at, size)
    views[size > SHORT, 2] = 1
    return views, second


def text_column(views: NDArray[np.uint32], absent: NDArray[np.bool_], block: Bytes, second: Bytes) -> pa.Array:
    """Views into blocks of UTF-8 as a column of text, without a copy."""
    buffers = [_valid(absent), pa.py_buffer(views), pa.py_buffer(block), pa.py_buffer(second)]
    return pa.Array.from_buffers(pa.string_view(), len(views), buffers)


def time_column(times: NDArray[np.int64], absent: NDArray[np.bool_]) -> pa.Array:
    """Microseconds since 1970 UTC as a column of instants."""
    return pa.Array.from_buffers(pa.timestamp("us", "UTC"), len(times), [_valid(absent), pa.py_buffer(times)])


def _valid(absent: NDArray[np.bool_]) -> pa.Buffer | None:
    return pa.py_buffer(np.packbits(~absent, bitorder="little")) if absent.any() else None


def plain_times(block: Bytes, at: Positions, size: NDArray[np.int32]) -> NDArray[np.int64]:
    """Microseconds since 1970 UTC of texts such as 2026-03-02T05:00:07.25Z; NO_TIME for whatever is spelled otherwise.

    What is read here is exactly what `ingest.attachment.parse_time` reads as a time, but for the first and last year of
    the calendar, which an offset could leave.
    """
    date, day_to_minute, second = np.ascontiguousarray(pieces(block, at, 24).view("<u8").T)
    minutes, sound = _minutes_of_runs(date, day_to_minute)
    seconds = _pair(_tens(second, b":00"), 1)
    sound &= (_misspelled(second, b":00") == 0) & (seconds < 60)

    is_zulu = block[at + size - 1] == ord("Z")
    digits = size - np.where(is_zulu, 21, 26)  # of the fraction; -1 without one
    dotted = (second >> _u8(24)) & _BYTE == _u8(ord("."))
    sound &= np.where(digits < 0, digits == -1, dotted & (digits > 0) & (digits <= 6))
    fraction = (_words(block, at + 20) ^ _ZEROS) & _FIRST_BYTES.take(digits, mode="clip")
    sound &= ((fraction | (fraction + _SIXES)) & _HIGH) == 0
    tens = fraction * _u8(10) + (fraction >> _u8(8))
    micros = _pair(tens, 0) * 10_000 + _pair(tens, 2) * 100 + _pair(tens, 4)

    times = (minutes * 60 + seconds) * 1_000_000 + micros
    if (elsewhere := np.flatnonzero(~is_zulu & sound)).size:
        east, fits = _offsets(_words(block, at[elsewhere] + size[elsewhere] - 6))
        times[elsewhere] -= east * 60_000_000
        sound[elsewhere] &= fits
    times[~sound] = NO_TIME
    return times


def _minutes_of_runs(
    date: NDArray[np.uint64], day_to_minute: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """`_minutes` of each row, worked out once where rows that follow each other state the same minute."""
    new = np.ones(len(date), bool)
    new[1:] = (date[1:] != date[:-1]) | (day_to_minute[1:] != day_to_minute[:-1])
    first = np.flatnonzero(new)
    if 2 * len(first) > len(date):
        return _minutes(date, day_to_minute)
    run = np.cumsum(new) - 1
    minutes, sound = _minutes(date[first], day_to_minute[first])
    return minutes[run], sound[run]


def _minutes(
    date: NDArray[np.uint64], day_to_minute: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Whole minutes since 1970 in texts such as 2026-03-02T05:00, and which are such texts and state a minute."""
    sound = (_misspelled(date, b"0000-00-") | _misspelled(day_to_minute, b"00T00:00")) == 0
    tens = _tens(date, b"0000-00-")
    year, month = _pair(tens, 0) * 100 + _pair(tens, 2), _pair(tens, 5)
    tens = _tens(day_to_minute, b"00T00:00")
    day, hour, minute = _pair(tens, 0), _pair(tens, 3), _pair(tens, 6)
    sound &= (year > 1) & (year < _LAST_YEAR) & (month >= 1) & (month <= 12)
    month_of_all = np.where(sound, year * 12 + month - 13, 0)
    sound &= (day >= 1) & (day <= _MONTH_DAYS[month_of_all]) & (hour < 24) & (minute < 60)
    return ((_MONTH_START[month_of_all] + day - 1) * 24 + hour) * 60 + minute, sound


def _offsets(words: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Minutes east of Greenwich in texts such as +07:00, and which are such texts."""
    sign = words & _BYTE
    tens = _tens(words >> _u8(8), b"00:00")
    hours, minutes = _pair(tens, 0), _pair(tens, 3)
    fits = (_misspelled(words >> _u8(8), b"00:00") == 0) & (hours <= 14) & (minutes < 60)
    fits &= (sign == _u8(ord("+"))) | (sign == _u8(ord("-")))
    return np.where(sign == _u8(ord("-")), -1, 1) * (hours * 60 + minutes), fits


# Eight bytes are one number (the first byte is its lowest), so that all their digits are read in one step.


def _u8(number: int) -> np.uint64:
    return np.uint64(number)


def _words(block: Bytes, at: Positions) -> NDArray[np.uint64]:
    return np.ndarray((len(block) - 7,), "<u8", buffer=block, strides=(1,))[at]


def _misspelled(words: NDArray[np.uint64], form: bytes) -> NDArray[np.uint64]:
    """Zero where a text follows the form, in which 0 stands for any digit and every other letter for itself."""
    away = words ^ _number(form)
    # A digit is away from 0 by 0 to 9; with six more, a larger distance shows in the upper half of its byte.
    over = away + _number(bytes(6 if letter == ord("0") else 0 for letter in form))
    return (away | over) & _number(bytes(0xF0 if letter == ord("0") else 0xFF for letter in form))


def _tens(words: NDArray[np.uint64], form: bytes) -> NDArray[np.uint64]:
    """In every byte the number that its digit and the next one make."""
    away = words ^ _number(form)
    return away * _u8(10) + (away >> _u8(8))


def _pair(tens: NDArray[np.uint64], byte: int) -> NDArray[np.int64]:
    return ((tens >> _u8(8 * byte)) & _BYTE).view(np.int64)


def _number(letters: bytes) -> np.uint64:
    return np.uint64(int.from_bytes(letters, "little"))


_BYTE = np.uint64(0xFF)
_ZEROS, _SIXES, _HIGH = (_number(bytes([byte]) * 8) for byte in (0x30, 0x06, 0xF0))
_FIRST_BYTES = np.array([(1 << 8 * count) - 1 for count in range(7)], np.uint64)
_LAST_YEAR = 9999
_MONTHS = np.arange("0001-01", f"{_LAST_YEAR}-01", dtype="datetime64[M]")
_MONTH_START = _MONTHS.astype("datetime64[D]").astype(np.int64)
_MONTH_DAYS = np.diff(_MONTH_START, append=_MONTH_START[-1] + 31)


def _kept() -> NDArray[np.uint32]:
    """What of a view's sixteen bytes is kept for a text of 0 to 12 bytes, and for a longer one."""
    kept = np.zeros((SHORT + 2, 16), np.uint8)
    for length in range(SHORT + 1):
        kept[length, 4 : 4 + length] = 255
    kept[SHORT + 1, 4:8] = 255
    return kept.view("<u4")


_KEPT = _kept()
