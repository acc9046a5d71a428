"""A live edge whose rows come by Kafka, and lines of this moment for it to read."""

import json
import random
from datetime import UTC, datetime, timedelta

from jobs.edge import open_edge, place_cells, run_close, run_sight
from jobs.kafka_settings import KafkaSettings
from jobs.milestone import milestones
from jobs.tables import EdgeFolder
from tests.jobs.border import edge_settings, feed, ndjson_lines

HOUR = timedelta(hours=1)
GARBAGE = [b"", b"\xff", b"{", b"[]", b'{"token": NaN}', b'{"imsi": "204990123456789"}', b'{"token": "' + b"a" * 9000]


def lines_of_now(seed, devices, garbage=0.02):
    """A feed's lines as late as they were, counted back from this moment, without ingest_time; some of them garbage."""
    now, random_ = datetime.now(UTC), random.Random(seed)
    lines = []
    for row in feed(seed, devices):
        at = now - (row["ingest_time"] - row["event_time"])
        (line,) = ndjson_lines([{**{k: v for k, v in row.items() if k != "ingest_time"}, "event_time": at}])
        lines.append(line)
        if random_.random() < garbage:
            lines.append(random_.choice(GARBAGE))
    return lines


def as_file(records, path):
    """What a carrier would have written had it stamped each line with its record's time itself."""
    lines = []
    for record in records:
        at = datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)
        try:
            row = json.loads(record.value())
            lines.append(ndjson_lines([{**row, "ingest_time": at}])[0])
        except (ValueError, TypeError):
            lines.append(record.value())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + b"\n" for line in lines))


class KafkaEdge:
    """`changes` are settings of the edge, `kafka` of its section for Kafka."""

    def __init__(self, spark, folder, broker, topic, milestone=None, kafka=None, **changes):
        section = KafkaSettings(
            **{"bootstrap": broker.bootstrap, "topic": topic, "marks_topic": f"{topic}-marks", **(kafka or {})}
        )
        self.spark, self.milestone = spark, milestone or milestones(None)
        now = datetime.now(UTC)
        self.settings = edge_settings(
            folder,
            **{
                "source": None,
                "kafka": section,
                "replay": False,
                "sources": ["core/0"],
                "most_refused": 1.0,
                "grid_valid_from": (now - timedelta(days=3)).replace(hour=2, minute=0, second=0, microsecond=0),
                **changes,
            },
        )
        self.placed, self.folder = place_cells(self.settings), EdgeFolder(self.settings.state)

    def sight(self, now=None):
        run_sight(self.spark, self.settings, self.placed, self.milestone, now=now or datetime.now(UTC))
        return self

    def close(self, now):
        edge = open_edge(self.settings, self.placed, self.milestone)
        edge.ledger.begun_at(now - timedelta(days=2), edge.turn_hour_utc)
        try:
            return run_close(self.spark, self.settings, edge, now=now, progress=lambda _: None)
        finally:
            edge.ledger.close()

    @property
    def tally(self):
        """What became of the rows, of all sources and hours together."""
        found = {}
        for record in self.folder.records():
            for entry in record["rows"]:
                found[entry["what"]] = found.get(entry["what"], 0) + entry["rows"]
        return found

    @property
    def refused(self):
        return {name.removeprefix("refused:"): rows for name, rows in self.tally.items() if name.startswith("refused:")}

    @property
    def kept(self):
        """All sightings in the table, sorted."""
        rows = []
        for day in self.folder.token_days():
            prefix = f"token_day={day:%Y-%m-%dT%HZ}/"
            files = [file for record in self.folder.records() for file in record["files"]]
            found = self.folder.read_sightings(day, [file for file in files if file["path"].startswith(prefix)])
            rows += found.rows()
        return sorted(rows)

    @property
    def ranges(self):
        """What the committed batches read: (partition, start, end), sorted; without where the first run began."""
        kafka = [record["kafka"] for record in self.folder.records() if "kafka" in record]
        stated = [entry for one in kafka for entry in one["ranges"]]
        return sorted((partition, start, end) for _, partition, start, end in stated if start != end)
