"""What a row says about its token's side: the table of design.md, section 5, written down by hand."""

from itertools import product

import pytest

from ingest.attachment import Domain, EventType
from movement.sighting import Decision, Fate, Network, Networks, Place, Side, side_of

E, D, N, P, S = EventType, Domain, Network, Place, Side
ON_CELL = [e for e in E if e not in (E.ROAMING_REGISTRATION, E.ROAMING_CANCEL, E.IMPLICIT_DETACH)]
QUIET = [e for e in ON_CELL if e not in (E.ATTACH, E.DETACH)]


def said(event_type, domain, serving, previous, place):
    decision = side_of(event_type, domain, serving, previous, place)
    return decision.side, decision.fate


@pytest.mark.parametrize(
    ("serving", "side", "fate"),
    [
        (N.ACROSS, S.ABROAD, Fate.ROAMING_KEPT),
        (N.ELSEWHERE, S.ENDED, Fate.ROAMING_KEPT),
        (N.COMPATRIOT, S.ENDED, Fate.ROAMING_KEPT),
        (N.OWN, None, Fate.ROAMING_OTHER),
    ],
)
def test_where_a_domestic_sim_registers_abroad(serving, side, fate):
    assert said(E.ROAMING_REGISTRATION, D.DOMESTIC, serving, N.NONE, P.NONE) == (side, fate)


@pytest.mark.parametrize("serving", list(N))
def test_a_registration_of_a_visiting_sim_is_ignored(serving):
    assert said(E.ROAMING_REGISTRATION, D.INBOUND, serving, N.NONE, P.NONE) == (None, Fate.ROAMING_OTHER)


@pytest.mark.parametrize("serving", list(N))
def test_a_cancel_ends_a_visiting_sims_track_and_says_nothing_of_a_domestic_one(serving):
    assert said(E.ROAMING_CANCEL, D.INBOUND, serving, N.NONE, P.NONE) == (S.ENDED, Fate.ROAMING_KEPT)
    assert said(E.ROAMING_CANCEL, D.DOMESTIC, serving, N.NONE, P.NONE) == (None, Fate.ROAMING_OTHER)


@pytest.mark.parametrize(("event_type", "domain"), list(product(ON_CELL, D)))
def test_a_row_in_the_belt_is_home_and_says_where_it_came_from(event_type, domain):
    for previous, side in (
        (N.NONE, S.HOME),
        (N.OWN, S.HOME),
        (N.COMPATRIOT, S.HOME),
        (N.ACROSS, S.HOME_FROM_ABROAD),
        (N.ELSEWHERE, S.HOME_FROM_ELSEWHERE),
    ):
        assert said(event_type, domain, N.OWN, previous, P.BELT) == (side, Fate.SIGHTING)


@pytest.mark.parametrize("event_type", QUIET)
def test_an_inland_row_is_kept_only_if_it_names_a_foreign_network(event_type):
    assert said(event_type, D.DOMESTIC, N.OWN, N.NONE, P.INLAND) == (None, Fate.OUTSIDE_BELT)
    assert said(event_type, D.DOMESTIC, N.OWN, N.COMPATRIOT, P.INLAND) == (None, Fate.OUTSIDE_BELT)
    assert said(event_type, D.DOMESTIC, N.OWN, N.ACROSS, P.INLAND) == (S.HOME_FROM_ABROAD, Fate.SIGHTING)
    assert said(event_type, D.DOMESTIC, N.OWN, N.ELSEWHERE, P.INLAND) == (S.HOME_FROM_ELSEWHERE, Fate.SIGHTING)


@pytest.mark.parametrize("event_type", [E.ATTACH, E.DETACH])
def test_an_inland_attach_or_detach_is_kept(event_type):
    assert said(event_type, D.DOMESTIC, N.OWN, N.NONE, P.INLAND) == (S.HOME, Fate.SIGHTING)


@pytest.mark.parametrize(("previous", "place"), list(product(N, (P.BELT, P.INLAND))))
def test_an_implicit_detach_places_nobody(previous, place):
    assert said(E.IMPLICIT_DETACH, D.DOMESTIC, N.OWN, previous, place) == (None, Fate.OUTSIDE_BELT)


@pytest.mark.parametrize(("event_type", "previous"), list(product([*ON_CELL, E.IMPLICIT_DETACH], N)))
def test_an_unknown_cell_is_counted_and_never_guessed(event_type, previous):
    assert side_of(event_type, D.DOMESTIC, N.OWN, previous, P.UNKNOWN) == Decision(Fate.UNKNOWN_CELL)


def test_networks_are_told_apart_by_the_whole_plmn():
    networks = Networks(frozenset({"452-04"}), frozenset({"456-01"}))
    named = {None: N.NONE, "452-04": N.OWN, "452-004": N.COMPATRIOT, "456-01": N.ACROSS, "456-001": N.ELSEWHERE}
    assert {plmn: networks.network_of(plmn) for plmn in named} == named
    with pytest.raises(ValueError, match="none in both"):
        Networks(frozenset({"452-04"}), frozenset({"452-04"}))
