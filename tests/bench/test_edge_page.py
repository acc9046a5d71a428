"""The page of the edge's figures says what was printed, and says it of what fell short as well."""

import json
from pathlib import Path

from bench.edge_page import SECTIONS, UNMEASURED, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_committed_page_is_that_of_the_committed_figures():
    assert (DOCS / "evidence-edge.md").read_text(encoding="utf-8") == page(DOCS / "figures")


def test_a_figure_that_fell_short_is_said(tmp_path):
    found = json.loads((DOCS / "figures" / "close.json").read_bytes())
    (tmp_path / "close.json").write_text(json.dumps(found))
    assert "**no**" not in page(tmp_path)
    found["close"]["close_sightings_per_cpu_s"] = 349_999
    (tmp_path / "close.json").write_text(json.dumps(found))
    assert "| sightings per CPU-second | at least 350,000 | 349,999 | **no** |" in page(tmp_path)


def test_a_section_without_a_figure_says_so(tmp_path):
    assert page(tmp_path).count(UNMEASURED) == len(SECTIONS)
