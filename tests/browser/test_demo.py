"""`tidemark demo`, whole: from simulated events through Spark, noise and LightGBM to an alert on a real page."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from playwright.sync_api import expect

from tests.browser.chromium import chromium

pytestmark = [pytest.mark.browser, pytest.mark.spark, pytest.mark.timeout(1500)]
SEED = 1
PATIENCE_S = 1200


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo as a user starts it, serving on a free port; its JSON report and its address."""
    folder = tmp_path_factory.mktemp("demo")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["demo", "--json", "--seed", str(SEED), "--folder", str(folder / "demo"), "--port", str(port)]
    with (folder / "out").open("w") as out, (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs.cli", *words], stdout=out, stderr=errors, start_new_session=True
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not answers(f"http://127.0.0.1:{port}/livez"):
                assert process.poll() is None, (folder / "errors").read_text()[-3000:]
                assert time.monotonic() < deadline, "the demo never served"
                time.sleep(1)
            yield json.loads((folder / "out").read_text()), f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def test_the_report_adds_up(demo):
    report, _ = demo
    rows, refused = report["rows"], sum(report["refused_by_reason"].values())
    fates = ("sighting", "roaming_kept", "roaming_other", "outside_belt", "unknown_cell")
    assert report["events_read"] == rows["received"] == refused + sum(rows[fate] for fate in fates)
    assert report["hours_closed"] == report["releases"]["from_this_run"]["accepted"] == 12
    assert 0 < report["share_suppressed"] < 1
    assert report["ledger"] == {"releases": 12, "token_days": 1, "faults": []}
    assert report["surges_in_the_month"]["planted"] == 12


def test_a_planted_surge_travels_through_spark_to_an_alert_that_rests_on_this_runs_releases(demo):
    report, _ = demo
    assert report["surges_through_spark"]["found"] >= 1
    assert report["alerts"]
    assert all(alert["rests_on_releases_of_this_run"] for alert in report["alerts"])


def test_the_page_shows_an_alert_of_the_demo(demo):
    report, url = demo
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(url)
        expect(page.locator("#map")).to_have_attribute("data-idle", "true", timeout=120_000)
        expect(page.locator(".alert").first).to_be_visible(timeout=60_000)
        assert page.locator(".alert").count() >= len(report["alerts"])
        expect(page.locator("body")).to_contain_text("Simulated")
