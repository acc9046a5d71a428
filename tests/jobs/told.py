"""An edge that has told a few windows, without Spark: a ledger with real draws, an outbox, records of what came in."""

import json
from datetime import timedelta
from types import SimpleNamespace

from ingest.release import HOUR, Direction, canonical_json
from ingest.token_day import folder_name
from jobs.edge import publish
from jobs.milestone import milestones
from jobs.stop import leave_to_speak
from jobs.tables import EdgeFolder
from privacy.ledger import Ledger
from privacy.mechanism import DiscreteGaussian
from privacy.policy import ReleasePolicy
from tests.jobs.border import DAY, edge_settings

ZONES = ("belt-1", "belt-2", "gate-1")
CELLS = [(zone, direction) for zone in ZONES for direction in Direction]
COUNTS = [400, 0, 0, 300, 0, 7]


class ToldEdge:
    """The folder, ledger and settings of an edge whose token-day is DAY."""

    def __init__(self, root, **changes):
        live = {"replay": False, "marks": root / "marks", "sources": ["core/0"], "alarms": root / "alarms"}
        self.settings = edge_settings(root, **{**live, **changes})
        for folder in (self.settings.marks, self.settings.alarms, self.settings.source, self.settings.state):
            folder.mkdir(parents=True, exist_ok=True)
        self.folder = EdgeFolder(self.settings.state)
        self.ledger = Ledger(self.folder.ledger, carrier="carrier-a", mode="live")
        self.noise = DiscreteGaussian(ReleasePolicy())
        self.lineage = self.ledger.open_day(
            DAY,
            lineage_on_disk=None,
            grid_id="sha256:" + "1" * 64,
            plan_digest="sha256:p",
            policy=self.noise.policy,
            cells=CELLS,
        )

    def tell(self, hour, *, complete=True, counts=COUNTS):
        """Release and publish one window of the token-day."""
        window = DAY + HOUR * hour
        with leave_to_speak(self.folder.root):
            self.ledger.freeze(DAY, window + HOUR, {"files": []})
            entry = self.ledger.release(
                window,
                counts,
                turn_hour_utc=2,
                lineage=self.lineage,
                carry_over_digest="sha256:c",
                complete=complete,
                noise=self.noise,
            )
        publish(SimpleNamespace(folder=self.folder, ledger=self.ledger, milestone=milestones(None)), entry)
        return entry

    def took_in(self, name, *rows, **changes):
        """A committed batch: rows as (source, hour of the day, what, how many)."""
        listed = [
            {
                "source": source,
                "hour": None if hour is None else folder_name(DAY + HOUR * hour),
                "what": what,
                "rows": n,
            }
            for source, hour, what, n in rows
        ]
        record = {"inputs": [], "files_refused": {}, "lost_hours": [], "rows": listed, "files": [], "grounds": {}}
        self.folder.commit(name, {**record, **changes})

    def marks_reach(self, hour, source="core"):
        """A feed mark of a source, in hours from the turn."""
        until = (DAY + timedelta(hours=hour)).strftime("%Y-%m-%dT%H:%M:%SZ")
        line = json.dumps({"source": source, "partition": 0, "covers_until": until})
        with (self.settings.marks / f"{source}.ndjson").open("a") as marks:
            marks.write(line + "\n")

    def outside(self):
        """Every byte that the outside has got by the outbox."""
        return {path.name: path.read_bytes() for path in self.folder.releases.glob("*")}


def spelled(document):
    """A document as the wire spells it."""
    return canonical_json(document)
