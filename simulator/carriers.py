"""The home carriers of a simulated border: a name, a network and a share of the market each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from geofence.bundled_files import bundled_rows
from ingest.attachment import PLMN_PATTERN
from simulator.rates import SimulationRefused, check_shares

MARKET_SHARES = (0.45, 0.35, 0.20)
MOST_NETWORKS_ACROSS = 4
UNLISTED = "001"  # the country code of test networks, for a country that the list lacks


@dataclass(frozen=True, slots=True)
class Carrier:
    """One home carrier. Every resident has one carrier; its own SIMs and visiting ones are on its network."""

    name: str
    plmn: str
    share: float  # of the market


def three_carriers(home: str) -> tuple[Carrier, ...]:
    """Three carriers of a country (ISO 3166 alpha-2) with shares of 45, 35 and 20 %, on networks that really exist there.

    >>> [carrier.plmn for carrier in three_carriers("VN")]
    ['452-04', '452-02', '452-01']
    """
    networks = [*networks_of(home), *(f"{UNLISTED}-{n:02d}" for n in range(1, 4))]
    return tuple(
        Carrier(f"carrier-{letter}", plmn, share)
        for letter, plmn, share in zip("abc", networks, MARKET_SHARES, strict=False)
    )


def networks_of(country: str) -> list[str]:
    """The PLMNs of a country's mobile networks, those with most layers of LTE first."""
    rows = [row for row in bundled_rows("mcc_mnc.csv") if row["iso2"] == country and row["bands"] not in ("", "MVNO")]
    rows.sort(key=lambda row: -row["bands"].count("LTE"))
    return list(dict.fromkeys(f"{row['mcc']}-{row['mnc']}" for row in rows))


def networks_across(country: str) -> tuple[str, ...]:
    """Up to four networks of the country across, as an edge's settings would list them."""
    return tuple(networks_of(country)[:MOST_NETWORKS_ACROSS]) or (f"{UNLISTED}-51", f"{UNLISTED}-52")


def shares_of(carriers: Sequence[Carrier]) -> dict[str, float]:
    """Market shares by carrier name; raises SimulationRefused where they are none, or a name or a network comes twice."""
    shares = {carrier.name: carrier.share for carrier in carriers}
    if len(shares) < len(carriers) or len({carrier.plmn for carrier in carriers}) < len(carriers):
        raise SimulationRefused("every carrier has a name and a network of its own")
    check_shares(shares)
    return shares


def chosen_carriers(asked: Sequence[str], *, home: str) -> tuple[Carrier, ...]:
    """The carriers asked for: names of the three, or NAME=MCC-MNC=SHARE; all three where nothing is asked.

    Raises SimulationRefused for an unknown name, a wrong PLMN, and shares that are none.

    >>> [carrier.share for carrier in chosen_carriers(["carrier-b", "mine=452-99=0.1"], home="VN")]
    [0.35, 0.1]
    """
    usual = {carrier.name: carrier for carrier in three_carriers(home)}
    found = []
    for text in asked:
        name, plmn, share = (*text.split("="), "", "")[:3]
        if text in usual:
            found.append(usual[text])
        elif name and re.fullmatch(PLMN_PATTERN, plmn) and re.fullmatch(r"0?\.\d+|1", share):
            found.append(Carrier(name, plmn, float(share)))
        else:
            raise SimulationRefused(f"a carrier is one of {', '.join(usual)}, or NAME=MCC-MNC=SHARE")
    carriers = tuple(found) or tuple(usual.values())
    shares_of(carriers)
    return carriers
