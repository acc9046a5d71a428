"""What lies on the disk: sealed files, keys, grounds, and what is left when a day is deleted."""

import json
import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs import sealed
from jobs.close import close_window
from jobs.grounds import GroundMissing, Pin, read_ground, read_lookup
from jobs.keys import KeyMissing, key_path, make_key, read_key, shred_key
from jobs.sealed import SealBroken, read_sealed, seal, token_bytes, unseal, write_sealed
from jobs.tables import EdgeFolder, TableDamaged
from movement.advance import SIGHTING_SCHEMA
from tests.jobs.border import DAY
from tests.jobs.edge_run import HOUR, ROWS, EdgeRun

KEY = bytes(range(32))


def sightings(count, seed=1):
    chance = random.Random(seed)
    rows = [
        (chance.randbytes(16), chance.randrange(10**12), chance.randrange(-1, 90), chance.randrange(5))
        for _ in range(count)
    ]
    return pl.DataFrame(rows, schema=SIGHTING_SCHEMA, orient="row")


# Sealed files


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(0, 400),
    buckets=st.integers(1, 256),
    worth=st.integers(1, 100),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_some_buckets_give_just_their_rows_whatever_the_row_groups(tmp_path_factory, count, buckets, worth, cut):
    table, folder = sightings(count), tmp_path_factory.mktemp("sealed")
    first, past = sorted(round(part * buckets) for part in cut)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "ROWS_WORTH_A_GROUP", worth)
        file = replace(write_sealed(table, folder / "a.parquet", KEY, buckets), path="a.parquet")
    found = read_sealed(folder, file, KEY, SIGHTING_SCHEMA, first, past)
    bucket = [(token[0] * buckets) >> 8 for token in table["token"]]
    wanted = table.filter(pl.Series([first <= number < past for number in bucket], dtype=pl.Boolean))
    assert sorted(found.rows()) == sorted(wanted.rows())
    assert found.height == sum(file.buckets[first:past])


def test_a_sealed_file_says_nothing_without_its_key(tmp_path):
    table = sightings(500)
    file = write_sealed(table, tmp_path / "a.parquet", KEY, 8)
    content = (tmp_path / "a.parquet").read_bytes()
    tokens = [bytes(token) for token in token_bytes(table["token"])]
    assert not any(token in content or token.hex().encode() in content for token in tokens)
    assert b"token" not in content
    assert content.startswith(b"PARE")  # the footer is sealed too
    with pytest.raises(SealBroken):
        read_sealed(tmp_path, replace(file, path="a.parquet"), bytes(32), SIGHTING_SCHEMA)
    with pytest.raises(SealBroken):
        read_sealed(tmp_path, replace(file, path="a.parquet", salt="00" * 16), KEY, SIGHTING_SCHEMA)


def test_no_changed_byte_of_a_sealed_file_is_read_as_a_row(tmp_path):
    """Also without the digest: the seal itself notices, or the rows are the very same."""
    table, path, chance = sightings(300), tmp_path / "a.parquet", random.Random(7)
    file = replace(write_sealed(table, path, KEY, 8), path="a.parquet")
    sound, noticed = path.read_bytes(), 0
    rows = read_sealed(tmp_path, file, KEY, SIGHTING_SCHEMA)
    for _ in range(300):
        content = bytearray(sound)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        path.write_bytes(content)
        try:
            assert read_sealed(tmp_path, file, KEY, SIGHTING_SCHEMA).equals(rows)
        except SealBroken:
            noticed += 1
        with pytest.raises(TableDamaged):
            EdgeFolder(tmp_path).check(tmp_path, [file])
    assert noticed > 290


@pytest.mark.parametrize("fault", [pa.ArrowMemoryError, MemoryError, pa.ArrowCancelled])
def test_a_shortage_of_memory_is_no_damage(fault, tmp_path, monkeypatch):
    file = replace(write_sealed(sightings(50), tmp_path / "a.parquet", KEY, 8), path="a.parquet")
    content = seal(b"content", KEY)

    def short(*_, **__):
        raise fault("short of memory")

    monkeypatch.setattr(sealed.pq, "ParquetFile", short)
    monkeypatch.setattr(sealed.pq, "read_table", short)
    with pytest.raises(fault):
        read_sealed(tmp_path, file, KEY, SIGHTING_SCHEMA)
    with pytest.raises(fault):
        unseal(content, KEY)


def test_the_same_table_is_never_sealed_to_the_same_bytes(tmp_path):
    table = sightings(50)
    files = [write_sealed(table, tmp_path / name, KEY, 8) for name in ("a", "b")]
    assert files[0].digest != files[1].digest


# Keys


def test_all_who_ask_at_once_for_a_days_key_get_the_same_one(tmp_path):
    with ThreadPoolExecutor(16) as threads:
        keys = list(threads.map(lambda _: make_key(tmp_path, DAY), range(64)))
    assert len(set(keys)) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["token_day=2026-03-02T02Z.key"]
    assert key_path(tmp_path, DAY).stat().st_mode & 0o077 == 0
    assert make_key(tmp_path, DAY + HOUR * 24) != keys[0]


