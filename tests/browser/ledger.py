"""A centre whose privacy ledger has something to show, and a picture of its page.

`python -m tests.browser.ledger docs/images/privacy.png [--lang vi] [--dark]`
"""

import argparse
import tempfile
from datetime import date, timedelta
from pathlib import Path

from playwright.sync_api import expect

from api.intake import accept_many
from api.settings import Notice
from api.store import Store
from ingest.release import HOUR, format_utc, seal
from tests.api.builders import CARRIERS, DAY_START, NOW, a_store, day_content, mechanism, release
from tests.browser.chromium import chromium
from tests.browser.serving import Served

DAY = timedelta(days=1)
LATER = NOW + 2 * DAY
STRICTER = {"policy_id": "policy-2", "threshold": 80}
NOTICE = Notice(
    operator="Border Command South",
    complaints="privacy@border-command.example",
    opt_out="Ask your carrier.",
    ends_on=date(2026, 12, 31),
    carrier_ledgers={"carrier-a": "https://carrier-a.example/ledger.json"},
)


def told_ledger(folder: Path, *, days: int = 3, kind: str = "live") -> Store:
    """A store with so many token-days of two carriers, all three levels each, the newest under a stricter policy."""
    store = a_store(folder, lineages=("live", "simulated"))
    accepted = list(accept_many(store, _said(days, kind), carrier=None, now=LATER))
    assert all(hasattr(outcome, "outcome") for outcome in accepted), accepted
    return store


def _said(days: int, kind: str) -> list[object]:
    said: list[object] = []
    for carrier in CARRIERS:
        for ago in range(days):
            start, lineage = DAY_START - ago * DAY, f"{kind}-{carrier}-{ago}"
            rules = {} if ago else STRICTER
            for hour in range(24):
                busy = {("belt-01", "arrival"): 90 + 7 * hour, ("gate-01", "departure"): 310 - 5 * hour}
                values = busy if hour > 4 else None
                one = release(carrier, start + hour * HOUR, values, mechanism=mechanism(**rules), lineage=lineage)
                said.append(one)
            for level in ("sector-day", "border-day"):
                content = day_content(level, carrier, lineage=lineage)
                content["mechanism"] |= {"policy_id": rules.get("policy_id", "policy-1")}
                span = {"window_start": format_utc(start), "window_end": format_utc(start + DAY)}
                said.append(seal(content | span))
    return said


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lang", default="en")
    parser.add_argument("--dark", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        store = told_ledger(Path(folder), kind="simulated")
        served = Served(store, now=LATER, sign_in="closed", notice=NOTICE)
        scheme = "dark" if asked.dark else "light"
        page = browser.new_page(viewport={"width": 1060, "height": 900}, color_scheme=scheme)
        page.goto(f"{served.url}privacy/?lang={asked.lang}")
        expect(page.locator("body")).to_have_attribute("data-state", "known")
        page.screenshot(path=asked.out, full_page=True)
        served.stop()
        store.close()


if __name__ == "__main__":
    main()
