import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.store import Store
from tests.api.builders import a_store


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store with grid and carriers, made once and copied."""
    folder = tmp_path_factory.mktemp("furnished")
    a_store(folder).close()
    return folder / "centre.db"


@pytest.fixture
def store(tmp_path: Path, furnished: Path) -> Iterator[Store]:
    shutil.copy(furnished, tmp_path / "centre.db")
    opened = Store(f"sqlite:///{tmp_path / 'centre.db'}")
    yield opened
    opened.close()
