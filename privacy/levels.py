"""The cells of each level on a public grid, and how a token-day's totals become those of its sectors and of the border."""

from collections.abc import Sequence
from dataclasses import dataclass

from ingest.release import Direction, Level

DAY_LEVELS = (Level.SECTOR_DAY, Level.BORDER_DAY)

Cell = tuple[str, ...]
Zone = tuple[str, str, str]
"""zone_id, sector_id, kind."""


@dataclass(frozen=True, slots=True)
class PublicCells:
    """The cells of every level, in the order in which they are drawn and published: all that the grid has, empty or not.

    >>> cells = public_cells([("z1", "north", "belt"), ("z2", "north", "crossing_point")])
    >>> cells.sector_day[0], cells.border_day[-1]
    (('north', 'belt', 'arrival'), ('crossing_point', 'departure'))
    """

    zone_hour: tuple[Cell, ...]
    sector_day: tuple[Cell, ...]
    border_day: tuple[Cell, ...]
    sector_of: tuple[int, ...]  # for each zone-hour cell the place of its sector-day cell
    border_of: tuple[int, ...]  # for each sector-day cell the place of its border-day cell

    def at(self, level: Level) -> tuple[Cell, ...]:
        """The cells of one level."""
        return {
            Level.ZONE_HOUR: self.zone_hour,
            Level.SECTOR_DAY: self.sector_day,
            Level.BORDER_DAY: self.border_day,
        }[level]

    @property
    def zones_in(self) -> tuple[int, ...]:
        """For each sector-day cell how many zones it sums."""
        return tuple(self.sector_of.count(place) for place in range(len(self.sector_day)))


def public_cells(zones: Sequence[Zone]) -> PublicCells:
    """The cells of a grid's zones; raises ValueError if a zone is named twice."""
    placed = {zone_id: (sector_id, kind) for zone_id, sector_id, kind in zones}
    if len(placed) != len(zones) or not zones:
        raise ValueError("a grid has at least one zone, and a zone is named once")
    across = sorted(direction.value for direction in Direction)
    zone_hour = tuple((zone_id, direction) for zone_id in sorted(placed) for direction in across)
    sector_day = tuple((*place, direction) for place in sorted(set(placed.values())) for direction in across)
    border_day = tuple(
        (kind, direction) for kind in sorted({kind for _, kind in placed.values()}) for direction in across
    )
    sector_at = {cell: place for place, cell in enumerate(sector_day)}
    border_at = {cell: place for place, cell in enumerate(border_day)}
    return PublicCells(
        zone_hour,
        sector_day,
        border_day,
        tuple(sector_at[(*placed[zone_id], direction)] for zone_id, direction in zone_hour),
        tuple(border_at[(kind, direction)] for _, kind, direction in sector_day),
    )


def sums(values: Sequence[int], place_of: Sequence[int], places: int) -> list[int]:
    """The values added up by their place.

    >>> sums([3, 4, 5], place_of=[0, 1, 0], places=2)
    [8, 4]
    """
    total = [0] * places
    for value, place in zip(values, place_of, strict=True):
        total[place] += value
    return total


def day_totals(cells: PublicCells, totals: Sequence[int]) -> tuple[list[int], list[int]]:
    """The totals per sector-day and per border-day cell, from a token-day's totals per zone and direction.

    Belts and crossing points stay apart. The same counted movements are summed, so the contribution bound holds: one
    device adds at most k per direction, whatever the cell.
    """
    by_sector = sums(totals, cells.sector_of, len(cells.sector_day))
    return by_sector, sums(by_sector, cells.border_of, len(cells.border_day))
