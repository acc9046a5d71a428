"""A token is 26 letters that spell 16 bytes."""

import base64
import random
import re

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from ingest.attachment import TOKEN_PATTERN
from ingest.tokens import are_tokens, token_bytes
from tests.jobs.border import token


def test_a_token_is_kept_as_the_16_bytes_that_it_spells():
    tokens = [token(random.Random(seed)) for seed in range(200)] + ["a" * 26, "7" * 25 + "4"]
    plain = [base64.b32decode(text.upper() + "======") for text in tokens]
    assert token_bytes(pl.Series(tokens)).to_list() == plain
    assert token_bytes(pl.Series(["x", *tokens]).slice(1)).to_list() == plain


@given(st.lists(st.from_regex(f"{TOKEN_PATTERN}|[a-z2-7 ]{{26}}|.{{25,27}}", fullmatch=True) | st.none()))
def test_texts_are_tokens_by_the_pattern_of_the_contract(texts):
    plain = [text is not None and re.fullmatch(TOKEN_PATTERN, text) is not None for text in texts]
    assert are_tokens(pl.Series(texts, dtype=pl.String)).tolist() == plain


def test_no_tokens_spell_nothing():
    assert token_bytes(pl.Series([], dtype=pl.String)).to_list() == []
