"""Diaries: who is where and when over one token-day, and what the register hears of it; no radio yet.

Seconds run from the turn of the token-day, which is 03:00 local, so local time is 3 h + seconds. A diary holds
*stays* (a device at a spot, on a home cell) and *notices* (rows without a cell: roaming registrations and cancels, and
the implicit detach that repeats an old cell). Every movement that the law wants becomes one device's departure or
arrival; bystanders never move across.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ingest.attachment import EventType
from simulator.rates import ARRIVAL, DEPARTURE, LAW_CLASSES, Ints, MovementClass
from simulator.spots import SpotKind, Spots

DAY_S = 86_400.0
FIRST_LOCAL_HOUR = 3
BETWEEN_OPPOSITES_S = 4_000.0  # over 60 minutes, so that nothing that is meant to count cancels
RETURN_SHARE, VISIT_SHARE = 0.75, 0.2  # of arrivals paired with an earlier departure; of the rest with a later one
INBOUND_SHARE = 0.25  # of arrivals that are nobody's return
KMH = (35.0, 70.0)
TRACKLESS_SHARE = 0.15  # of local movers who cross anywhere by the line and not where the tracks are
BYSTANDERS = {
    "still": 0.55,
    "commuter": 0.25,
    "field": 0.08,
    "battery": 0.05,
    "visitor": 0.07,
    "inland": 0.15,
    "air": 0.01,
    "inbound": 0.025,
    "flipping": 0.025,
    "abroad": 0.01,
}
"""Device classes as shares of the belt's residents (notes/telecom.md, section 10); those beyond 1 live elsewhere."""

NONE, OWN, FIRST_ACROSS = 0, 1, 2  # codes of networks; across ones follow, then those of third countries
SILENT = -1
TYPES = tuple(EventType)
CODE = {event_type: code for code, event_type in enumerate(TYPES)}
FLIP_KINDS = ("home_abroad_home", "abroad_home_abroad")
DEVICE_CLASSES = (*(str(c) for c in LAW_CLASSES), str(MovementClass.SURGE), *BYSTANDERS)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks a device may name, as codes: own, across this border, elsewhere."""

    own: str
    across: tuple[str, ...]
    elsewhere: tuple[str, ...]

    @property
    def names(self) -> tuple[str | None, ...]:
        """The PLMN of each code."""
        return (None, self.own, *self.across, *self.elsewhere)

    def draw_across(self, rng: np.random.Generator, count: int) -> Ints:
        """Networks across the border; the first is the partner that most phones prefer."""
        weight = 1.0 / np.arange(1, len(self.across) + 1) ** 1.5
        return FIRST_ACROSS + rng.choice(len(self.across), count, p=weight / weight.sum())

    def draw_elsewhere(self, rng: np.random.Generator, count: int) -> Ints:
        """Networks of third countries."""
        return FIRST_ACROSS + len(self.across) + rng.integers(0, len(self.elsewhere), count)


@dataclass(slots=True)
class Diary:
    """Columns of stays and notices, grown class by class; `finished` joins them."""

    device_class: list[Ints] = field(default_factory=list)
    inbound: list[NDArray[np.bool_]] = field(default_factory=list)
    devices: int = 0
    stay_count: int = 0
    stays: list[dict[str, NDArray[np.generic]]] = field(default_factory=list)
    notices: list[dict[str, NDArray[np.generic]]] = field(default_factory=list)
    movements: list[dict[str, NDArray[np.generic]]] = field(default_factory=list)
    flips: list[dict[str, NDArray[np.generic]]] = field(default_factory=list)

    def add_devices(self, device_class: str | Ints, count: int, inbound: NDArray[np.bool_] | bool = False) -> Ints:
        """Numbers of new devices."""
        code = DEVICE_CLASSES.index(device_class) if isinstance(device_class, str) else device_class
        self.device_class.append(np.broadcast_to(np.asarray(code, dtype=np.int64), count))
        self.inbound.append(np.broadcast_to(np.asarray(inbound, dtype=np.bool_), count))
        self.devices += count
        return np.arange(self.devices - count, self.devices)

    def add_stays(
        self,
        device: Ints,
        start: Floats | float,
        end: Floats | float,
        spot: Ints,
        *,
        talk: float = 1.0,
        entry: Ints | int = SILENT,
        entry_previous: Ints | int = NONE,
        closing: Ints | int = SILENT,
        served_as: Ints | None = None,
        shortest_s: float = 0.0,
    ) -> Ints:
        """Numbers of new stays; a stay shorter than `shortest_s` is left out (number -1).

        `entry` and `closing` are event types at its very start and end; `talk` scales how much is said between;
        `served_as` is an earlier stay whose cell it keeps.
        """
        count = len(device)
        start_, end_ = np.broadcast_to(start, count), np.broadcast_to(end, count)
        kept = end_ - start_ >= shortest_s
        number = np.where(kept, np.cumsum(kept) - 1 + self.stay_count, -1)
        own = number if served_as is None else served_as
        columns = {
            "device": device,
            "start": start_,
            "end": end_,
            "spot": spot,
            "talk": np.broadcast_to(talk, count),
            "entry": np.broadcast_to(entry, count),
            "entry_previous": np.broadcast_to(entry_previous, count),
            "closing": np.broadcast_to(closing, count),
            "served_as": own,
        }
        self.stays.append({name: np.asarray(column)[kept] for name, column in columns.items()})
        self.stay_count += int(kept.sum())
        return np.asarray(number, dtype=np.int64)

    def add_notices(
        self, device: Ints, at: Floats, event_type: EventType, network: Ints | int, stay: Ints | int = -1
    ) -> None:
        """Rows of the register, or of a stay's last cell if `stay` is given."""
        count = len(device)
        self.notices.append(
            {
                "device": device,
                "at": at,
                "type": np.full(count, CODE[event_type]),
                "network": np.broadcast_to(network, count),
                "stay": np.broadcast_to(stay, count),
            }
        )

    def note_movements(self, device: Ints, at: Floats, zone: Ints, direction: int) -> None:
        """Movements that are meant to be counted, for the truth."""
        columns = {"device": device, "at": at, "zone": zone, "direction": np.full(len(device), direction)}
        self.movements.append(columns)

    def note_flips(self, device: Ints, first: Floats, second: Floats, zone: Ints, kind: str) -> None:
        """Changes of network there and back within the hour that are meant to cancel, for the truth."""
        columns = {"device": device, "first": first, "second": second, "zone": zone}
        self.flips.append({**columns, "kind": np.full(len(device), FLIP_KINDS.index(kind))})

    def finished(self) -> tuple[dict[str, NDArray[np.generic]], dict[str, NDArray[np.generic]]]:
        """All stays and all notices as columns."""
        return _joined(self.stays), _joined(self.notices)


