"""A sighting: on which side of the border a token was, and what an accepted row has to say about it.

`side_of` is the rule, on few enough kinds of rows that Spark can apply it by a lookup (design.md, section 5).
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from ingest.attachment import Domain, EventType


class Side(IntEnum):
    """Where a sighting puts a token. The order is the order of rows at one instant: home, abroad, ended."""

    HOME = 0
    HOME_FROM_ABROAD = 1
    """On a home cell, and the message names a network across this border as the last one."""
    HOME_FROM_ELSEWHERE = 2
    """On a home cell, and the message names a network of some third country as the last one."""
    ABROAD = 3
    ENDED = 4


class Network(StrEnum):
    """What a PLMN is to this border, seen from this carrier."""

    NONE = "none"
    OWN = "own"
    COMPATRIOT = "compatriot"
    """Another network of the carrier's own country."""
    ACROSS = "across"
    ELSEWHERE = "elsewhere"


class Place(StrEnum):
    """What the cell of a row is to the zone grid."""

    NONE = "none"
    """The row has no cell: a roaming row."""
    UNKNOWN = "unknown"
    BELT = "belt"
    """In a zone; crossing points belong to the belt."""
    INLAND = "inland"


class Fate(StrEnum):
    """What becomes of an accepted row; every row has exactly one fate."""

    SIGHTING = "sighting"
    ROAMING_KEPT = "roaming_kept"
    ROAMING_OTHER = "roaming_other"
    OUTSIDE_BELT = "outside_belt"
    UNKNOWN_CELL = "unknown_cell"


@dataclass(frozen=True, slots=True)
class Decision:
    """The fate of a row, and its side when it is kept."""

    fate: Fate
    side: Side | None = None


@dataclass(frozen=True, slots=True)
class Networks:
    """The carrier's own networks and those across this border, as MCC-MNC with the MNC's own length."""

    own: frozenset[str]
    across: frozenset[str]

    def __post_init__(self) -> None:
        if not self.own or not self.across or self.own & self.across:
            raise ValueError("own networks and networks across the border: at least one each, none in both")

    def network_of(self, plmn: str | None) -> Network:
        """What a PLMN is to this border.

        >>> Networks(frozenset({"452-04"}), frozenset({"456-01"})).network_of("452-01")
        <Network.COMPATRIOT: 'compatriot'>
        """
        if plmn is None:
            return Network.NONE
        if plmn in self.own:
            return Network.OWN
        if plmn in self.across:
            return Network.ACROSS
        if plmn[:3] in {own[:3] for own in self.own}:
            return Network.COMPATRIOT
        return Network.ELSEWHERE


_HOME_SIDE = {Network.ACROSS: Side.HOME_FROM_ABROAD, Network.ELSEWHERE: Side.HOME_FROM_ELSEWHERE}
# Inland rows that end a track: who lands at an airport has not crossed here.
_TELLING_INLAND = frozenset({EventType.ATTACH, EventType.DETACH})


def side_of(event_type: EventType, domain: Domain, serving: Network, previous: Network, place: Place) -> Decision:
    """What an accepted row says about its token's side (design.md, section 5).

    >>> side_of(EventType.ROAMING_REGISTRATION, Domain.DOMESTIC, Network.ACROSS, Network.NONE, Place.NONE).side
    <Side.ABROAD: 3>
    """
    if event_type is EventType.ROAMING_REGISTRATION:
        if domain is Domain.INBOUND or serving is Network.OWN:
            return Decision(Fate.ROAMING_OTHER)
        return Decision(Fate.ROAMING_KEPT, Side.ABROAD if serving is Network.ACROSS else Side.ENDED)
    if event_type is EventType.ROAMING_CANCEL:
        if domain is Domain.DOMESTIC:
            return Decision(Fate.ROAMING_OTHER)
        return Decision(Fate.ROAMING_KEPT, Side.ENDED)
    if place in (Place.UNKNOWN, Place.NONE):
        return Decision(Fate.UNKNOWN_CELL)
    if event_type is EventType.IMPLICIT_DETACH:
        return Decision(Fate.OUTSIDE_BELT)  # An hour old when it is written: it places nobody.
    side = _HOME_SIDE.get(previous, Side.HOME)
    if place is Place.INLAND and side is Side.HOME and event_type not in _TELLING_INLAND:
        return Decision(Fate.OUTSIDE_BELT)
    return Decision(Fate.SIGHTING, side)
