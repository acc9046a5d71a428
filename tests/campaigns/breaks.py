"""One guard of the edge taken away, so that a campaign can show that it would find what the guard is there for."""

import secrets
from dataclasses import replace
from pathlib import Path

from ingest.release import canonical_json
from ingest.token_day import folder_name
from jobs.disk import write_whole
from jobs.tables import EdgeFolder
from privacy.ledger import Ledger


def commit_before_adopt():
    """A batch is made part of the table before its files are there."""
    adopt, commit, waiting = EdgeFolder.adopt, EdgeFolder.commit, {}

    def names_only(self, key, staged):
        waiting[key] = sorted(staged, key=lambda file: file.path)
        return [
            replace(file, path=(Path(file.path).parent / f"{key}-{number}.parquet").as_posix())
            for number, file in enumerate(waiting[key])
        ]

    def commit_then_adopt(self, key, record):
        commit(self, key, record)
        adopt(self, key, waiting.pop(key, []))

    EdgeFolder.adopt, EdgeFolder.commit = names_only, commit_then_adopt


def publish_before_ledger():
    """A release leaves before the ledger has it for good."""
    insert = Ledger._insert

    def early(self, day, release, *drawn, **others):
        insert(self, day, release, *drawn, **others)
        root = Path(self._db.execute("PRAGMA database_list").fetchone()[2]).parent
        name = f"{self.carrier}_{release.level}_{folder_name(release.window_start)}.json"
        write_whole(root / "releases" / name, canonical_json(release.document()))

    Ledger._insert = early


def draw_again():
    """What was drawn and has not left yet is drawn anew after a start."""
    begin = Ledger.__init__

    def forgetful(self, path, **others):
        begin(self, path, **others)
        self._db.execute("DELETE FROM release WHERE published = 0")

    Ledger.__init__ = forgetful


def no_sweep():
    """What a dead run left behind stays."""
    EdgeFolder._sweep = lambda self: None


def batch_read_again():
    """A batch is taken in whether it was committed or not."""
    EdgeFolder.committed = lambda self, key: False
    EdgeFolder.read_inputs = lambda self: set()


def batch_by_chance():
    """A batch that is read again gets another name, and counts once more."""
    batch_read_again()
    commit, adopt, names = EdgeFolder.commit, EdgeFolder.adopt, {}

    def renamed(self, key):
        return names.setdefault(key, secrets.token_hex(12))

    def adopt_renamed(self, key, staged):
        staging = self.staging / key
        if staging.exists():
            staging.rename(self.staging / renamed(self, key))
        return adopt(self, renamed(self, key), staged)

    EdgeFolder.adopt = adopt_renamed
    EdgeFolder.commit = lambda self, key, record: commit(self, renamed(self, key), record)


BREAKS = {
    name.__name__.replace("_", "-"): name
    for name in (
        commit_before_adopt,
        publish_before_ledger,
        draw_again,
        no_sweep,
        batch_read_again,
        batch_by_chance,
    )
}
