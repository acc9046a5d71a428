import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from api.store import Store
from tests.browser.chromium import chromium
from tests.browser.serving import Served
from tests.browser.situation import Surge, seed
from tests.browser.watched import Watched

# A busy machine draws its first page slowly; what never comes fails all the same.
expect.set_options(timeout=30_000)

WATERMARK = datetime(2026, 3, 2, 5, tzinfo=UTC)
NOW = WATERMARK + timedelta(minutes=84)
SURGE = Surge(("VN-KH-033", "VN-KH-034"), "arrival", factor=2.6, hours=3)


@pytest.fixture(scope="session")
def grid() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((Path(__file__).parent / "zones.geojson").read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    yield context.new_page()
    context.close()


@pytest.fixture
def watched(page: Page) -> Watched:
    return Watched(page)


@pytest.fixture
def store(tmp_path: Path, grid: dict[str, Any]) -> Iterator[Store]:
    opened = seed(
        tmp_path / "centre.db", grid, WATERMARK, surges=(SURGE,), silent=("VN-KH-036",), incomplete_hours_ago=(20, 21)
    )
    yield opened
    opened.close()


@pytest.fixture
def served(store: Store) -> Iterator[Served]:
    running = Served(store, now=NOW)
    yield running
    running.stop()
