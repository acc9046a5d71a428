"""What the tests have built already and an audit uses again: borders, edges without Spark, the life of a ledger."""

from importlib import import_module
from typing import Any


def from_tests(name: str) -> Any:
    """A module of the tests, by its name below `tests`."""
    return import_module(f"tests.{name}")
