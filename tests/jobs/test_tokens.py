"""`tokens make` and `tokens new-key`: from subscriber ids to a feed that the edge takes in."""

import csv
import json
import stat
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from ingest.files import FileFormat
from jobs.feed_check import check_feed

TURN = 20
IDS = ["452040000000001", "452040000000002", "452049900000003", "452040000000004"]
OPTED_OUT, MACHINE = IDS[1], IDS[2]


def tidemark(*words, text=None):
    return subprocess.run(
        [sys.executable, "-m", "jobs.cli", *map(str, words)], capture_output=True, text=True, check=False, input=text
    )


def rows(at):
    return [
        {
            "imsi": one,
            "imei": "352099001761481",
            "event_time": at,
            "ingest_time": at,
            "event_type": "handover",
            "rat": "EUTRA",
            "plmn": "452-04",
            "cell_id": "0a0008a",
            "domain": "domestic",
        }
        for one in IDS
    ]


@pytest.fixture
def desk(tmp_path):
    """A folder with today's keys, lists, and a CSV with subscriber ids."""
    made = tidemark("tokens", "new-key", "--keys", tmp_path / "keys", "--turn-hour", TURN, "--json")
    assert len(json.loads(made.stdout)["made"]) == 2, made.stderr
    (tmp_path / "opted-out.txt").write_text(OPTED_OUT + "\n")
    (tmp_path / "prefixes.txt").write_text("4520499\n")
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with (tmp_path / "in.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows(at)[0]))
        writer.writeheader()
        writer.writerows(rows(at))
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows(at)))
    return tmp_path


def make(desk, *words, text=None):
    lists = ("--opted-out", desk / "opted-out.txt", "--machine-prefixes", desk / "prefixes.txt")
    given = ("--keys", desk / "keys", "--turn-hour", TURN, "--subscriber", "imsi", *lists, *words)
    return tidemark("tokens", "make", *given, text=text)


def test_ids_become_a_feed_that_is_fit_and_nobody_who_opted_out_is_in_it(desk):
    done = make(desk, "--source", desk / "in.csv", "--out", desk / "feed.csv", "--json")
    assert json.loads(done.stderr) == {"written": 2, "opted_out": 1, "machine": 1}
    assert check_feed([desk / "feed.csv"], FileFormat.CSV).accepted == 2
    written = (desk / "feed.csv").read_text()
    assert not any(one in written for one in (*IDS, "imei", "352099001761481"))
    assert stat.S_IMODE((desk / "feed.csv").stat().st_mode) == 0o600


def test_both_formats_and_a_pipe_give_the_same_tokens(desk):
    make(desk, "--source", desk / "in.ndjson", "--format", "ndjson", "--out", desk / "feed.ndjson")
    lines = [json.loads(line) for line in (desk / "feed.ndjson").read_text().splitlines()]
    piped = make(desk, text=(desk / "in.csv").read_text())
    assert [row["token"] for row in csv.DictReader(piped.stdout.splitlines())] == [row["token"] for row in lines]
    assert check_feed([desk / "feed.ndjson"], FileFormat.NDJSON).accepted == 2


def test_a_key_is_given_by_its_folder_only(desk):
    secret = "k" * 32
    done = make(desk, "--keys", secret, "--source", desk / "in.csv")
    assert done.returncode == 2
    assert secret not in done.stdout + done.stderr
    assert "--keys is a folder" in " ".join(done.stderr.split())
    assert "no such option" in make(desk, "--key", secret).stderr.lower()


def test_without_a_key_of_the_day_nothing_is_written_and_the_exit_code_says_so(desk):
    for key in (desk / "keys").iterdir():
        key.unlink()
    done = make(desk, "--source", desk / "in.csv", "--json")
    assert done.returncode == 1
    assert json.loads(done.stderr)["no_key"] == 2
    assert len(done.stdout.splitlines()) == 1


def test_what_goes_wrong_is_said_without_an_id_and_leaves_no_half_file(desk):
    (desk / "opted-out.txt").write_text("Nguyen Van A\n")
    done = make(desk, "--source", desk / "in.csv", "--out", desk / "feed.csv")
    assert done.returncode == 2
    assert "line 1 of the list of who opted out" in " ".join(done.stderr.split())
    assert "Nguyen" not in done.stderr
    assert not (desk / "feed.csv").exists()
    assert not list(desk.glob(".*"))
