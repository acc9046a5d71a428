"""The command `tidemark`. Every heavy import is inside the command that needs it: help answers at once."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from threading import Event

    from jobs.settings import CentreSettings, EdgeSettings
    from jobs.turns import Asked

app = typer.Typer(
    help="Reads the movement of a land border in aggregate, while nobody in it can be found.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
zones_app = typer.Typer(help="Zone grids: build one for a border, or check your own.", no_args_is_help=True)
cells_app = typer.Typer(help="Cell plans on a zone grid.", no_args_is_help=True)
simulate_app = typer.Typer(help="A synthetic border: a day of events, or months of counts.", no_args_is_help=True)
feed_app = typer.Typer(help="A carrier's feed, before the edge reads it.", no_args_is_help=True)
tokens_app = typer.Typer(help="Tokens from subscriber ids, at the carrier.", no_args_is_help=True)
edge_app = typer.Typer(help="The edge, inside a carrier.", no_args_is_help=True)
release_app = typer.Typer(help="What leaves a carrier.", no_args_is_help=True)
centre_app = typer.Typer(help="What the centre must know first: grid, carriers, armed sectors.", no_args_is_help=True)
ledger_app = typer.Typer(help="The carrier's memory of what it said.", no_args_is_help=True)
settings_app = typer.Typer(help="The settings in force.", no_args_is_help=True)
for name, room in (
    ("zones", zones_app),
    ("cells", cells_app),
    ("simulate", simulate_app),
    ("feed", feed_app),
    ("tokens", tokens_app),
    ("edge", edge_app),
    ("release", release_app),
    ("centre", centre_app),
    ("ledger", ledger_app),
    ("settings", settings_app),
):
    app.add_typer(room, name=name)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file (TOML).", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, nothing else.")]
At = Annotated[datetime, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"], help="UTC.")]
_notes = Console(stderr=True)


class Refused(typer.Exit):
    """The command cannot do what was asked; the reason was said."""


def main() -> None:
    """Run the command; an expected refusal is one sentence and exit code 2, any other fault is told without its message."""
    from jobs.scrub import install_scrubber, say_fault, scrub

    install_scrubber()
    try:
        app()
    except Exception as error:  # noqa: BLE001 - the rim: nothing may pass it with a message in hand
        if not _is_expected(error):
            say_fault(error)  # Typer puts a hook of its own before ours
            sys.exit(1)
        named = f"{error.strerror}: {error.filename}" if isinstance(error, FileNotFoundError) else str(error)
        _notes.print(f"refused: {scrub(named)}", style="bold red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _is_expected(error: Exception) -> bool:
    """Whether this is a refusal with a rule in its message, by the names of the project's own errors."""
    from jobs.scrub import is_own

    return is_own(error) or isinstance(error, FileNotFoundError)


def _report(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document, default=str, ensure_ascii=False) + "\n")
        return
    table = Table(show_header=False, box=None)
    for name, value in document.items():
        shown = json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
        table.add_row(f"[bold]{name.replace('_', ' ')}[/]", shown)
    Console().print(table)


@contextmanager
def _working(title: str) -> Iterator[Callable[[str], None]]:
    """A spinner with a title that can change, on standard error; plain lines where there is no terminal."""
    if not _notes.is_terminal:
        _notes.print(title)
        yield _notes.print
        return
    with _notes.status(title) as status:
        yield status.update


def _edge_settings(config: Path | None) -> "EdgeSettings":
    from jobs.settings import SettingsRefused, read_settings

    edge = read_settings(config).edge
    if edge is None:
        raise SettingsRefused("edge: this command needs the section [edge]")
    return edge


def _centre_settings(config: Path | None) -> "CentreSettings":
    from jobs.settings import read_settings

    return read_settings(config).centre


def _now() -> datetime:
    return datetime.now(UTC)


def _hour(at: datetime) -> datetime:
    from ingest.token_day import hour_start

    return hour_start(at.replace(tzinfo=UTC))


# The whole way


