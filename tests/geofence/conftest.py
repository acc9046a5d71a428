"""The one real grid of the stories, built once."""

import pytest

from geofence.border import Border, read_border
from geofence.build import build_zone_grid
from geofence.grid import ZoneGrid

from .builders import START, TURN


@pytest.fixture(scope="session")
def vn_kh() -> Border:
    return read_border("VN-KH")


@pytest.fixture(scope="session")
def vn_kh_grid(vn_kh: Border) -> ZoneGrid:
    return build_zone_grid(vn_kh, "VN", valid_from=START, turn_hour_utc=TURN)
