"""Bytes as text, many at a time: null where they are not UTF-8, whatever the bytes were declared to be."""

import polars as pl
import pyarrow as pa


def texts_of(words: pa.Array) -> pl.Series:
    """What a file calls text. Polars takes Arrow's word that it is UTF-8, and Arrow does not look.

    >>> texts_of(pa.array([b"452-04", b"452-\\xff", None])).to_list()
    ['452-04', None, None]
    """
    if pa.types.is_string(words.type) or pa.types.is_large_string(words.type):
        try:
            words.validate(full=True)
        except pa.ArrowInvalid:
            words = words.view(pa.large_binary() if pa.types.is_large_string(words.type) else pa.binary())
        else:
            return pl.Series(words, dtype=pl.String)
    raw = pl.Series(words, dtype=pl.Binary)
    try:
        return raw.cast(pl.String)
    except pl.exceptions.ComputeError:
        # The cast gives all or nothing, so one broken word makes its table slower.
        return pl.Series(raw.name, [_decoded(word) for word in raw], dtype=pl.String)


def _decoded(word: bytes | None) -> str | None:
    try:
        return None if word is None else word.decode("utf-8")
    except UnicodeDecodeError:
        return None