@app.command()
def demo(
    as_json: AsJson = False,
    serve: Annotated[bool, typer.Option(help="Serve the map when done.")] = True,
    seed: Annotated[int | None, typer.Option(help="Draw this border again; without it a new one is drawn.")] = None,
    folder: Annotated[Path, typer.Option(help="Emptied first.")] = Path("var/demo"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
) -> None:
    """Simulate a border, run every real part on it, and serve the map on localhost."""
    from jobs.centre import open_store
    from jobs.centre import serve as serve_centre
    from jobs.demo import demo_clock, demo_settings, run_demo

    began = time.perf_counter()
    with _working("Starting") as tell:
        report = run_demo(folder, seed=seed, tell=tell)
    report["seconds"]["total"] = round(time.perf_counter() - began, 1)
    _report(report, as_json)
    if serve:
        _, settings = demo_settings(folder)
        settings = settings.model_copy(update={"port": port})
        _notes.print(f"Serving the simulated border on http://localhost:{port} (Ctrl-C stops)")
        serve_centre(open_store(settings), settings, clock=demo_clock(time.monotonic()))


# Geometry


@zones_app.command("build")
def zones_build(
    border: Annotated[
        str, typer.Argument(help="A bundled border's id (VN-KH), or a file with the line or two country polygons.")
    ],
    home: Annotated[str, typer.Option(help="ISO code of the home side.")],
    out: Annotated[Path, typer.Option(help="GeoJSON file to write.")],
    valid_from: At,
    turn_hour: Annotated[int, typer.Option(min=0, max=23, help="UTC hour at which the token-day turns.")],
    depth_km: Annotated[float, typer.Option(min=1, max=50)] = 10,
    length_km: Annotated[float, typer.Option(min=10, max=200)] = 25,
    crossing_points: Annotated[
        Path | None, typer.Option(help="CSV: id, name, lon, lat, uncertainty_m. The bundled list without it.")
    ] = None,
    roads: Annotated[
        Path | None, typer.Option(help="Road lines that crossing points are reached by. The bundled ones without it.")
    ] = None,
    approach_km: Annotated[
        float, typer.Option(min=0, max=30, help="How far beyond its circle a crossing point follows its roads.")
    ] = 5,
    sectors: Annotated[Path | None, typer.Option(help="Administrative polygons that sectors are taken from.")] = None,
    sector_name: Annotated[str, typer.Option(help="The field of the sectors' file that holds the name.")] = "name",
    as_json: AsJson = False,
) -> None:
    """Build belt and crossing-point zones along a border."""
    from geofence.border import read_border
    from geofence.build import build_zone_grid
    from geofence.check import grid_gap_m
    from geofence.crossing_points import read_crossing_points
    from geofence.grid import write_zone_grid
    from geofence.roads import read_roads
    from geofence.sectors import read_sectors

    with _working("Building the zone grid"):
        line = read_border(border)
        grid = build_zone_grid(
            line,
            home,
            depth_m=depth_km * 1000,
            length_m=length_km * 1000,
            valid_from=valid_from.replace(tzinfo=UTC),
            turn_hour_utc=turn_hour,
            crossing_points=None if crossing_points is None else read_crossing_points(crossing_points),
            roads=None if roads is None else read_roads(roads),
            approach_m=approach_km * 1000,
            sectors=None if sectors is None else read_sectors(sectors, sector_name),
        )
        write_zone_grid(grid, out)
        gap_m = grid_gap_m(grid, line.line)
    _report({**_grid_facts(grid), "longest_gap_m": gap_m}, as_json)


@zones_app.command("check")
def zones_check(
    grid: Path,
    border: Annotated[str, typer.Option(help="A bundled border's id, or a GeoJSON file with the line.")],
    turn_hour: Annotated[int | None, typer.Option(min=0, max=23)] = None,
    valid_from: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"], help="UTC.")
    ] = None,
    home: Annotated[str | None, typer.Option(help="ISO code of the home side, where the file does not say it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a zone grid by every rule; nothing is repaired."""
    from geofence.border import read_border
    from geofence.check import check_home_country, check_zone_grid, grid_gap_m
    from geofence.grid import read_zone_grid

    starts = None if valid_from is None else valid_from.replace(tzinfo=UTC)
    with _working("Checking the zone grid"):
        checked = read_zone_grid(grid, turn_hour_utc=turn_hour, valid_from=starts)
        line = read_border(border)
        check_zone_grid(checked, line.line)
        check_home_country(checked, line, home)
        gap_m = grid_gap_m(checked, line.line)
    _report({**_grid_facts(checked), "longest_gap_m": gap_m}, as_json)


@zones_app.command("diff")
def zones_diff(
    before: Path,
    after: Path,
    turn_hour: Annotated[int | None, typer.Option(min=0, max=23)] = None,
    as_json: AsJson = False,
) -> None:
    """What a later version of a zone grid changes, and when it takes effect."""
    from dataclasses import asdict

    from geofence.diff import diff_grids
    from geofence.grid import read_zone_grid

    versions = [read_zone_grid(path, turn_hour_utc=turn_hour) for path in (before, after)]
    _report(asdict(diff_grids(*versions)), as_json)


def _grid_facts(grid: Any) -> dict[str, Any]:
    kinds = [zone.kind.value for zone in grid.zones]
    return {
        "grid_id": grid.grid_id,
        "zones": len(kinds),
        "belt": kinds.count("belt"),
        "crossing_point": kinds.count("crossing_point"),
        "sectors": len({zone.sector_id for zone in grid.zones}),
        "valid_from": grid.valid_from.isoformat(),
        "turn_hour_utc": grid.turn_hour_utc,
    }


@cells_app.command("check")
def cells_check(plan: Path, as_json: AsJson = False) -> None:
    """Check a cell plan by every rule; nothing is repaired and no value is shown. Exit code 1 if a rule is broken."""
    from dataclasses import asdict

    from geofence.cell_plan import plan_faults

    faults = plan_faults(plan)
    _report({"verdict": "not fit" if faults else "fit", "faults": [asdict(fault) for fault in faults]}, as_json)
    if faults:
        raise typer.Exit(1)


@cells_app.command("locate")
def cells_locate(config: Config = None, as_json: AsJson = False) -> None:
    """Put the cell plan on the zone grid; say how well each zone is seen by the cells that are valid now."""
    from geofence.locate import coverage_document
    from jobs.edge import place_cells

    with _working("Locating the cells"):
        placed = place_cells(_edge_settings(config))
    _report(
        {
            "cells": placed.located.cells.height,
            "in_zones": int((placed.located.cells["zone"] >= 0).sum()),
            "overlapping_pairs": placed.located.overlaps.height,
            "plan_digest": placed.located.digest,
            "coverage": coverage_document(placed.located, placed.grid, at=_now()),
        },
        as_json,
    )


Instant = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"], help="UTC; now without it.")
]


@cells_app.command("diff")
def cells_diff(
    before: Annotated[Path, typer.Argument(help="The earlier cell plan.")],
    after: Annotated[Path, typer.Argument(help="The later one; it may be the same file, looked at at another time.")],
    config: Config = None,
    at: Instant = None,
    at_after: Instant = None,
    as_json: AsJson = False,
) -> None:
    """What a later cell plan changes: cells added, removed, moved, turned, re-zoned, and their share in each zone."""
    from dataclasses import asdict

    from geofence.cell_plan import read_cell_plan
    from geofence.plan_diff import cells_at, diff_cells
    from jobs.edge import place_cells

    settings = _edge_settings(config)
    first = _now() if at is None else at.replace(tzinfo=UTC)
    later = first if at_after is None else at_after.replace(tzinfo=UTC)
    with _working("Locating both plans"):
        placed = [place_cells(settings, path) for path in (before, after)]
        tables = [
            cells_at(read_cell_plan(path), one.located, instant)
            for path, one, instant in zip((before, after), placed, (first, later), strict=True)
        ]
    found = asdict(diff_cells(tables[0], tables[1], placed[0].grid))
    if as_json:
        _report(found, as_json)
        return
    listed = ("added", "removed", "moved", "turned", "rezoned")
    _report(
        {**{name: len(found[name]) for name in listed}, "unchanged": found["unchanged"], "zones": list(found["zones"])},
        as_json,
    )


@cells_app.command("switches")
def cells_switches(config: Config = None, as_json: AsJson = False) -> None:
    """When the plan's own dates switch cells of a zone on or off, and whether that makes the hour degraded."""
    from geofence.switches import switched_shares, switches
    from ingest.alarms import SHARE_OF_A_ZONE
    from ingest.release import format_utc
    from ingest.token_day import hour_start
    from jobs.edge import place_cells
    from jobs.grounds import ZonePlace
    from jobs.watch import bare_hours, cells_in_zones

    with _working("Locating the cells"):
        placed = place_cells(_edge_settings(config))
        zones = [ZonePlace(zone.zone_id, zone.sector_id, zone.kind) for zone in placed.grid.zones]
        cells = cells_in_zones(placed.located.cells, zones)
        hours = sorted({hour_start(at) for at in switches(cells)["at"]})
        bare = bare_hours(placed.located.cells, placed.located.cover, (), hours)
        found = [
            {
                "hour": format_utc(hour),
                "zones": shares,
                "degraded": max(shares.values()) >= SHARE_OF_A_ZONE or hour in bare,
            }
            for hour in hours
            if (shares := switched_shares(cells, hour))
        ]
    _report({"switches": found}, as_json)


@cells_app.command("unknown")
def cells_unknown(
    files: Annotated[list[Path], typer.Argument(help="Files or folders of cell-attachment events.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Name the cells in a feed that the plan does not know, or not for that time: keys only, no count and no time."""
    from geofence.cell_plan import read_cell_plan
    from jobs.feed_check import feed_files
    from jobs.unknown_cells import cells_not_known

    settings = _edge_settings(config)
    with _working("Reading the feed"):
        found, is_all = cells_not_known(
            feed_files(files, settings.format), settings.format, settings.layout, read_cell_plan(settings.cell_plan)
        )
    _report({"cells": found.to_dicts(), "complete": is_all}, as_json)


@cells_app.command("unknown-rows")
def cells_unknown_rows(
    config: Config = None,
    hours: Annotated[int, typer.Option(min=1, max=168, help="So many hours before now.")] = 24,
    as_json: AsJson = False,
) -> None:
    """Say how many rows of each hour and source came from cells that the plan does not know, or not for that time."""
    from jobs.status import recent_records
    from jobs.tables import EdgeFolder
    from jobs.unknown_cells import rows_on_unknown_cells

    folder, span, now = EdgeFolder(_edge_settings(config).state), timedelta(hours=hours), _now()
    records = recent_records(folder, since=now - span - timedelta(days=1))
    found = rows_on_unknown_cells((row for _, record in records for row in record["rows"]), now=now, span=span)
    _report({"hours": found}, as_json)


@cells_app.command("import-opencellid")
def cells_import_opencellid(
    cell_list: Annotated[Path, typer.Argument(help="CSV of OpenCelliD or Mozilla, packed with gzip or not.")],
    out: Annotated[Path, typer.Argument(help="Cell plan to write (CSV).")],
    network: Annotated[list[str], typer.Option(help="MCC-MNC of a network to take over; may be given again.")],
    range_m: Annotated[
        float | None, typer.Option(min=1, help="Where the list has no range; without it such a cell is left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a cell plan of a public cell list: a stand-in where the carrier's own is not at hand."""
    from geofence.cell_plan import write_cell_plan
    from geofence.opencellid import read_opencellid

    with _working("Reading the cell list"):
        found = read_opencellid(cell_list, network, range_m=range_m)
        write_cell_plan(found.plan, out)
    _report({"cells": found.plan.height, "left_out": found.left_out}, as_json)


@cells_app.command("import-multimno")
def cells_import_multimno(
    network_file: Annotated[Path, typer.Argument(help="One day's network file of multimno (Parquet).")],
    out: Annotated[Path, typer.Argument(help="Cell plan to write (CSV).")],
    plmn: Annotated[str, typer.Option(help="MCC-MNC of the network.")],
    cells: Annotated[Path, typer.Option(help="CSV with multimno_cell_id, rat, cell_id.")],
    time_zone: Annotated[str, typer.Option(help="Zone of its validity dates, such as Asia/Ho_Chi_Minh.")],
    as_json: AsJson = False,
) -> None:
    """Make a cell plan of a network file in the schema of Eurostat's multimno."""
    from geofence.cell_plan import write_cell_plan
    from geofence.multimno import read_multimno_cells

    with _working("Reading the network file"):
        plan = read_multimno_cells(network_file, plmn=plmn, cells=cells, time_zone=time_zone)
        write_cell_plan(plan, out)
    _report({"cells": plan.height}, as_json)


# The feed and its tokens


@feed_app.command("check")
def feed_check(
    files: Annotated[list[Path], typer.Argument(help="Files or folders of cell-attachment events.")],
    config: Config = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help="parquet, ndjson, csv, avro or multimno; else as set, or by the names."),
    ] = None,
    cells: Annotated[Path | None, typer.Option(help="Cell plan; without it that of the settings, if any.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether files are fit for the edge. No row is stored and none is shown; exit code 1 if they are not."""
    from jobs.feed_check import check_files, show
    from jobs.settings import read_settings

    with _working("Checking the feed"):
        found = check_files(files, read_settings(config).edge, file_format, cells)
    if as_json:
        _report(found.document(), as_json)
    else:
        show(found, Console())
    if not found.is_fit:
        raise typer.Exit(1)


TurnHour = Annotated[int, typer.Option(min=0, max=23, help="UTC hour at which the token-day turns.")]
Keys = Annotated[Path, typer.Option(help="Folder of the days' keys; a key is never given on a command line.")]


@tokens_app.command("new-key")
def tokens_new_key(keys: Keys, turn_hour: TurnHour, as_json: AsJson = False) -> None:
    """Make the keys of this token-day and the next, and delete those of days that are over. To be run every hour."""
    from ingest.day_keys import turn_keys
    from ingest.token_day import folder_name

    change = turn_keys(keys, _now(), turn_hour)
    _report({"made": list(map(folder_name, change.made)), "deleted": list(map(folder_name, change.deleted))}, as_json)


@tokens_app.command("make")
def tokens_make(
    keys: Keys,
    turn_hour: TurnHour,
    subscriber: Annotated[
        str, typer.Option(help="Column of the subscriber id (IMSI, or number in international form).")
    ],
    opted_out: Annotated[Path, typer.Option(help="Who opted out, one id a line; an empty file if nobody did.")],
    source: Annotated[Path | None, typer.Option(help="CSV or NDJSON; standard input without it.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; standard output without it.")] = None,
    file_format: Annotated[str, typer.Option("--format", help="csv or ndjson")] = "csv",
    delimiter: Annotated[str, typer.Option(help="CSV only.")] = ",",
    time: Annotated[str, typer.Option(help="Column of the event's time.")] = "event_time",
    time_form: Annotated[str, typer.Option(help="rfc3339, epoch_s, epoch_ms or epoch_us")] = "rfc3339",
    keep: Annotated[list[str], typer.Option(help="Another column that goes on; may be given again.")] = [],  # noqa: B006
    machines: Annotated[Path | None, typer.Option(help="Machine SIMs, one id a line.")] = None,
    machine_prefixes: Annotated[Path | None, typer.Option(help="How ids of machine SIMs begin, one a line.")] = None,
    as_json: AsJson = False,
) -> None:
    """Replace subscriber ids by the day's tokens; leave out machine SIMs and who opted out. Counts go to standard error."""
    from jobs.tokens import TokenOrder, make_tokens

    counts = make_tokens(
        TokenOrder(
            keys=keys,
            turn_hour_utc=turn_hour,
            subscriber=subscriber,
            time=time,
            time_form=time_form,
            file_format=file_format,
            delimiter=delimiter,
            keep=tuple(keep),
            opted_out=opted_out,
            machines=machines,
            machine_prefixes=machine_prefixes,
        ),
        source,
        out,
    )
    _notes.print(json.dumps(counts) if as_json else ", ".join(f"{name} {rows:,}" for name, rows in counts.items()))
    if counts.get("no_key") and not counts.get("written"):
        raise typer.Exit(1)


# Simulation


@simulate_app.command("counts")
def simulate_counts_command(
    grid: Path,
    out: Annotated[Path, typer.Option(help="Folder for releases-YYYY-MM.ndjson.gz, truth.parquet and surges.parquet.")],
    start: At,
    end: At,
    carrier: Annotated[
        list[str], typer.Option(help="NAME=SHARE of the market; may be given again. Without it three: 45, 35, 20 %.")
    ] = [],  # noqa: B006
    seed: int = 1,
    surges: Annotated[bool, typer.Option(help="Plant surges in the last 30 days.")] = True,
    as_json: AsJson = False,
) -> None:
    """Months of zone-hour counts as carriers would publish them."""
    from geofence.grid import neighbours, read_zone_grid
    from simulator.carriers import shares_of, three_carriers
    from simulator.counts import simulate_counts, write_releases
    from simulator.rates import countries
    from simulator.surges import place_surges, surge_truth

    zone_grid = read_zone_grid(grid)
    touching = neighbours(zone_grid)
    first, last = _hour(start), _hour(end)
    planted = (
        place_surges(zone_grid, touching, start=max(first, last - timedelta(days=30)), end=last, seed=seed)
        if surges
        else ()
    )
    shares = {name: float(share) for name, _, share in (given.partition("=") for given in carrier)}
    shares = shares or shares_of(three_carriers(countries(zone_grid)[0]))
    with _working("Simulating counts"):
        made = simulate_counts(zone_grid, touching, start=first, end=last, carriers=shares, surges=planted, seed=seed)
        files = write_releases(made.releases, out)
        made.truth.write_parquet(out / "truth.parquet")
        surge_truth(planted).write_parquet(out / "surges.parquet")
    _report({"files": [file.name for file in files], "surges": len(planted), "seed": seed}, as_json)


TokenDay = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="The token-day that starts on this UTC date.")]
OnBorder = Annotated[str, typer.Option(help="A bundled border's id, or a GeoJSON file with the line.")]
Bystanders = Annotated[float, typer.Option(min=0.001, max=1, help="Share of bystanders simulated.")]


@simulate_app.command("events")
def simulate_events_command(
    grid: Path,
    border: OnBorder,
    out: Annotated[
        Path, typer.Option(help="Folder with one of each carrier: cells.csv, feed/, alarms/ and truth.parquet.")
    ],
    day: TokenDay,
    carrier: Annotated[
        list[str],
        typer.Option(help="One of carrier-a, -b and -c (45, 35, 20 %), or NAME=MCC-MNC=SHARE. Without it all three."),
    ] = [],  # noqa: B006
    across: Annotated[list[str], typer.Option(help="MCC-MNC of a network across; may be given again.")] = [],  # noqa: B006
    scale: Bystanders = 0.1,
    surges: Annotated[bool, typer.Option(help="Plant a surge of 500.")] = True,
    outage: Annotated[
        list[str], typer.Option(help="ZONE,HOURS-FROM-THE-TURN,HOURS,DEVICES: a mast fails, so many come back at once.")
    ] = [],  # noqa: B006
    new_site: Annotated[list[str], typer.Option(help="ZONE,HOURS-FROM-THE-TURN,DEVICES: a mast is switched on.")] = [],  # noqa: B006
    processes: Annotated[int, typer.Option(min=1, max=8, help="A carrier each.")] = 1,
    file_format: Annotated[Literal["parquet", "ndjson"], typer.Option("--format")] = "parquet",
    seed: int = 1,
    as_json: AsJson = False,
) -> None:
    """A day of cell-attachment events of three carriers: cell plans, feeds with marks, element alarms, a planted surge."""
    from geofence.border import read_border
    from geofence.grid import neighbours, read_zone_grid
    from ingest.release import HOUR
    from simulator.carrier_day import CarrierDay, simulate_days
    from simulator.carriers import chosen_carriers
    from simulator.incidents import Incident, parse_new_site, parse_outage
    from simulator.rates import countries
    from simulator.surges import SurgeSize, place_surges, surge_truth

    zone_grid, line = read_zone_grid(grid), read_border(border)
    start = day.replace(tzinfo=UTC, hour=zone_grid.turn_hour_utc)
    size = (SurgeSize(500, 2, "burst"),) if surges else ()
    touching = neighbours(zone_grid)
    planted = place_surges(zone_grid, touching, start=start + HOUR * 3, end=start + HOUR * 21, seed=seed, plan=size)
    carriers = chosen_carriers(carrier, home=countries(zone_grid)[0])
    incidents: list[Incident] = [parse_outage(text, start) for text in outage]
    incidents += [parse_new_site(text, start) for text in new_site]
    asked = [
        CarrierDay(zone_grid, line, one, start, seed, planted, tuple(incidents), scale, tuple(across))
        for one in carriers
    ]
    with _working("Simulating events") as say:
        written = []
        for done in simulate_days(asked, out, format=file_format, processes=processes):
            say(f"{done.carrier}: {done.events:,} events")
            written.append({name: getattr(done, name) for name in done.__slots__})
        surge_truth(planted).write_parquet(out / "surges.parquet")
    _report({"events": sum(int(one["events"]) for one in written), "seed": seed, "carriers": written}, as_json)


@simulate_app.command("check")
def simulate_check_command(
    grid: Path,
    border: OnBorder,
    day: TokenDay,
    carrier: Annotated[str, typer.Option(help="carrier-a, -b or -c, or NAME=MCC-MNC=SHARE.")] = "carrier-a",
    scale: Bystanders = 0.05,
    seed: Annotated[list[int], typer.Option(help="May be given again.")] = [1],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """How real a simulated day is: every figure beside that of notes/telecom.md; exits with 1 if one is out of range."""
    import polars as pl

    from geofence.border import read_border
    from geofence.grid import read_zone_grid
    from simulator.carrier_day import CarrierDay, simulate_day
    from simulator.carriers import chosen_carriers
    from simulator.ground import survey
    from simulator.rates import countries
    from simulator.realism import gates_text, realism_gates

    zone_grid, line = read_zone_grid(grid), read_border(border)
    start = day.replace(tzinfo=UTC, hour=zone_grid.turn_hour_utc)
    (one,) = chosen_carriers([carrier], home=countries(zone_grid)[0])
    ground = survey(zone_grid, line)
    tables = []
    for number in seed:
        with _working(f"Simulating a day, seed {number}"):
            asked = CarrierDay(zone_grid, line, one, start, number, scale=scale)
            made = simulate_day(asked, ground)
            gates = realism_gates(made, made.network, ground, asked.law())
        if not as_json:
            typer.echo(f"{border}, {one.name}, seed {number}, {made.events.height:,} events\n{gates_text(gates)}")
        tables.append(gates.with_columns(seed=pl.lit(number)))
    checked = pl.concat(tables)
    if as_json:
        _report({"border": border, "realism": checked.to_dicts()}, as_json)
    if not checked["passed"].all():
        raise typer.Exit(1)


# The edge


@app.command()
def sight(config: Config = None, as_json: AsJson = False) -> None:
    """Bring everything that the source holds into the sightings table."""
    _report(_edge(config, close=False), as_json)


@app.command()
def close(config: Config = None, as_json: AsJson = False) -> None:
    """Close and release every hour that is due."""
    _report(_edge(config, read=False), as_json)


@edge_app.command("run")
def edge_run(
    config: Config = None,
    every: Annotated[int | None, typer.Option(min=1, help="Again every so many seconds, until stopped.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sight, close, publish and delete: once, or for as long as it is left to run (SIGTERM ends it after its turn)."""
    if every is None:
        _report(_edge(config), as_json)
        return
    import signal
    from threading import Event

    from jobs.turns import Asked

    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def told(report: dict[str, Any]) -> None:
        if as_json or report["windows_released"] or report["away"]:
            _report({"at": f"{_now():%Y-%m-%dT%H:%M:%SZ}", **report}, as_json)
            sys.stdout.flush()

    _take_turns(config, Asked(every_s=every), told, stopping)


def _edge(config: Path | None, *, read: bool = True, close: bool = True) -> dict[str, Any]:
    from threading import Event

    from jobs.turns import Asked

    reports: list[dict[str, Any]] = []
    _take_turns(config, Asked(read, close), reports.append, Event())
    return reports[0]


def _take_turns(config: Path | None, asked: "Asked", told: Callable[[dict[str, Any]], None], stopping: "Event") -> None:
    import os

    from jobs.milestone import milestones
    from jobs.turns import take_turns

    settings = _edge_settings(config)
    milestone = milestones(os.environ.get("TIDEMARK_HOLD"))
    if asked.every_s is not None:
        take_turns(settings, asked, milestone, tell=lambda _: None, told=told, stopping=stopping)
        return
    with _working("Starting") as tell:
        take_turns(settings, asked, milestone, tell=tell, told=told, stopping=stopping)


@edge_app.command("make-topics")
def edge_make_topics(
    config: Config = None,
    partitions: Annotated[int, typer.Option(min=1, help="Of the topic of events.")] = 4,
    replication: Annotated[int, typer.Option(min=1, help="Copies of every record.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Make the topics of the settings that are not there, as the rules need them, and check the topic of events."""
    from jobs.kafka_edge import make_topics

    settings = _kafka_edge_settings(config)
    _report(make_topics(settings, partitions=partitions, replication=replication), as_json)


@edge_app.command("record-gap")
def edge_record_gap(
    config: Config = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be recorded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Record what Kafka deleted before it was read: its hours go out as not complete, and the edge reads on behind it."""
    from jobs.kafka_gap import record_gap
    from jobs.tables import EdgeFolder

    settings = _kafka_edge_settings(config)
    folder = EdgeFolder(settings.state)
    assert settings.kafka is not None
    with folder.held():
        _report(record_gap(settings.kafka, folder, now=_now(), dry_run=dry_run), as_json)


@edge_app.command("trust-clock")
def edge_trust_clock(config: Config = None) -> None:
    """Say that this machine's clock is right, after a pause of more than 3 days: what could not be told goes out as null."""
    from jobs.tables import EdgeFolder

    folder = EdgeFolder(_edge_settings(config).state)
    with folder.held():
        folder.trust_clock(_now())


def _kafka_edge_settings(config: Path | None) -> "EdgeSettings":
    from jobs.settings import SettingsRefused

    settings = _edge_settings(config)
    if settings.kafka is None:
        raise SettingsRefused("edge.kafka: this command is for an edge whose rows come by Kafka")
    return settings


@edge_app.command("status")
def edge_status(config: Config = None, as_json: AsJson = False) -> None:
    """How the edge and its feed are, for the carrier's own eyes; exit code 1 when something needs a person."""
    from jobs.standing import needs_a_person
    from jobs.status import edge_standing, show

    standing = edge_standing(_edge_settings(config), now=_now())
    if as_json:
        _report(standing.document(), as_json)
    else:
        show(standing, Console())
    if needs_a_person(standing):
        raise typer.Exit(1)


@edge_app.command("left")
def edge_left(
    config: Config = None,
    date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="UTC date on which it left; today without it.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Since the edge began.")] = False,
    as_json: AsJson = False,
) -> None:
    """What left today: every release as the outside got it, when and to where; exit code 1 if it is not the ledger's."""
    from jobs.edge import ledger_of
    from jobs.left import show, what_left
    from jobs.tables import EdgeFolder

    settings = _edge_settings(config)
    on = None if everything else (date or _now()).date()
    found = what_left(EdgeFolder(settings.state), ledger_of(settings), on)
    if as_json:
        _report({"carrier": settings.carrier, "date": on, "releases": [one.row() for one in found]}, as_json)
    else:
        show(found, Console())
    if any(one.fault for one in found):
        raise typer.Exit(1)


@edge_app.command("stop")
def edge_stop(
    reason: Annotated[str, typer.Option(help="One line; it stays in the history.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Let nothing leave from now on. Rows are still taken in and old days deleted."""
    from dataclasses import asdict

    from jobs.stop import stop

    stopped = stop(_edge_settings(config).state, reason, now=_now())
    _report({"stopped": asdict(stopped)}, as_json)


@edge_app.command("start")
def edge_start(
    reason: Annotated[str, typer.Option(help="One line; it stays in the history.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Let releases leave again. Windows of the stopped time whose tables are still there are told; others are null."""
    from dataclasses import asdict

    from jobs.stop import start

    stopped = start(_edge_settings(config).state, reason, now=_now())
    _report({"started": True, "was_stopped": asdict(stopped)}, as_json)


@release_app.command("push")
def release_push(
    config: Config = None,
    credential: Annotated[
        str | None, typer.Option(envvar="TIDEMARK_CREDENTIAL", help="Bearer credential of the carrier.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Push every release that the centre has not taken yet, in order."""
    from jobs.push import push_releases

    with _working("Pushing releases"):
        report = push_releases(_edge_settings(config), credential)
    _report(report, as_json)
    if report["refused"]:
        raise typer.Exit(1)


@ledger_app.command("show")
def ledger_show(config: Config = None, as_json: AsJson = False) -> None:
    """What was said and what it cost."""
    from jobs.edge import ledger_report

    _report(ledger_report(_edge_settings(config)), as_json)


@ledger_app.command("verify")
def ledger_verify(config: Config = None, as_json: AsJson = False) -> None:
    """Re-check chain, digests, lineage, policy, budget and what has left; exit code 1 if a rule does not hold."""
    from dataclasses import asdict

    from jobs.edge import verify_edge

    verdict = verify_edge(_edge_settings(config))
    _report(asdict(verdict), as_json)
    if verdict.faults:
        raise typer.Exit(1)


@ledger_app.command("export")
def ledger_export(
    config: Config = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; standard output without it.", show_default=False)
    ] = None,
) -> None:
    """The public ledger: policies, budgets and the digest of every release, as one hash chain that anyone can re-check."""
    from jobs.edge import ledger_of
    from privacy.public import public_ledger

    ledger = ledger_of(_edge_settings(config))
    document = public_ledger(ledger.carrier, ledger.mode, ledger.chain())
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
        _report({"entries": len(document["entries"]), "head": document["head"], "written": out.name}, as_json=False)


@ledger_app.command("table")
def ledger_table(
    config: Config = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="The whole page docs/budget.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """What the policy costs in epsilon: a day, a month, a year, two carriers, a group."""
    from jobs.budget import cost_rows
    from jobs.budget import markdown as page
    from jobs.settings import read_settings
    from privacy.policy import ReleasePolicy

    edge = read_settings(config).edge
    policy = ReleasePolicy() if edge is None else edge.release_policy()
    if markdown:
        sys.stdout.write(page(policy))
        return
    rows = cost_rows(policy)
    _report(
        {"policy": policy.document(), "table": rows} if as_json else {row.pop("case"): row for row in rows}, as_json
    )


@ledger_app.command("bias")
def ledger_bias(as_json: AsJson = False) -> None:
    """What the contribution bound leaves out, by who crosses how often: of the whole day, and of its last quarter."""
    from jobs.budget import bias_rows

    rows = bias_rows()
    _report({"table": rows} if as_json else {row.pop("who crosses"): row for row in rows}, as_json)


# The centre


@centre_app.command("add-grid")
def centre_add_grid(grid: Path, config: Config = None, as_json: AsJson = False) -> None:
    """Put a zone grid in force from the token-day boundary that it names."""
    from geofence.grid import read_zone_grid
    from jobs.centre import open_store

    checked = read_zone_grid(grid)
    open_store(_centre_settings(config)).put_grid(checked.document)
    _report(_grid_facts(checked), as_json)


@centre_app.command("add-carrier")
def centre_add_carrier(
    name: str,
    title: Annotated[str | None, typer.Option(help="As people call it.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Expect releases of a carrier from now on."""
    from jobs.centre import open_store

    open_store(_centre_settings(config)).put_carrier(name, title or name)
    _report({"carrier": name}, as_json)


@centre_app.command("add-factor")
def centre_add_factor(
    carrier: str,
    factor: Annotated[float, typer.Argument(help="Movements of everybody that one counted movement stands for.")],
    sd: Annotated[float, typer.Option(help="Its own uncertainty, one standard deviation.")],
    valid_from: At,
    proposed_by: Annotated[str, typer.Option(help="Who proposes it.")],
    reason: Annotated[str, typer.Option(help="From which figures.")],
    approved_by: Annotated[str, typer.Option(help="A second person.")] = "",
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Record a market factor from a date on: for estimates of the whole market, never for a flag."""
    from detector.expand import MarketFactor
    from jobs.centre import open_store

    stated = MarketFactor(carrier, factor, sd, valid_from.replace(tzinfo=UTC), proposed_by, approved_by, reason)
    open_store(_centre_settings(config)).put_factor(stated, recorded_at=datetime.now(UTC))
    _report(stated.document(), as_json)


@centre_app.command("reconcile")
def centre_reconcile(
    export: Annotated[Path, typer.Argument(help="A carrier's public ledger, as `ledger export` writes it.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Hold a carrier's public ledger against what this centre was told; exit code 1 if they differ."""
    from jobs.centre import open_store, reconcile_ledger

    report = reconcile_ledger(open_store(_centre_settings(config)), export.read_bytes())
    _report(report, as_json)
    if report["faults"]:
        raise typer.Exit(1)


@centre_app.command("arm")
def centre_arm(
    sector: str,
    legal_basis: Annotated[str, typer.Option()],
    impact_assessment: Annotated[str, typer.Option()],
    until: At,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Allow flags in a sector, on a recorded legal basis, for at most 180 days."""
    from jobs.centre import open_store

    open_store(_centre_settings(config)).put_arming(
        sector,
        legal_basis=legal_basis,
        impact_assessment=impact_assessment,
        armed_from=datetime.now(UTC).replace(microsecond=0),
        expires_at=until.replace(tzinfo=UTC),
    )
    _report({"sector": sector, "armed_until": until}, as_json)


@centre_app.command("register-event")
def centre_register_event(
    sector: str,
    starts_at: At,
    ends_at: At,
    kind: Annotated[str, typer.Option(help="festival, market, sport, pilgrimage, public_works, exercise, other ...")],
    registered_by: Annotated[str, typer.Option(help="Who knows of it.")],
    reason: Annotated[str, typer.Option(help="What it is; no names of people.")],
    zone: Annotated[list[str] | None, typer.Option(help="Only these zones of the sector; all without.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Register a known crowd: what it explains becomes an alert that is born acknowledged and calls no desk."""
    from jobs.centre import open_store, register_event

    report = register_event(
        open_store(_centre_settings(config)),
        sector_id=sector,
        zone_ids=tuple(zone or ()),
        starts_at=starts_at.replace(tzinfo=UTC),
        ends_at=ends_at.replace(tzinfo=UTC),
        kind=kind,
        registered_by=registered_by,
        reason=reason,
        now=datetime.now(UTC).replace(microsecond=0),
    )
    _report(report, as_json)


@centre_app.command("adjust-policy")
def centre_adjust_policy(
    proposed_by: Annotated[str, typer.Option(help="Who proposes the thresholds.")],
    approved_by: Annotated[
        str | None, typer.Option(help="A second person; without one thresholds only tighten.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """One slow step of the thresholds towards the alert budget, from the last four weeks' alerts and dispositions."""
    from jobs.centre import adjust_policy, open_store

    now = datetime.now(UTC).replace(microsecond=0)
    store = open_store(_centre_settings(config))
    _report(adjust_policy(store, proposed_by=proposed_by, approved_by=approved_by, now=now), as_json)


@centre_app.command("consume")
def centre_consume(
    config: Config = None,
    every: Annotated[int | None, typer.Option(min=1, help="Again every so many seconds, until stopped.")] = None,
    as_json: AsJson = False,
) -> None:
    """Take releases in from the carriers' topics, through the same checks as a push: what is there now, or until stopped."""
    import signal
    from threading import Event

    from ingest.kafka import KafkaUnreachable
    from jobs.centre import ReleasesWait, consume, open_store

    settings = _centre_settings(config)
    store, stopping = open_store(settings), Event()
    if every is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
    while True:
        try:
            _report(consume(store, settings, now=_now()), as_json)
        except (KafkaUnreachable, ReleasesWait) as away:
            if every is None:
                raise
            _notes.print(str(away), markup=False, highlight=False)
        if every is None or stopping.wait(every):
            return


@app.command()
def intake(
    folder: Annotated[Path, typer.Argument(help="Folder of releases: .json, .ndjson, .ndjson.gz")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take releases in from a drop folder, through the same checks as a push."""
    from jobs.centre import open_store, read_releases, release_files, take_in

    store = open_store(_centre_settings(config))
    with _working("Taking releases in"):
        outcomes = take_in(store, read_releases(release_files(folder)), now=datetime.now(UTC))
    _report(outcomes, as_json)


@app.command()
def train(
    start: At,
    end: At,
    proposed_by: Annotated[str, typer.Option(help="Who proposes the thresholds.")],
    reason: Annotated[str, typer.Option()],
    approved_by: Annotated[str | None, typer.Option(help="A second person.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Learn what every zone-hour normally looks like, and serve the new model."""
    from ingest.release import HOUR
    from jobs.centre import open_store, run_train

    settings = _centre_settings(config)
    with _working("Learning what is usual"):
        report = run_train(
            open_store(settings),
            settings,
            first_window=_hour(start),
            last_window=_hour(end) - HOUR,
            proposed_by=proposed_by,
            approved_by=approved_by,
            reason=reason,
        )
    _report(report, as_json)


@app.command()
def detect(start: At, end: At, exercise: bool = False, config: Config = None, as_json: AsJson = False) -> None:
    """Flag what is unusual in a span of closed hours and merge flags into alerts."""
    from ingest.release import HOUR
    from jobs.centre import open_store, run_detect

    settings = _centre_settings(config)
    with _working("Flagging what is unusual"):
        report = run_detect(
            open_store(settings), settings, first_window=_hour(start), last_window=_hour(end) - HOUR, exercise=exercise
        )
    _report(report, as_json)


@app.command()
def backtest(
    start: At,
    end: At,
    surges: Annotated[Path, typer.Option(help="Parquet with the planted surges, as `simulate counts` writes it.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """What the served model and the policy in force would have found of planted surges, and flagged falsely."""
    import polars as pl

    from ingest.release import HOUR
    from jobs.centre import open_store, run_backtest

    settings = _centre_settings(config)
    with _working("Back-testing"):
        report = run_backtest(
            open_store(settings),
            settings,
            pl.read_parquet(surges),
            first_window=_hour(start),
            last_window=_hour(end) - HOUR,
        )
    _report(report, as_json)


@app.command()
def serve(config: Config = None) -> None:
    """Serve the API and the map."""
    from jobs.centre import open_store
    from jobs.centre import serve as serve_centre

    settings = _centre_settings(config)
    _notes.print(f"Serving on http://{settings.host}:{settings.port} (Ctrl-C stops)")
    serve_centre(open_store(settings), settings, clock=lambda: datetime.now(UTC))


@app.command()
def purge(config: Config = None, as_json: AsJson = False) -> None:
    """Delete what has outlived its retention at the centre (24 months)."""
    from jobs.centre import open_store

    with _working("Deleting"):
        report = open_store(_centre_settings(config)).purge(now=datetime.now(UTC))
    _report(report, as_json)


@settings_app.command("show")
def settings_show(
    config: Config = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: AsJson = False,
) -> None:
    """The settings in force."""
    from jobs.settings import origins, read_settings

    found = origins(read_settings(config), config)
    shown = {name: {"value": value, "origin": came} if origin else value for name, (value, came) in found.items()}
    _report(shown, as_json)


if __name__ == "__main__":
    main()
