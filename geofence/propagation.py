"""How likely a cell serves a place, by distance and direction: what a footprint's mass is made of.

Two models, named in the settings and covered by a located plan's digest. `propagation` takes a cell with a direction for a
panel antenna: the level falls with a power of the distance and with the angle off the beam, and how likely the cell serves
grows with the level as a logistic curve (signal dominance; Tennekes and Gootzen, Bayesian location estimation of mobile
devices, 2022). `sector` spreads the mass evenly over the sector of a circle. A cell without a direction is an even circle in
both: the contract cannot tell an omni antenna from a direction nobody knows, and of a public cell list it is the middle of
where a cell was heard, from which no level can be reckoned.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Shape(StrEnum):
    """What the mass of a cell with a direction looks like."""

    PROPAGATION = "propagation"
    SECTOR = "sector"


@dataclass(frozen=True, slots=True)
class FootprintModel:
    """The parameters of footprints; the defaults and where they come from.

    `front_to_back_db`: the parabolic pattern 12 (angle / beam)^2 ends there; 20 dB (3GPP TR 36.942, 4.2.1.1).
    `height_m`: where the plan gives none; 30 m (mobloc's default).
    `edge_db`: how far below the middle of the logistic curve the level is on the beam's axis at `range_m`. At 10 dB a cell
    serves as likely as not at half its range; mobloc's defaults (10 W, exponent 3.75, middle at -92.5 dBm, 10 km) have it
    at a third (17.5 dB). On a simulated border 10 tells the zone a little better than 0 or an even sector, and which cells
    are one place better than 17.5 (docs/cells.md). `steepness_per_db`: 0.2 (mobloc).
    `side_weight`: how likely a phone on a home cell is on a piece of ground abroad, beside the same ground at home. One
    half is ours, no measurement: home SIMs are mostly at home, but keep a home cell far over the line. It is not 0, for
    that would be cropping at the border. Zones against inland are not touched by it: both lie at home.
    """

    shape: Shape = Shape.PROPAGATION
    front_to_back_db: float = 20.0
    height_m: float = 30.0
    edge_db: float = 10.0
    steepness_per_db: float = 0.2
    side_weight: float = 0.5

    def document(self) -> dict[str, Any]:
        """The model as it enters the digest of a located plan."""
        return {**asdict(self), "shape": self.shape.value}


def path_loss_exponent(height_m: Floats) -> Floats:
    """The exponent of the distance power law by the antenna's height above ground: 4.49 - 0.655 log10(height).

    Okumura-Hata, as in 3GPP TR 36.942 (4.5) and COST 231; heights are taken as 10 to 200 m, the curve's own span and a
    little below.

    >>> path_loss_exponent(np.array([30.0, 200.0])).round(2).tolist()
    [3.52, 2.98]
    """
    exponent: Floats = 4.49 - 0.655 * np.log10(np.clip(height_m, 10.0, 200.0))
    return exponent


def serving_weight(
    distance: Floats, off_axis_deg: Floats, beamwidth_deg: Floats, exponent: Floats, model: FootprintModel
) -> Floats:
    """How likely a cell with a direction serves, 0..1, at distances (in ranges of the cell, at most 1) off its axis.

    >>> at = serving_weight(np.array([0.1, 0.5, 1.0]), np.zeros(3), np.full(3, 65.0), np.full(3, 3.52), FootprintModel())
    >>> at.round(2).tolist()
    [0.99, 0.53, 0.12]
    """
    pattern = np.minimum(12.0 * (off_axis_deg / beamwidth_deg) ** 2, model.front_to_back_db)
    level_db = -10.0 * exponent * np.log10(np.maximum(distance, 1e-3)) - pattern - model.edge_db
    weight: Floats = 1.0 / (1.0 + np.exp(-model.steepness_per_db * level_db))
    return weight
