"""What the centre has room for, and what a process may say: schemas walked, texts fuzzed."""

import base64
import dataclasses
import random
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Column, MetaData, String, Table

from api import schema
from api.examples import ZONE_COLLECTION
from api.openapi import openapi_document
from api.settings import ApiSettings
from bench.audit.finding import Broken, Finding, Size
from bench.audit.harness import from_tests
from detector.alerts import FLAG_SCHEMA
from detector.combine import HISTORY_SCHEMA, PUBLISHED_SCHEMA
from detector.expand import CarrierCount, MarketFactor, Together
from detector.flag import EXPECTATION_SCHEMA
from ingest.release import Release
from jobs import scrub
from jobs.settings import CentreSettings

_PLANTED = ("token", "subscriber_token", "deviceId", "IMSI", "nationality", "home_country", "plmn", "event_time")


def schema_walk(size: Size) -> Finding:
    """Every name that the centre has room for a value under: none is a device's, a subscriber's or a nationality's."""
    rules = from_tests("api.test_no_device")
    walks = _walks(rules)
    names = {place: list(walk()) for place, walk in walks.items()}
    wrong = [name for found in names.values() for name in found if rules.forbidden(name)]
    open_ones = [
        name
        for name, shape in openapi_document()["components"]["schemas"].items()
        if shape.get("type") == "object" and shape.get("additionalProperties") is not False
    ]
    metered = openapi_document()["paths"].keys() & {"/metrics", "/v1/metrics"}
    missed = [(place, name) for place, find in _plants(rules).items() for name in _PLANTED if not find(name)]
    tried = len(_plants(rules)) * len(_PLANTED)
    return Finding(
        "schema walk at the centre",
        f"{len(wrong)} forbidden of {sum(map(len, names.values())):,} names ("
        + ", ".join(f"{place} {len(found)}" for place, found in names.items())
        + f"); {len(open_ones)} open objects, {len(metered)} metrics routes",
        "0, 0, 0",
        not (wrong or open_ones or metered) and all(names.values()),
        (
            Broken(
                "a planted column, field, parameter or property", f"{tried - len(missed)} of {tried} found", not missed
            ),
        ),
    )


def _walks(rules: Any) -> dict[str, Callable[[], Iterator[str]]]:
    return {
        "tables": lambda: rules.column_names(schema.metadata),
        "OpenAPI": lambda: rules.described_names(openapi_document()),
        "releases": lambda: rules.described_names(Release.model_json_schema()),
        "detector": lambda: (
            name for s in (HISTORY_SCHEMA, PUBLISHED_SCHEMA, EXPECTATION_SCHEMA, FLAG_SCHEMA) for name in s
        ),
        "estimates": lambda: _field_names(CarrierCount, MarketFactor, Together),
        "settings": lambda: _setting_names(CentreSettings, ApiSettings),
        "GeoJSON": lambda: _keys(ZONE_COLLECTION),
    }


def _field_names(*kinds: Any) -> Iterator[str]:
    return (field.name for kind in kinds for field in dataclasses.fields(kind))


def _setting_names(model: type[BaseModel], more: Any) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from part.model_fields
    yield from _field_names(more)


def _keys(node: Any) -> Iterator[str]:
    if isinstance(node, list | tuple):
        for part in node:
            yield from _keys(part)
    if isinstance(node, dict):
        yield from node
        for part in node.values():
            yield from _keys(part)


def _plants(rules: Any) -> dict[str, Callable[[str], bool]]:
    """For each place whether the walk finds a name that was planted there."""

    def in_a_table(name: str) -> bool:
        planted = MetaData()
        Table("zone_count", planted, Column(name, String))
        return any(map(rules.forbidden, rules.column_names(planted)))

    return {
        "table": in_a_table,
        "field": lambda name: any(map(rules.forbidden, rules.described_names({"properties": {name: {}}}))),
        "parameter": lambda name: any(
            map(rules.forbidden, rules.described_names({"parameters": [{"name": name, "in": "query"}]}))
        ),
        "property": lambda name: any(map(rules.forbidden, _keys({"features": [{"properties": {name: 1}}]}))),
    }


# Scrubbing

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_AROUND = (
    "{}", "token={}", "['{}', 3]", '{{"token": "{}"}}', "/v1/alerts?token={}&x=1", "KeyError: '{}'", "\n\t{}\r",
    "row {} of part-0.parquet", "({},)", "<{}>", "Ünïcode {} \u202e", "{}{}", "a {} b {} c", "x_{}", "{}.",
)  # fmt: skip


def scrubbing(size: Size) -> Finding:
    """Tokens, identities and raw bytes in every spelling, wrapped in made-up texts and faults."""
    texts, draw = size.share(0.05, 10_000), random.Random(size.seed)
    made = [_secret_text(draw) for _ in range(texts)]
    leaked = sum(secret in scrub.scrub(text) for secret, text in made)
    bare = sum(secret in text for secret, text in made)
    told = sum(secret in scrub.told(_fault(draw, text)) for secret, text in made)
    worded = sum(
        secret in f"{type(fault).__name__}: {fault}" for secret, text in made for fault in [_fault(draw, text)]
    )
    counts = [str(draw.randrange(10_000, 99_999)) for _ in range(texts)]
    counted = sum(number in scrub.told(_fault(draw, f"{number} arrivals")) for number in counts)
    return Finding(
        "log and exception scrubbing",
        f"{leaked} of {texts:,} texts and {told} of {texts:,} faults leak; {counted} counted values told",
        "0, 0, 0",
        not (leaked or told or counted),
        (
            Broken("no scrubber", f"{bare:,} texts leak", bare > 0),
            Broken("faults told by their words", f"{worded:,} faults leak", worded > 0),
        ),
        "Whole processes, threads, loops, Spark workers and the service are fuzzed by tests/jobs/test_scrub.py.",
    )


def _secret_text(draw: random.Random) -> tuple[str, str]:
    kind, raw = draw.randrange(6), draw.randbytes(16)
    secret = (
        "".join(draw.choices(_LETTERS, k=26)),
        "".join(draw.choices(_LETTERS.upper(), k=26)),
        "".join(draw.choices("0123456789", k=15)),
        raw.hex(),
        repr(raw),
        base64.b64encode(raw).decode(),
    )[kind]
    around = draw.choice(_AROUND)
    if kind == 2 and draw.random() < 0.5:
        secret = draw.choice((" ", "-", ".")).join(secret)
    return secret, around.format(*[secret] * 3)


class _Foreign(Exception):
    """A library's own kind of fault."""


_Foreign.__module__ = "library.of.others"


def _fault(draw: random.Random, text: str) -> BaseException:
    kinds: tuple[type[Exception], ...] = (ValueError, KeyError, RuntimeError, OSError, _Foreign)
    try:
        try:
            raise draw.choice(kinds)(text)
        except Exception as first:
            raise draw.choice(kinds)("again", text) from first
    except Exception as fault:  # noqa: BLE001 - made to be told
        return fault
