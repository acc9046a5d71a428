"""A picture of the page: `python -m tests.browser.screenshot http://127.0.0.1:8000/ situation.png [--dark]`."""

import argparse
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.chromium import chromium

PATIENCE_MS = 60_000


def screenshot(
    url: str, out: Path, *, dark: bool = False, whole: bool = False, width: int = 1440, height: int = 900
) -> None:
    """Write a PNG of the page once its map is drawn and, with an alert to show, its chart as well."""
    with chromium() as browser:
        page = browser.new_page(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", device_scale_factor=1
        )
        page.goto(url)
        expect(page.locator("#map")).to_have_attribute("data-idle", "true", timeout=PATIENCE_MS)
        if page.locator(".alert.open, .alert.acknowledged").count():
            expect(page.locator("#plot canvas")).to_be_visible(timeout=PATIENCE_MS)
        # The first idle may come before the last names: wait for the page to stay still.
        page.wait_for_timeout(1_500)
        expect(page.locator("#map")).to_have_attribute("data-idle", "true", timeout=PATIENCE_MS)
        page.screenshot(path=out, full_page=whole)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("out", type=Path)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--whole", action="store_true", help="the whole page, not only what fits the window")
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=900)
    asked = parser.parse_args()
    screenshot(asked.url, asked.out, dark=asked.dark, whole=asked.whole, width=asked.width, height=asked.height)


if __name__ == "__main__":
    main()
