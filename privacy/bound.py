"""What the contribution bound leaves out: the published bias of counting each device's first k movements a direction.

The bound makes counts too low, always, and more so late in a token-day. How much depends on how often devices cross,
which nobody may look up in raw counts: the curves are for distributions that are stated, not measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

BOUNDS: Final = (1, 2, 3, 4, 6)
_MOST = 40


@dataclass(frozen=True, slots=True)
class Bias:
    """The share of movements that a bound leaves out: of the whole token-day, and of its last quarter."""

    crossers: str
    k: int
    undercount: float
    undercount_late: float


def undercount(shares: Sequence[float], k: int) -> float:
    """The expected share of movements left out; `shares[n]` of the devices make n movements a direction and token-day.

    >>> undercount([0.0, 0.8, 0.1, 0.1], k=2)  # 130 movements of 100 devices, of which 10 are the third of somebody
    0.07692307692307693
    """
    movements = sum(n * share for n, share in enumerate(shares))
    beyond = sum((n - k) * share for n, share in enumerate(shares) if n > k)
    return beyond / movements


def undercount_at(shares: Sequence[float], k: int, passed: float) -> float:
    """The expected share left out of the movements that happen when `passed` (0..1) of a day's movements have happened.

    A device's movements fall independently over the day. One of n is left out when k of the n - 1 others came before.
    """
    movements = sum(n * share for n, share in enumerate(shares))
    left_out = 0.0
    for n, share in enumerate(shares):
        if n <= k:
            continue
        kept = sum(math.comb(n - 1, j) * passed**j * (1 - passed) ** (n - 1 - j) for j in range(k))
        left_out += n * share * (1 - kept)
    return left_out / movements


def bias_curve(crossers: Mapping[str, Sequence[float]], bounds: Sequence[int] = BOUNDS) -> list[Bias]:
    """The bias of each bound for each distribution of movements; the last quarter by Simpson's rule."""
    curve = []
    for name, shares in crossers.items():
        for k in bounds:
            points = [undercount_at(shares, k, 0.75 + step / 32) for step in range(9)]
            weights = [1, 4, 2, 4, 2, 4, 2, 4, 1]
            late = sum(w * point for w, point in zip(weights, points, strict=True)) / sum(weights)
            curve.append(Bias(name, k, undercount(shares, k), late))
    return curve


def _poisson(mean: float) -> list[float]:
    """At least one movement; the others come by chance, `mean` - 1 of them on average."""
    return [0.0, *(math.exp(1 - mean) * (mean - 1) ** n / math.factorial(n) for n in range(_MOST))]


def _geometric(mean: float) -> list[float]:
    """At least one movement, and after each another one with the same chance: a long tail."""
    return [0.0, *((1 / mean) * (1 - 1 / mean) ** n for n in range(_MOST * 4))]


def _mixed(parts: Mapping[float, Sequence[float]]) -> list[float]:
    longest = max(len(shares) for shares in parts.values())
    return [sum(part * (shares[n] if n < len(shares) else 0) for part, shares in parts.items()) for n in range(longest)]


_TRADERS = _geometric(3.0)
CROSSERS: Final[Mapping[str, Sequence[float]]] = {
    "there and back once a day": [0.0, 1.0],
    "now and then twice (mean 1.2)": _poisson(1.2),
    "traders (mean 3, long tail)": _TRADERS,
    "drivers and porters (mean 6)": _poisson(6.0),
    "90 % once, 8 % traders, 2 % drivers": _mixed({0.9: [0.0, 1.0], 0.08: _TRADERS, 0.02: _poisson(6.0)}),
}
"""Movements per device, direction and token-day of people who cross differently; assumptions, not measurements."""
