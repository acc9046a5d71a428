"""The privacy page in a real browser: no sign-in, the page's policy, the service's own figures, two languages."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from api.intake import accept_release
from api.settings import Notice
from api.store import Store
from ingest.release import HOUR
from tests.api.builders import DAY_START, a_store, release
from tests.browser.ledger import DAY, LATER, NOTICE, told_ledger
from tests.browser.serving import Served
from tests.browser.watched import Watched

LOCALES = Path(__file__).parents[2] / "api" / "static" / "locales"


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Store]:
    """Three token-days of two carriers, the newest under a stricter policy, and a refused second version."""
    store = told_ledger(tmp_path)
    second = release(values={("belt-01", "arrival"): 999}, lineage="live-carrier-a-0")
    with pytest.raises(ValueError, match="second_digest"):
        accept_release(store, second, carrier=None, now=LATER)
    yield store
    store.close()


@pytest.fixture
def open_page(told: Store) -> Iterator[Served]:
    running = Served(told, now=LATER, sign_in="closed", notice=NOTICE)
    yield running
    running.stop()


def opened(page: Page, served: Served, path: str = "privacy/?lang=en") -> dict[str, Any]:
    """Open the page and wait until it knows; the ledger that the service gives meanwhile."""
    page.goto(served.url + path)
    expect(page.locator("body")).to_have_attribute("data-state", "known")
    ledger: dict[str, Any] = page.request.get(served.url + "v1/privacy/ledger").json()
    return ledger


def test_anyone_can_read_it_and_nothing_is_blocked_or_asked_elsewhere(
    page: Page, watched: Watched, open_page: Served
) -> None:
    opened(page, open_page, "privacy")
    expect(page.locator("h1")).to_have_text("What was said about movement here, and what it cost")
    expect(page.locator("#doubt")).to_be_hidden()
    assert watched.complaints == []
    assert watched.outside(open_page.url) == []


def test_its_figures_are_the_services(page: Page, watched: Watched, open_page: Served) -> None:
    ledger = opened(page, open_page)
    assert len(ledger["items"]) == 6
    for day in ledger["items"]:
        row = page.locator(f'#days tr[data-day="{day["token_day_start"]}"][data-carrier="{day["carrier"]}"]')
        for name in ("rho_spent", "epsilon_spent", "releases", "suppressed_share", "incidents"):
            cell = row.locator(f'[data-figure="{name}"]')
            assert float(cell.get_attribute("data-value") or "nan") == pytest.approx(day[name])
        expect(row.locator('[data-figure="epsilon_spent"]')).to_have_text(f"{day['epsilon_spent']:.2f}")
        expect(row.locator('[data-figure="rho_spent"]')).to_have_text(f"{day['rho_spent']:.4f} of {day['rho_day']:.4f}")
        share = row.locator('[data-figure="suppressed_share"]').inner_text()
        assert float(share.rstrip("%")) == pytest.approx(100 * day["suppressed_share"], abs=0.051)
    for case in ledger["composition"]["rows"]:
        row = page.locator(f'#composition tr[data-case="{case["days"]}/{case["carriers"]}/{case["group"]}"]')
        expect(row.locator('[data-figure="epsilon"]')).to_have_text(f"{case['epsilon']:.2f}")
    cells, suppressed = (sum(day[name] for day in ledger["items"]) for name in ("cells", "suppressed"))
    expect(page.locator("#suppressed-told")).to_contain_text(f"Of {cells:,} counts on the days above, {suppressed:,} (")
    assert [row.get_attribute("data-policy") for row in page.locator("#policies tbody tr").all()] == [
        policy["policy_id"] for policy in reversed(ledger["policies"])
    ]
    assert watched.complaints == []


def test_the_picture_shows_what_the_table_says(page: Page, open_page: Served) -> None:
    ledger = opened(page, open_page)
    rows = [row for row in ledger["composition"]["rows"] if row["carriers"] == 1 and row["group"] == 1]
    drawn = page.locator("#adds-picture rect")
    lengths = [float(bar.get_attribute("width") or 0) for bar in drawn.all()]
    values = [row["epsilon"] for row in rows]
    assert [float(bar.get_attribute("data-value") or 0) for bar in drawn.all()] == values
    assert [length / lengths[-1] for length in lengths] == pytest.approx([value / values[-1] for value in values])


def test_a_day_over_its_budget_cannot_be_overlooked(page: Page, watched: Watched, told: Store) -> None:
    again = release(start=DAY_START - 3 * DAY, lineage="live-one")
    other = release(start=DAY_START - 3 * DAY + HOUR, lineage="live-another")
    for one in (again, other):
        accept_release(told, one, carrier=None, now=LATER)
    served = Served(told, now=LATER, sign_in="closed")
    opened(page, served)
    expect(page.locator("#budget-verdict")).to_have_class("broken")
    expect(page.locator("#budget-verdict")).to_have_text("1 carrier-day went over its budget. Complain.")
    assert page.locator("#days tr.over").count() == 1
    served.stop()


def test_the_program_that_checks_can_be_taken_from_here(page: Page, open_page: Served) -> None:
    ledger = opened(page, open_page)
    link = page.locator('#verify-steps a[download="verify_ledger.py"]')
    with page.expect_download() as taken:
        link.click()
    import hashlib

    path = taken.value.path()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == ledger["verification"]["verifier_sha256"]
    expect(page.locator("#verify-steps")).to_contain_text(ledger["verification"]["verifier_sha256"])
    expect(page.locator('#verify-steps a[href="https://carrier-a.example/ledger.json"]')).to_have_text("carrier-a")


def test_it_says_whom_to_turn_to_and_does_not_hide_what_nobody_said(page: Page, open_page: Served) -> None:
    opened(page, open_page)
    expect(page.locator('[data-notice="complaints"]')).to_have_text("privacy@border-command.example")
    expect(page.locator('[data-notice="ends_on"]')).to_have_text("31 December 2026")
    expect(page.locator('[data-notice="authority"]')).to_have_class("unsaid")
    assert page.locator("#not-claimed li").count() == 7


def test_it_speaks_vietnamese_and_the_language_is_in_the_address(
    page: Page, watched: Watched, open_page: Served
) -> None:
    opened(page, open_page)
    page.get_by_role("link", name="Tiếng Việt").click()
    expect(page.locator("body")).to_have_attribute("data-state", "known")
    assert page.url.endswith("?lang=vi")
    expect(page.locator("html")).to_have_attribute("lang", "vi")
    expect(page.locator("#promise-title")).to_have_text("Lời cam kết")
    expect(page.locator('#composition tr[data-case="30/1/1"] [data-figure="epsilon"]')).to_have_text("6,59")
    words = json.loads((LOCALES / "privacy.vi.json").read_text(encoding="utf-8"))
    shown = page.locator("body").inner_text()
    assert words["not.anonymous"] in shown
    assert not re.search(r"\b(?:promise|budget|adds|notice|verify|policies|level|suppressed)\.[a-z]", shown), (
        "a key without words"
    )
    assert watched.complaints == []


def test_names_from_the_ledger_are_text_and_never_markup(page: Page, watched: Watched, told: Store) -> None:
    notice = Notice(operator='<img src=x onerror="alert(1)">', complaints="<script>alert(1)</script>")
    served = Served(told, now=LATER, sign_in="closed", notice=notice)
    opened(page, served)
    expect(page.locator('[data-notice="operator"]')).to_have_text('<img src=x onerror="alert(1)">')
    assert page.locator("main img, main script").count() == 0
    assert watched.complaints == []
    served.stop()


def test_an_empty_ledger_says_so_and_still_says_what_is_promised(page: Page, watched: Watched, tmp_path: Path) -> None:
    store = a_store(tmp_path)
    served = Served(store, now=LATER, sign_in="closed")
    opened(page, served)
    expect(page.locator("#doubt")).to_have_text(
        "Nothing has been said yet: no carrier has released anything to this centre."
    )
    expect(page.locator("main")).to_contain_text("(epsilon 1.00, delta 1/1,000,000)")
    assert watched.complaints == []
    served.stop()


def test_without_an_answer_the_page_knows_nothing_and_says_so(page: Page, open_page: Served) -> None:
    page.route("**/v1/privacy/ledger", lambda route: route.abort())
    page.goto(open_page.url + "privacy/?lang=en")
    expect(page.locator("body")).to_have_attribute("data-state", "silent")
    expect(page.locator("#doubt")).to_contain_text("This page knows nothing.")
    expect(page.locator("#told")).to_be_hidden()


def test_every_word_is_there_in_both_languages() -> None:
    english, vietnamese = (
        json.loads((LOCALES / f"privacy.{lang}.json").read_text(encoding="utf-8")) for lang in ("en", "vi")
    )
    only_english = {key for key in english if key.endswith(".one") and key not in vietnamese}
    assert set(vietnamese) == set(english) - only_english, "Vietnamese has one plural form"
    for key, words in vietnamese.items():
        assert sorted(re.findall(r"\{\w+\}", words)) == sorted(re.findall(r"\{\w+\}", english[key])), key
        if len(words) > 12 and key != "budget.picture.told":
            assert words != english[key], f"{key} is not translated"
    folder = LOCALES.parent / "privacy"
    script = "".join(path.read_text(encoding="utf-8") for path in folder.iterdir())
    asked = set(re.findall(r'data-(?:text|label)="([\w.]+)"', script)) | set(re.findall(r'"((?:\w+\.)+\w+)"', script))
    named = {
        key for key in asked if key.partition(".")[0] in {word.partition(".")[0] for word in english if "." in word}
    }
    missing = {key for key in named if key not in english and f"{key}.other" not in english}
    assert missing == set()
    assert len(named) > 40