def _joined(parts: list[dict[str, NDArray[np.generic]]]) -> dict[str, NDArray[np.generic]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def write_movers(
    diary: Diary, movements: Ints, spots: Spots, networks: Networks, rng: np.random.Generator, *, talk: float
) -> None:
    """Devices that make exactly the movements wanted, shape (class of DEVICE_CLASSES, hour, zone, direction)."""
    trips = _trips(movements, rng)
    count = len(trips["zone"])
    if not count:
        return
    kind, zone = trips["class"].astype(np.int64), trips["zone"].astype(np.int64)
    leaves, comes = trips["departs"], trips["arrives"]
    has_left, has_come = ~np.isnan(leaves), ~np.isnan(comes)
    near, home = _spots_of_movers(kind, zone, spots, rng)
    only_comes = has_come & ~has_left
    inbound = only_comes & (kind != DEVICE_CLASSES.index(MovementClass.SURGE)) & (rng.random(count) < INBOUND_SHARE)
    device = diary.add_devices(kind, count, inbound)
    network = networks.draw_across(rng, count)
    travel = spots.travel_m(near, home) / (rng.uniform(*KMH, count) / 3.6) + 240.0
    visits_first = has_left & has_come & (comes < leaves)

    # Arrivals. Whoever was not seen leaving today brings the network's name along, or registered there earlier.
    unseen = has_come & (~has_left | visits_first)
    registered = unseen & ~inbound & (comes > 600) & (rng.random(count) < 0.3)
    at = np.flatnonzero(registered)
    diary.add_notices(device[at], rng.uniform(0, comes[at] - 300), EventType.ROAMING_REGISTRATION, network[at])
    says = (unseen & ~registered) | (has_come & (rng.random(count) < 0.5))
    came_until = np.where(has_come, comes + rng.uniform(300, 1_800, count), 0.0)
    # Who leaves again keeps time for the way back to the line and the last rows there.
    room_until = np.where(visits_first, leaves - 2 * travel - 1_000, DAY_S)
    came_until = np.where(visits_first, np.minimum(came_until, (comes + leaves) / 2), np.minimum(came_until, DAY_S))
    at = np.flatnonzero(has_come)
    how = np.where(rng.random(len(at)) < 0.6, CODE[EventType.ATTACH], CODE[EventType.REGISTRATION_UPDATE])
    diary.add_stays(
        device[at], comes[at], came_until[at], near[at], entry=how, entry_previous=np.where(says, network, NONE)[at]
    )
    settle = came_until + travel
    stays_until = np.minimum(settle + rng.uniform(2, 8, count) * 3_600, room_until)
    diary.add_stays(
        device[at],
        settle[at],
        stays_until[at],
        home[at],
        talk=talk,
        entry=CODE[EventType.REGISTRATION_UPDATE],
        shortest_s=120,
    )
    at = np.flatnonzero(has_left & has_come & ~visits_first & (rng.random(count) < 0.3))
    diary.add_notices(device[at], comes[at] + 1.0, EventType.ROAMING_CANCEL, network[at])
    at = np.flatnonzero(inbound & (rng.random(count) < 0.2) & (stays_until > settle + 120))
    diary.add_notices(device[at], stays_until[at] + 30, EventType.ROAMING_CANCEL, OWN)

    # Departures: the last home row comes 30 s to 15 min before the other side answers.
    free_from = np.where(visits_first, np.where(stays_until > settle + 120, stays_until, came_until), 0.0)
    at = np.flatnonzero(has_left)
    free, gone = free_from[at], leaves[at]
    last = np.maximum(gone - rng.uniform(30, 900, len(at)), (free + gone) / 2)
    reached = np.maximum(last - rng.uniform(300, 1_500, len(at)), free + np.where(free > 0, travel[at], 0))
    reached = np.minimum(reached, last)
    diary.add_stays(
        device[at],
        reached,
        last,
        near[at],
        entry=CODE[EventType.REGISTRATION_UPDATE],
        closing=CODE[EventType.SERVICE_REQUEST],
    )
    sets_out = reached - travel[at]
    since = np.maximum(sets_out - rng.uniform(1, 8, len(at)) * 3_600, 0)
    first_leg = ~visits_first[at]
    diary.add_stays(
        device[at][first_leg],
        since[first_leg],
        sets_out[first_leg],
        home[at][first_leg],
        talk=talk,
        entry=CODE[EventType.REGISTRATION_UPDATE],
        shortest_s=120,
    )
    diary.add_notices(device[at], gone, EventType.ROAMING_REGISTRATION, network[at])
    diary.note_movements(device[at], gone, zone[at], DEPARTURE)
    at = np.flatnonzero(has_come)
    diary.note_movements(device[at], comes[at], zone[at], ARRIVAL)
    _touch_home(diary, device, zone, near, network, leaves, comes, rng)


def _touch_home(
    diary: Diary,
    device: Ints,
    zone: Ints,
    near: Ints,
    network: Ints,
    leaves: Floats,
    comes: Floats,
    rng: np.random.Generator,
) -> None:
    """Some phones abroad fall onto a home cell for minutes: ABROAD-HOME-ABROAD, which cancels."""
    with np.errstate(invalid="ignore"):
        long_away = comes - leaves > 2.5 * BETWEEN_OPPOSITES_S
    at = np.flatnonzero(long_away & (rng.random(len(device)) < 0.03))
    touches = rng.uniform(leaves[at] + BETWEEN_OPPOSITES_S, comes[at] - 1.5 * BETWEEN_OPPOSITES_S)
    diary.add_stays(
        device[at],
        touches,
        touches + 20,
        near[at],
        entry=CODE[EventType.REGISTRATION_UPDATE],
        entry_previous=network[at],
    )
    back = touches + rng.uniform(120, 1_800, len(at))
    diary.add_notices(device[at], back, EventType.ROAMING_REGISTRATION, network[at])
    diary.note_flips(device[at], touches, back, zone[at], "abroad_home_abroad")


def _trips(movements: Ints, rng: np.random.Generator) -> dict[str, Floats]:
    """One row a device: class, zone, departs, arrives (seconds; NaN where it does not). First out, first back."""
    by_direction = []
    for direction in (ARRIVAL, DEPARTURE):
        wanted = movements[..., direction]
        kind, hour, zone = (np.repeat(ix, wanted[wanted > 0]) for ix in np.nonzero(wanted))
        # Half a second from either edge, so that rounding to milliseconds never changes the hour.
        at = hour * 3_600.0 + rng.uniform(0.5, 3_599.5, len(hour))
        order = np.lexsort((at, zone, kind))
        by_direction.append((kind[order], zone[order], at[order]))
    (in_kind, in_zone, in_at), (out_kind, out_zone, out_at) = by_direction
    surge = DEVICE_CLASSES.index(MovementClass.SURGE)
    returning = (rng.random(len(in_at)) < RETURN_SHARE) & (in_kind != surge)
    back = _paired((out_kind, out_zone, out_at), (in_kind, in_zone, in_at), np.ones(len(out_at), np.bool_), returning)
    visiting = (back < 0) & (in_kind != surge) & (rng.random(len(in_at)) < VISIT_SHARE)
    left = np.ones(len(out_at), dtype=np.bool_)
    left[back[back >= 0]] = False
    visit = _paired((in_kind, in_zone, in_at), (out_kind, out_zone, out_at), visiting, left)  # by departure
    partner = back.copy()
    gone = np.flatnonzero(visit >= 0)
    partner[visit[gone]] = gone
    departs = np.where(partner >= 0, out_at[partner] if len(out_at) else 0.0, np.nan)
    alone = np.ones(len(out_at), dtype=np.bool_)
    alone[partner[partner >= 0]] = False
    return {
        "class": np.concatenate([in_kind, out_kind[alone]]).astype(np.float64),
        "zone": np.concatenate([in_zone, out_zone[alone]]).astype(np.float64),
        "departs": np.concatenate([departs, out_at[alone]]),
        "arrives": np.concatenate([in_at, np.full(int(alone.sum()), np.nan)]),
    }


def _paired(
    earlier: tuple[Ints, Ints, Floats],
    later: tuple[Ints, Ints, Floats],
    may_lead: NDArray[np.bool_],
    may_follow: NDArray[np.bool_],
) -> Ints:
    """For each later movement the index of an earlier one of the same class and zone, or -1; both sorted alike."""
    partner = np.full(len(later[2]), -1, dtype=np.int64)
    group = (earlier[0] << 32) + earlier[1]
    group_later = (later[0] << 32) + later[1]
    lead = np.flatnonzero(may_lead)
    follow = np.flatnonzero(may_follow)
    keys, at = group[lead].tolist(), earlier[2][lead].tolist()
    queue = 0
    for index, key, time in zip(follow.tolist(), group_later[follow].tolist(), later[2][follow].tolist(), strict=True):
        while queue < len(keys) and keys[queue] < key:
            queue += 1
        if queue < len(keys) and keys[queue] == key and at[queue] < time - BETWEEN_OPPOSITES_S:
            partner[index] = lead[queue]
            queue += 1
    return partner


def _spots_of_movers(kind: Ints, zone: Ints, spots: Spots, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Where each mover meets the line, and where its home is on this side."""
    near, home = np.zeros(len(zone), dtype=np.int64), np.zeros(len(zone), dtype=np.int64)
    inland = spots.of(SpotKind.INLAND)
    residue = DEVICE_CLASSES.index(MovementClass.FLIP_RESIDUE)
    for at in np.unique(zone):
        villages, gates = spots.of(SpotKind.VILLAGE, at), spots.of(SpotKind.GATE, at)
        doors = gates if len(gates) else spots.of(SpotKind.OPENING, at)
        movers = np.flatnonzero((zone == at) & (kind != residue))
        near[movers] = doors[rng.integers(0, len(doors), len(movers))]
        fields = spots.of(SpotKind.FIELD, at)
        if not len(gates):
            trackless = movers[rng.random(len(movers)) < TRACKLESS_SHARE]
            near[trackless] = fields[rng.integers(0, len(fields), len(trackless))]
        for door in np.unique(near[movers]):
            here = movers[near[movers] == door]
            pool = villages[np.argsort(spots.travel_m(villages, np.full(len(villages), door)))[:4]]
            home[here] = pool[rng.integers(0, len(pool), len(here))]
            if len(gates):
                towns = inland[np.argsort(spots.travel_m(inland, np.full(len(inland), door)))[:5]]
                from_far = here[rng.random(len(here)) < 0.6]
                home[from_far] = towns[rng.integers(0, len(towns), len(from_far))]
        # A phone that only changes network stays where it is: by the line, at the gate or in the nearest village.
        still = np.flatnonzero((zone == at) & (kind == residue))
        beds = gates if len(gates) else villages[np.argsort(spots.from_line_m[villages])[:3]]
        near[still] = beds[rng.integers(0, len(beds), len(still))]
        home[still] = near[still]
    return near, home


def write_bystanders(
    diary: Diary, spots: Spots, networks: Networks, rng: np.random.Generator, *, share: float, weather: Floats
) -> None:
    """Devices that never count as a movement, `share` of all of them; `weather` says by zone how much they flip."""
    villages = spots.of(SpotKind.VILLAGE)
    people = spots.people[villages]
    residents = float(people.sum()) * share
    count = {name: int(rng.poisson(residents * part)) for name, part in BYSTANDERS.items() if name != "flipping"}

    def homes(many: int) -> Ints:
        return rng.choice(villages, many, p=people / people.sum())

    device = diary.add_devices("still", count["still"])
    diary.add_stays(device, 0.0, DAY_S, homes(len(device)))
    _write_day_trip(diary, "commuter", homes(count["commuter"]), spots, SpotKind.VILLAGE, (3.0, 6.0), (12.0, 16.0), rng)
    _write_day_trip(diary, "field", homes(count["field"]), spots, SpotKind.FIELD, (2.5, 5.0), (8.0, 14.0), rng)
    inland = spots.of(SpotKind.INLAND)
    crowd = spots.people[inland] / spots.people[inland].sum()
    _write_day_trip(
        diary, "visitor", rng.choice(inland, count["visitor"], p=crowd), spots, SpotKind.VILLAGE, (4, 7), (11, 16), rng
    )
    device = diary.add_devices("inland", count["inland"])
    diary.add_stays(device, 0.0, DAY_S, rng.choice(inland, len(device), p=crowd))
    device = diary.add_devices("inbound", count["inbound"], inbound=True)
    start = rng.uniform(0, 12 * 3_600, len(device))
    end = np.minimum(start + rng.uniform(1, 10, len(device)) * 3_600, DAY_S)
    diary.add_stays(device, start, end, homes(len(device)), entry=CODE[EventType.REGISTRATION_UPDATE])
    _write_battery_gaps(diary, homes(count["battery"]), rng)
    _write_air_travellers(diary, spots, networks, rng, count["air"])
    device = diary.add_devices("abroad", count["abroad"])
    for _ in range(2):
        diary.add_notices(
            device,
            rng.uniform(0, DAY_S - 1, len(device)),
            EventType.ROAMING_REGISTRATION,
            networks.draw_across(rng, len(device)),
        )
    _write_flips(diary, spots, networks, rng, residents * BYSTANDERS["flipping"], weather)


def _write_day_trip(
    diary: Diary,
    device_class: str,
    home: Ints,
    spots: Spots,
    kind: SpotKind,
    leaves_h: tuple[float, float],
    returns_h: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Home, away, home: hours after the turn of the token-day."""
    away = home.copy()
    for spot in np.unique(home):
        here = np.flatnonzero(home == spot)
        zone = int(spots.zone[spot])
        pool = spots.of(kind, zone if zone >= 0 else None)
        pool = pool[pool != spot]
        nearest = pool[np.argsort(spots.travel_m(pool, np.full(len(pool), spot)))[:5]]
        away[here] = nearest[rng.integers(0, len(nearest), len(here))]
    count = len(home)
    device = diary.add_devices(device_class, count)
    travel = spots.travel_m(home, away) / (rng.uniform(*KMH, count) / 3.6) + 120.0
    leaves, returns = rng.uniform(*leaves_h, count) * 3_600, rng.uniform(*returns_h, count) * 3_600
    update = CODE[EventType.REGISTRATION_UPDATE]
    diary.add_stays(device, 0.0, leaves, home)
    diary.add_stays(device, leaves + travel, returns, away, entry=update, shortest_s=1.0)
    diary.add_stays(device, np.maximum(returns, leaves + travel) + travel, DAY_S, home, entry=update, shortest_s=1.0)


def _write_battery_gaps(diary: Diary, home: Ints, rng: np.random.Generator) -> None:
    """Half switch off and say so; half fall silent and are detached over an hour later, on the old cell."""
    count = len(home)
    device = diary.add_devices("battery", count)
    off = rng.uniform(2, 18, count) * 3_600
    on = off + rng.uniform(0.3, 5, count) * 3_600
    polite = rng.random(count) < 0.5
    stay = diary.add_stays(
        device, 0.0, off, home, closing=np.where(polite, CODE[EventType.DETACH], CODE[EventType.SERVICE_REQUEST])
    )
    diary.add_stays(device, on, DAY_S, home, entry=CODE[EventType.ATTACH])
    late = off + rng.uniform(62, 70, count) * 60
    rude = np.flatnonzero(~polite & (late < on))
    diary.add_notices(device[rude], late[rude], EventType.IMPLICIT_DETACH, OWN, stay[rude])


def _write_air_travellers(diary: Diary, spots: Spots, networks: Networks, rng: np.random.Generator, count: int) -> None:
    """Who lands or leaves at an airport has not crossed here, whatever network the phone names."""
    device = diary.add_devices("air", count)
    airports = spots.of(SpotKind.AIRPORT)
    spot = airports[rng.integers(0, len(airports), count)]
    at = rng.uniform(3, 20, count) * 3_600
    lands = np.flatnonzero(rng.random(count) < 0.5)
    flies = np.setdiff1d(np.arange(count), lands)
    from_across = rng.random(len(lands)) < 0.4
    named = np.where(from_across, networks.draw_across(rng, len(lands)), networks.draw_elsewhere(rng, len(lands)))
    attach = CODE[EventType.ATTACH]
    diary.add_stays(device[lands], at[lands], at[lands] + 3_600, spot[lands], entry=attach, entry_previous=named)
    diary.add_stays(device[flies], at[flies] - 5_400, at[flies], spot[flies], closing=CODE[EventType.DETACH])
    abroad = np.minimum(at[flies] + rng.uniform(1.5, 3.5, len(flies)) * 3_600, DAY_S - 1)
    across = rng.random(len(flies)) < 0.3
    where = np.where(across, networks.draw_across(rng, len(flies)), networks.draw_elsewhere(rng, len(flies)))
    diary.add_notices(device[flies], abroad, EventType.ROAMING_REGISTRATION, where)


def _write_flips(
    diary: Diary, spots: Spots, networks: Networks, rng: np.random.Generator, usual: float, weather: Floats
) -> None:
    """Phones by the line that fall onto a network across and come back within the hour without moving."""
    villages = spots.of(SpotKind.VILLAGE)
    near = villages[spots.from_line_m[villages] < 5_000.0]
    near = near if len(near) else villages
    weight = spots.people[near] * np.exp(-spots.from_line_m[near] / 2_500.0)
    usual_weight = weight.sum()
    weight = weight * weather[spots.zone[near]]
    count = int(rng.poisson(usual * weight.sum() / usual_weight))
    home = rng.choice(near, count, p=weight / weight.sum())
    device = diary.add_devices("flipping", count)
    network = networks.draw_across(rng, count)
    since = np.zeros(count)
    stay: Ints | None = None
    for _ in range(2):
        abroad = since + rng.uniform(3, 7, count) * 3_600
        back = abroad + rng.uniform(120, 3_000, count)
        last = abroad - rng.uniform(20, 240, count)
        entry = SILENT if stay is None else CODE[EventType.REGISTRATION_UPDATE]
        number = diary.add_stays(
            device,
            since,
            last,
            home,
            entry=entry,
            entry_previous=NONE if stay is None else np.where(rng.random(count) < 0.5, network, NONE),
            closing=CODE[EventType.SERVICE_REQUEST],
            served_as=stay,
        )
        stay = number if stay is None else stay
        diary.add_notices(device, abroad, EventType.ROAMING_REGISTRATION, network)
        diary.note_flips(device, abroad, back, spots.zone[home], "home_abroad_home")
        since = back
    update = CODE[EventType.REGISTRATION_UPDATE]
    diary.add_stays(device, since, DAY_S, home, entry=update, served_as=stay)
