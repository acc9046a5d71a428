"""Tokens, many at a time: whether a text is one, and the 16 bytes that it spells."""

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

TOKEN_LETTERS = 26
TOKEN_BYTES = 16
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base32 (RFC 4648) in lower case
_A, _TO_Z, _2, _TO_7 = np.uint8(ord("a")), np.uint8(26), np.uint8(ord("2")), np.uint8(6)


def are_tokens(texts: pl.Series) -> NDArray[np.bool_]:
    """Whether each text is a token by `ingest.attachment.TOKEN_PATTERN`; a null is none.

    >>> are_tokens(pl.Series(["a" * 26, "a" * 27, "A" * 26, None])).tolist()
    [True, False, False, False]
    """
    fits = (texts.str.len_bytes() == TOKEN_LETTERS).fill_null(False)
    sound = fits.to_numpy().copy()
    letters = _letters(texts if sound.all() else texts.filter(fits))
    # Below the first of a range, the distance of a byte turns over into a large number.
    good = ((letters - _A) < _TO_Z) | ((letters - _2) < _TO_7)
    if not good.all():
        sound[sound] = good.all(axis=1)
    return sound


def token_bytes(tokens: pl.Series) -> pl.Series:
    """The 16 bytes of each token; 26 letters spell 130 bits, and the last two are padding. All must be tokens.

    >>> token_bytes(pl.Series(["aaaaaaaaaaaaaaaaaaaaaaaab4"])).to_list()[0].hex()
    '0000000000000000000000000000000f'
    """
    pairs = _letters(tokens).view("<u2")
    tens = np.ascontiguousarray(_TEN_BITS.take(pairs).T).astype(np.uint64)
    high, low = np.zeros(len(tokens), np.uint64), np.zeros(len(tokens), np.uint64)
    for ten in tens[:6]:
        high = (high << np.uint64(10)) | ten
    high = (high << np.uint64(4)) | (tens[6] >> np.uint64(6))
    low |= tens[6] & np.uint64(63)
    for ten in tens[7:12]:
        low = (low << np.uint64(10)) | ten
    low = (low << np.uint64(8)) | (tens[12] >> np.uint64(2))
    raw = np.stack([high, low], axis=1).astype(">u8")
    fixed = pa.Array.from_buffers(pa.binary(TOKEN_BYTES), len(tokens), [None, pa.py_buffer(raw)])
    return pl.Series("token", fixed, dtype=pl.Binary)


def _letters(tokens: pl.Series) -> NDArray[np.uint8]:
    """The letters of texts of 26 bytes each, one row a text."""
    if not len(tokens):
        return np.empty((0, TOKEN_LETTERS), np.uint8)
    array = tokens.to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, text = array.buffers()
    start = int(np.frombuffer(offsets, np.int64, count=1, offset=array.offset * 8)[0])
    flat = np.frombuffer(text, np.uint8, count=len(tokens) * TOKEN_LETTERS, offset=start)
    return flat.reshape(len(tokens), TOKEN_LETTERS)


def _ten_bits() -> NDArray[np.uint16]:
    """What two letters spell, by the number that their two bytes make (the first byte is the lower one)."""
    five = np.zeros(256, np.uint16)
    five[np.frombuffer(_ALPHABET.encode(), np.uint8)] = np.arange(len(_ALPHABET))
    pair = np.arange(1 << 16)
    return np.asarray((five[pair & 255] << np.uint16(5)) | five[pair >> 8])


_TEN_BITS = _ten_bits()
