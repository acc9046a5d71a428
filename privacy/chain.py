"""The hash chain of public facts: each entry's link covers all entries before it, so none can be changed or left out."""

import hashlib
from dataclasses import dataclass
from typing import Any

from ingest.release import canonical_json

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of the chain: a public fact, its digest, and the hash that ties it to all before."""

    number: int
    document: dict[str, Any]
    digest: str
    link: str


def digest_of(document: dict[str, Any]) -> str:
    """`sha256:…` over the canonical JSON of an entry."""
    return "sha256:" + hashlib.sha256(canonical_json(document)).hexdigest()


def link_of(previous: str, digest: str) -> str:
    """The link of an entry with this digest after an entry with that link; the first follows GENESIS.

    >>> link_of(GENESIS, "sha256:00")[:12]
    'e255df8004e9'
    """
    return hashlib.sha256(f"{previous}|{digest}".encode()).hexdigest()
