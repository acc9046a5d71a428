"""The committed page of detection is that of the committed figures."""

import json
from pathlib import Path

import pytest

from bench.detection.page import page

DOCS = Path(__file__).parents[2] / "docs"
FIGURES = DOCS / "figures" / "detection.json"


@pytest.mark.skipif(not FIGURES.exists(), reason="make evidence-detection has not been run")
def test_the_committed_page_is_that_of_the_committed_figures():
    assert (DOCS / "evidence-detection.md").read_text(encoding="utf-8") == page(json.loads(FIGURES.read_bytes()))
