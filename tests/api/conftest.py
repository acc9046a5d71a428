from collections.abc import Iterator
from pathlib import Path

import pytest

from api.store import Store
from tests.api.builders import a_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = a_store(tmp_path)
    yield opened
    opened.close()
