"""Stories about the first page, told by a real browser against the real application."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from api.rim import SECURITY_HEADERS
from api.store import Store
from tests.browser.chromium import ChromiumMissing, chromium_path
from tests.browser.conftest import NOW, SURGE, WATERMARK
from tests.browser.serving import Served
from tests.browser.situation import alert, seed
from tests.browser.watched import Watched

pytestmark = pytest.mark.browser

DRAWN_MS = 90_000
SILENCE_TOLD_MS = 10_000


def drawn(page: Page) -> Locator:
    """The map once nothing is left to draw."""
    room = page.locator("#map")
    expect(room).to_have_attribute("data-idle", "true", timeout=DRAWN_MS)
    return room


def points_in_zones(page: Page, wanted: int) -> dict[str, tuple[float, float]]:
    """Zones by name and a point well inside each, found as a hand would: by moving until the tip says so.

    Of a zone met several times the middle meeting is taken. The search ends once `wanted` zones were met and passed.
    """
    box = page.locator("#map").bounding_box()
    assert box is not None
    met: dict[str, list[tuple[float, float]]] = {}
    for y in range(20, int(box["height"]) - 10, 14):
        for x in range(300, int(box["width"]) - 70, 14):
            page.mouse.move(box["x"] + x, box["y"] + y)
            name = page.evaluate("() => document.querySelector('#tip:not([hidden]) strong')?.textContent")
            if name is not None:
                met.setdefault(name, []).append((box["x"] + x, box["y"] + y))
        if len(met) >= wanted:
            break
    page.mouse.move(1, 1)
    expect(page.locator("#tip")).to_be_hidden()
    assert met, "no zone lies under the pointer anywhere on the map"
    return {name: points[len(points) // 2] for name, points in met.items()}


def colour_named(page: Page, name: str) -> str:
    """A colour of the style sheet."""
    found: str = page.evaluate("name => getComputedStyle(document.documentElement).getPropertyValue(name).trim()", name)
    return found.lower()


def colours_around(page: Page, x: float, y: float, reach: int = 6) -> set[str]:
    """The colours of the pixels around a point, as the screen shows them."""
    picture = page.screenshot(clip={"x": x - reach, "y": y - reach, "width": 2 * reach, "height": 2 * reach})
    found: list[str] = page.evaluate(_COLOURS, base64.b64encode(picture).decode())
    return set(found)


_COLOURS = """async (png) => {
  const bytes = Uint8Array.from(atob(png), (character) => character.charCodeAt(0));
  const picture = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const pen = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  pen.drawImage(picture, 0, 0);
  const { data } = pen.getImageData(0, 0, picture.width, picture.height);
  const colours = [];
  for (let i = 0; i < data.length; i += 4) {
    colours.push("#" + [data[i], data[i + 1], data[i + 2]].map((one) => one.toString(16).padStart(2, "0")).join(""));
  }
  return colours;
}"""


def test_a_desk_sees_the_alert_with_what_was_expected_and_why(page: Page, served: Served) -> None:
    page.goto(served.url)
    card = page.locator("#alerts .alert.open")
    expect(card).to_have_count(1)
    for words in (
        "Very high",
        "Simulated",
        "Tây Ninh, km 856",
        "Arrivals",
        "Observed",
        "Expected",
        "over 75 %",
        "2 of 2",
    ):
        expect(card).to_contain_text(words)
    # 02:00 to 05:00 UTC, on the border's clocks.
    expect(card).to_contain_text("Mon 2 Mar, 09:00–12:00 UTC+7")
    card.get_by_text("4 more reasons").click()
    expect(card).to_contain_text("2 of 2 carriers reported a complete feed")


def test_every_zone_is_drawn_in_the_colour_of_its_state(page: Page, served: Served, grid: dict[str, Any]) -> None:
    page.goto(served.url)
    room = drawn(page)
    expect(room).to_have_attribute("data-zones", str(len(grid["features"])))
    expect(room).to_have_attribute("data-painted", str(len(grid["features"])))
    points = points_in_zones(page, len(grid["features"]))
    for name, state in (("km 856", "unusual"), ("km 930", "unusual_drop"), ("km 987", "usual")):
        x, y = next(point for found, point in points.items() if name in found)
        assert colour_named(page, f"--state-{state}") in colours_around(page, x, y)


def test_the_table_says_what_the_map_shows(page: Page, served: Served, grid: dict[str, Any]) -> None:
    page.goto(served.url)
    rows = page.locator("#zone-table tbody tr")
    expect(rows).to_have_count(len(grid["features"]))
    expect(rows.filter(has_text="km 856")).to_contain_text("unusual")
    expect(rows.filter(has_text="km 930")).to_contain_text("unusually few")
    expect(rows.filter(has_text="Mộc Bài")).to_contain_text("crossing point, not judged")
    # A count that stayed below the threshold is said to be so, never shown as zero.
    assert "below threshold" in page.locator("#zone-table").inner_text()
    assert not re.search(r"\b0\b(?! to)", " ".join(page.locator("#zone-table td:nth-child(6)").all_inner_texts()))


def test_a_click_on_a_zone_opens_its_chart(page: Page, served: Served) -> None:
    page.goto(served.url)
    drawn(page)
    name, (x, y) = next(iter(points_in_zones(page, 1).items()))
    page.mouse.click(x, y)
    expect(page.locator("#chart-title")).to_have_text(name)
    plot = page.locator("#plot")
    expect(plot.locator("canvas")).to_be_visible()
    expect(plot).to_have_attribute("data-hours", "72")
    expect(plot).to_have_attribute("aria-label", re.compile("below the threshold"))
    page.get_by_text("7 days", exact=True).click()
    expect(plot).to_have_attribute("data-hours", "168")
    page.locator("#direction").get_by_text("Departures").click()
    expect(plot).to_have_attribute("aria-label", re.compile("Departures"))


def test_the_keyboard_alone_reaches_a_zone_and_its_hours(page: Page, served: Served) -> None:
    page.goto(served.url)
    expect(page.locator("#zone-table tbody tr").first).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the table of zones")).to_be_focused()
    page.keyboard.press("Enter")
    button = page.locator("#zone-table tr", has_text="km 987").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#chart-title")).to_have_text(re.compile("km 987"))
    expect(button).to_be_focused()
    page.get_by_text("The same hours as a table").press("Enter")
    expect(page.locator("#hours tbody tr")).to_have_count(72)
    expect(page.locator("#hours")).to_contain_text("below 100")


def test_no_request_leaves_the_machine_and_nothing_breaks_the_policy(served: Served, watched: Watched) -> None:
    page = watched.page
    answer = page.goto(served.url)
    assert answer is not None
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    drawn(page)
    points_in_zones(page, 1)
    page.emulate_media(color_scheme="dark")
    drawn(page)
    page.get_by_text("7 days", exact=True).click()
    expect(page.locator("#plot")).to_have_attribute("data-hours", "168")
    assert len(watched.requests) > 15
    assert watched.outside(served.url) == []
    assert watched.complaints == []


def test_the_page_also_keeps_the_policy_without_unsafe_inline(
    served: Served, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = "default-src 'self'; worker-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'"
    monkeypatch.setitem(SECURITY_HEADERS, "Content-Security-Policy", strict)
    answer = watched.page.goto(served.url)
    assert answer is not None
    assert answer.headers["content-security-policy"] == strict
    drawn(watched.page)
    expect(watched.page.locator("#plot canvas")).to_be_visible()
    assert watched.complaints == []


def test_markup_in_a_name_or_a_reason_stays_text(tmp_path: Path, grid: dict[str, Any], watched: Watched) -> None:
    markup = "<img src=x onerror=\"alert('in')\"><script>alert('in')</script>"
    features = [
        {**feature, "properties": {**feature["properties"], "name": f"{markup} {n}"}}
        for n, feature in enumerate(grid["features"])
    ]
    poisoned = {**grid, "features": features, "attribution": markup}
    store = seed(tmp_path / "centre.db", poisoned, WATERMARK, hours=6)
    zones = {feature["properties"]["zone_id"]: feature["properties"] for feature in features}
    digest = next(iter(store.counts_rows(datetime(2026, 3, 1, tzinfo=UTC), NOW)["release_digest"]))
    words = {"reasons": [markup, markup], "probability": "<b onclick=alert(1)>over 75 %</b>"}
    bad = alert(zones, SURGE, WATERMARK, dict.fromkeys(zones, 200.0), [digest], "a-1", **words)
    store.save_alerts([bad], recorded_at=NOW)
    served = Served(store, now=NOW)
    try:
        page = watched.page
        page.goto(served.url)
        drawn(page)
        expect(page.locator("#alerts")).to_contain_text(markup)
        expect(page.locator("#attribution")).to_contain_text(markup)
        expect(page.locator("#chart-title")).to_contain_text(markup)
        assert all(markup in name for name in points_in_zones(page, 1))
        # The page's own script is its only one, and it has no picture and no handler in markup at all.
        expect(page.locator("script")).to_have_count(1)
        expect(page.locator("img, b, [onclick], [onerror]")).to_have_count(0)
        assert watched.complaints == []
        assert watched.outside(served.url) == []
    finally:
        served.stop()
        store.close()


def test_a_stopped_server_is_told_within_ten_seconds_with_the_age_of_what_is_shown(page: Page, served: Served) -> None:
    page.goto(served.url)
    drawn(page)
    expect(page.locator("body")).to_have_attribute("data-reach", "complete")
    served.stop()
    doubt = page.locator("#doubt")
    expect(doubt).to_contain_text("The server does not answer since", timeout=SILENCE_TOLD_MS)
    expect(doubt).to_contain_text("It reaches up to Mon 2 Mar, 12:00 UTC+7, 1 h 24 min ago", ignore_case=True)
    expect(page.locator("#standing")).to_contain_text("No answer")
    # What was known stays, and looks like what it is.
    expect(page.locator(".alert.open")).to_have_count(1)
    expect(page.locator("body")).to_have_attribute("data-reach", "silent")


def test_a_server_that_comes_back_with_a_new_key_is_believed_again(page: Page, store: Store) -> None:
    first = Served(store, now=NOW)
    page.goto(first.url)
    drawn(page)
    first.stop()
    expect(page.locator("body")).to_have_attribute("data-reach", "silent", timeout=SILENCE_TOLD_MS)
    second = Served(store, now=NOW, port=first.port)
    try:
        expect(page.locator("body")).to_have_attribute("data-reach", "complete", timeout=20_000)
        expect(page.locator("#doubt")).to_have_text("")
        expect(page.locator(".alert.open")).to_have_count(1)
    finally:
        second.stop()


def test_a_missing_carrier_is_said_and_no_calm_is_shown(tmp_path: Path, grid: dict[str, Any], page: Page) -> None:
    store = seed(tmp_path / "centre.db", grid, WATERMARK, hours=6, carriers=("carrier-a",))
    served = Served(store, now=NOW)
    try:
        page.goto(served.url)
        drawn(page)
        expect(page.locator("#doubt")).to_contain_text("missing: carrier-b")
        expect(page.locator("#standing")).to_contain_text("1 of 2")
        expect(page.locator("body")).to_have_attribute("data-reach", "degraded")
        expect(page.locator("#alerts-empty")).to_have_text(
            "No open alert among what is known, but the view is not whole: an alert may be missing."
        )
        assert "usual" not in {words.strip() for words in page.locator("#zone-table td.state").all_inner_texts()}
    finally:
        served.stop()
        store.close()


def test_old_counts_do_not_look_calm(page: Page, store: Store) -> None:
    served = Served(store, now=NOW + timedelta(hours=9))
    try:
        page.goto(served.url)
        drawn(page)
        expect(page.locator("body")).to_have_attribute("data-reach", "stale")
        expect(page.locator("#doubt")).to_contain_text(
            "nothing newer than Mon 2 Mar, 12:00 UTC+7 has been looked at (10 h 24 min"
        )
        expect(page.locator("#map canvas")).to_have_css("filter", re.compile("grayscale"))
    finally:
        served.stop()


def test_an_empty_store_is_not_a_quiet_border(page: Page, tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'empty.db'}")
    served = Served(store, now=NOW)
    try:
        page.goto(served.url)
        for words in ("no zone grid yet", "Detection has not run", "No carrier is expected to report"):
            expect(page.locator("#doubt")).to_contain_text(words)
        expect(page.locator("#alerts-empty")).to_contain_text("an alert may be missing")
    finally:
        served.stop()
        store.close()


def test_without_sign_in_the_page_says_what_it_may_not_see(page: Page, store: Store) -> None:
    served = Served(store, now=NOW, sign_in="closed")
    try:
        page.goto(served.url)
        drawn(page)
        expect(page.locator("#doubt p")).to_have_count(1)
        expect(page.locator("#doubt")).to_contain_text("Sign-in was refused")
        expect(page.locator("#zone-table td.state").first).to_contain_text("not shown")
        expect(page.locator("#alerts-empty")).to_have_text("Not known: no alert could be read yet.")
    finally:
        served.stop()


def test_a_new_alert_appears_without_a_reload(page: Page, store: Store, served: Served, grid: dict[str, Any]) -> None:
    page.goto(served.url)
    expect(page.locator(".alert.open")).to_have_count(1)
    zones = {feature["properties"]["zone_id"]: feature["properties"] for feature in grid["features"]}
    (known,) = store.open_alerts()
    fresh = alert(
        zones, SURGE, WATERMARK, dict.fromkeys(zones, 200.0), known["release_digests"], "a-2", severity="moderate"
    )
    store.save_alerts([fresh], recorded_at=NOW)
    expect(page.locator(".alert.open")).to_have_count(2, timeout=40_000)
    # The one that matters more stays on top.
    expect(page.locator(".alert.open").first).to_contain_text("Very high")


def test_without_a_browser_the_suite_fails_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ChromiumMissing, match="apt-get install"):
        chromium_path()
