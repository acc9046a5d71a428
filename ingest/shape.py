"""The shape of a line: what stands around its values. Lines of one producer look alike, so a shape is learnt once.

A line of a learnt shape is the accepted line that it was learnt from with other values in it. If these are printable ASCII
without quotes and backslashes, `ingest.attachment.parse_line` could only agree, and need not be asked.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ingest.attachment import AttachmentRefused, parse_line
from ingest.spelling import Bytes, Positions, pieces

_PLAIN = re.compile(rb"[ -\[\]-~]*")
_QUOTE = ord('"')


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields that a line gives a text for, in its order, and what stands around these texts.

    `opening[i]` is the number (in the line, from 0) of the quote that opens value i; `around` has one piece more than there
    are values and includes the values' quotes.
    """

    names: tuple[str, ...]
    quotes: int
    opening: tuple[int, ...]
    around: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, eq=False)
class QuotedLines:
    """Lines in a block of bytes: where each begins and ends, and where its quotes are.

    Line i has `quotes[i]` quotes, whose positions are `quote_at[first_quote[i]:]`.
    """

    block: Bytes
    start: Positions
    end: Positions
    quote_at: Positions
    first_quote: Positions
    quotes: Positions

    @classmethod
    def of(cls, block: Bytes, start: Positions, end: Positions) -> "QuotedLines":
        """Lines in their order, with nothing but their separators between them."""
        quote_at = np.flatnonzero(block[start[0] : end[-1]] == _QUOTE) + start[0]
        bounds = np.searchsorted(quote_at, np.append(start, end[-1]))
        return cls(block, start, end, quote_at, bounds[:-1], np.diff(bounds))


def shape_of(line: bytes) -> Shape | None:
    """The shape of a line that `parse_line` accepts and that can be cut by its quotes, else None.

    >>> shape_of(b'{"rat": null, "token": "abc"}').around
    (b'{"rat": null, "token": "', b'"}')
    """
    try:
        parse_line(line)
    except AttachmentRefused:
        return None
    if not _PLAIN.fullmatch(line):
        return None
    texts = line.split(b'"')  # what is outside quotes and what is inside, by turns
    names, opening = [], []
    inside = 1
    while inside < len(texts):
        names.append(texts[inside].decode())
        if texts[inside + 1].strip() == b":":
            inside += 2
            opening.append(inside - 1)
        else:
            names.pop()  # null
        inside += 2
    if not names:
        return None
    around, piece = [], 0
    for value in opening:
        around.append(b'"'.join(texts[piece : value + 1]) + b'"')
        piece = value + 2
    around = [before if at == 0 else b'"' + before for at, before in enumerate(around)]
    around.append(b'"' + b'"'.join(texts[piece:]))
    return Shape(tuple(names), len(texts) - 1, tuple(opening), tuple(around))


class Mould:
    """A shape with what stands around its values written out for many lines, to hold against lines all at once."""

    def __init__(self, shape: Shape, lines: int) -> None:
        self.shape = shape
        self._around = [np.tile(np.frombuffer(piece, np.uint8), lines) for piece in shape.around]

    def fitting(self, lines: QuotedLines, which: Positions) -> tuple[Positions, list[Positions], list[Positions]]:
        """Which of the lines asked have this shape; per value where it begins in each of them, and where it ends."""
        which = which[lines.quotes[which] == self.shape.quotes]
        first = lines.first_quote[which]
        ends = [lines.quote_at[first + opening] + 1 for opening in self.shape.opening]
        begins = [lines.quote_at[first + (opening + 1)] for opening in self.shape.opening]
        begins, ends = [lines.start[which], *begins], [*ends, lines.end[which]]
        fits = np.ones(len(which), bool)
        for begin, end, piece in zip(begins, ends, self.shape.around, strict=True):
            fits &= end - begin == len(piece)
        which, begins, ends = _those(fits, which, begins, ends)
        fits = np.ones(len(which), bool)
        for begin, piece, wanted in zip(begins, self.shape.around, self._around, strict=True):
            found = pieces(lines.block, begin, len(piece))
            same = found == wanted[: found.size].reshape(found.shape)
            if not same.all():
                fits &= same.all(axis=1)
        which, begins, ends = _those(fits, which, begins, ends)
        # What stands around a value ends where the value begins.
        return which, ends[:-1], begins[1:]


def _those(
    fits: NDArray[np.bool_], which: Positions, begins: list[Positions], ends: list[Positions]
) -> tuple[Positions, list[Positions], list[Positions]]:
    if fits.all():
        return which, begins, ends
    return which[fits], [begin[fits] for begin in begins], [end[fits] for end in ends]
