"""What left: exactly what the outside got, and nothing of what the edge counted besides."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest

from ingest.release import HOUR, Release
from jobs.left import OUTBOX, note_left, what_left
from tests.jobs.border import DAY
from tests.jobs.told import ToldEdge


@pytest.fixture
def edge(tmp_path):
    told = ToldEdge(tmp_path)
    yield told
    told.ledger.close()


def test_every_release_that_left_is_shown_as_it_left(edge):
    entries = [edge.tell(hour) for hour in range(3)]
    found = what_left(edge.folder, edge.ledger)
    assert [one.document for one in found] == [json.loads(content) for _, content in sorted(edge.outside().items())]
    assert [one.digest for one in found] == [entry.digest for entry in entries]
    assert [to for one in found for to, _ in one.ways] == [OUTBOX] * 3
    assert not any(one.fault for one in found)
    row = found[0].row()
    assert len(row["published"]) + row["suppressed"] == len(Release.model_validate(row["document"]).counts)
    assert row["suppressed"] >= 4  # zeros and sevens stay below the threshold of 50


def test_a_release_that_went_two_ways_is_one_release_with_two_lines(edge):
    entry = edge.tell(0)
    sent = datetime.now(UTC) + timedelta(minutes=1)
    note_left(edge.folder.root, entry.digest, to="https://centre.example", at=sent)
    note_left(edge.folder.root, entry.digest, to="https://centre.example", at=sent + HOUR)  # pushed again: known
    (one,) = what_left(edge.folder, edge.ledger)
    assert [to for to, _ in one.ways] == [OUTBOX, "https://centre.example"]
    assert one.ways[1][1] == sent.replace(microsecond=0)


def test_what_left_is_asked_by_the_date_on_which_it_left(edge):
    entry = edge.tell(0)
    today = datetime.now(UTC).date()
    assert len(what_left(edge.folder, edge.ledger, today)) == 1
    assert what_left(edge.folder, edge.ledger, date(2026, 3, 2)) == []  # the hour it speaks of is another date
    note_left(edge.folder.root, entry.digest, to="topic releases", at=DAY)
    assert len(what_left(edge.folder, edge.ledger, date(2026, 3, 2))) == 1


def test_an_outbox_that_was_collected_is_shown_from_the_ledger(edge):
    entry = edge.tell(0)
    for path in edge.folder.releases.iterdir():
        path.unlink()
    (one,) = what_left(edge.folder, edge.ledger)
    assert (one.document, one.fault) == (entry.document, None)


def test_a_release_that_is_not_the_ledgers_is_a_fault(edge):
    entry = edge.tell(0)
    (path,) = edge.folder.releases.glob("*.json")
    forged = json.loads(path.read_bytes())
    forged["counts"][0]["value"] = 51
    path.write_text(json.dumps(forged))
    (path.parent / "planted.json").write_text('{"digest": "sha256:planted", "counts": []}')
    (path.parent / "odd.json").write_bytes(b"\xff")
    faults = {one.digest: one.fault for one in what_left(edge.folder, edge.ledger)}
    assert faults[entry.digest] == "what left is not what the ledger holds"
    assert faults["sha256:planted"] == "the ledger does not know this release"
    assert faults["odd.json"] == "the ledger does not know this release"


def test_a_line_that_a_crash_cut_short_is_passed_over(edge):
    entry = edge.tell(0)
    with (edge.folder.root / "left.ndjson").open("ab") as history:
        history.write(b'{"at": "2026-03-0')
    note_left(edge.folder.root, entry.digest, to="topic releases")
    (one,) = what_left(edge.folder, edge.ledger)
    assert {to for to, _ in one.ways} == {OUTBOX, "topic releases"}