def test_a_shredded_key_is_overwritten_where_it_lay(tmp_path):
    key = make_key(tmp_path, DAY)
    os.link(key_path(tmp_path, DAY), tmp_path / "snapshot")
    shred_key(tmp_path, DAY)
    assert (tmp_path / "snapshot").read_bytes() == bytes(32) != key
    with pytest.raises(KeyMissing):
        read_key(tmp_path, DAY)


def test_a_day_is_deleted_key_first(one_process, tmp_path, monkeypatch):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(one_process, edge, DAY)
    there = []
    remove = shutil.rmtree

    def watched(path, **options):
        there.append(key_path(run.folder.root, DAY).exists())
        remove(path, **options)

    assert key_path(run.folder.root, DAY).exists()
    monkeypatch.setattr(shutil, "rmtree", watched)
    run.folder.delete_day(DAY, edge.current)
    assert there == [False, False]
    assert run.folder.token_days() == []


def test_a_deletion_that_died_half_way_is_ended_by_the_next(one_process, tmp_path, monkeypatch):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(one_process, edge, DAY)
    numbers = run.folder.hour_numbers(DAY)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run.folder.delete_day(DAY, edge.current)
    assert run.folder.token_days() == [DAY]
    run.folder.delete_day(DAY, edge.current)
    assert run.folder.token_days() == []
    assert not list(run.folder.root.rglob("*.parquet"))
    assert run.folder.hour_numbers(DAY).keys() == numbers.keys() != set()
    assert run.folder.records(past=False) == []
    assert run.folder.read_inputs() == {"part-0.parquet", "part-1.parquet", "part-2.parquet"}


def test_a_day_is_deleted_also_when_nobody_can_say_any_more_what_it_held(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    edge = run.edge()
    close_window(one_process, edge, DAY)
    run.folder.carry_over(DAY, DAY).write_bytes(b"nothing that anybody sealed")
    (run.folder.root / "numbers").mkdir()
    (run.folder.root / "numbers" / "token_day=2026-03-02T02Z.json").write_text("{")
    run.folder.delete_day(DAY, edge.current)
    assert run.folder.token_days() == []
    assert not list(run.folder.root.rglob("*.parquet"))


def test_a_batch_record_that_cannot_be_read_keeps_no_day_alive(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    run.sight()
    (run.folder.batches / "0.json").write_bytes(b'{"files": ')
    (run.folder.batches / "1.json").write_bytes(b"[]")
    run.folder.delete_day(DAY, run.edge().current)
    assert run.folder.token_days() == []
    assert {path.name for path in run.folder.batches.glob("*.json")} == {"0.json", "1.json"}  # the sound one is past
    assert len(list(run.folder.past_batches.iterdir())) == 1


def test_a_committed_batch_stays_committed_when_its_day_is_gone(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    tally = run.sight()
    (key,) = [path.stem for path in run.folder.batches.glob("*.json")]
    run.folder.delete_day(DAY, run.edge().current)
    assert run.folder.committed(key)
    assert run.sight() == tally


# Grounds


def test_a_ground_is_stored_once_and_a_changed_one_is_noticed(one_process, tmp_path):
    run = EdgeRun(one_process, tmp_path, ROWS)
    first, second = run.edge().current, run.edge().current
    assert first == second
    folder = run.folder.grounds.of(first.ground)
    ground = read_ground(folder)
    assert [zone.zone_id for zone in ground.zones] == [zone.zone_id for zone in run.placed.grid.zones]
    assert len(ground.cells) == 2 * len(ground.zones)
    moved = tmp_path / folder.name
    shutil.copytree(folder, moved)
    places = json.loads((moved / "places.json").read_text())
    places["zones"][0]["kind"], places["zones"][1]["kind"] = places["zones"][1]["kind"], places["zones"][0]["kind"]
    (moved / "places.json").write_text(json.dumps(places))
    with pytest.raises(GroundMissing):
        read_ground(moved)
    (moved / "lookup.arrow").unlink()
    with pytest.raises(GroundMissing):
        read_lookup(moved)


def test_a_pin_stays_as_it_was_first_set(tmp_path):
    store = EdgeFolder(tmp_path).grounds
    day = datetime(2026, 3, 2, 2, tzinfo=UTC)
    assert store.pin(day, Pin("sha256:a", 64)) == Pin("sha256:a", 64)
    assert store.pin(day, Pin("sha256:b", 16)) == Pin("sha256:a", 64)
    assert store.pins() == {day: Pin("sha256:a", 64)}


# What a killed process left


def test_drafts_of_a_killed_process_go_wherever_they_are(tmp_path):
    folder = EdgeFolder(tmp_path / "edge")
    drafts = [folder.carry_over(DAY, DAY).with_suffix(".sealed.draft"), folder.root / "keys" / ".ab.draft"]
    drafts += [folder.batches / "k.json.draft", folder.releases / "r.json.draft", folder.root / "COVERED.draft"]
    for draft in drafts:
        draft.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(b"half")
    half_ground = folder.root / "grounds" / ".cd.draft"
    half_ground.mkdir(parents=True)
    for name in ("lookup.bin", "places.json.draft"):
        (half_ground / name).write_bytes(b"half")
    with folder.held():
        assert not list(folder.root.rglob("*.draft"))
