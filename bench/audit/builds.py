"""Mechanisms broken on purpose: the product's own noise with one guard taken out. Nothing but an audit draws with them."""

import secrets
from collections.abc import Sequence

from ingest.release import Level
from privacy.mechanism import DiscreteGaussian, _measurement


class Quieter(DiscreteGaussian):
    """Noise 5 % quieter than the policy says, while the cost is still reckoned from the policy."""

    def at(self, level: Level) -> DiscreteGaussian:
        return Quieter(self.policy, level)

    def draw(self, counts: Sequence[int]) -> list[int]:
        measurement = _measurement(0.95 * self.policy.sigma_at(self.level), len(counts))
        return [int(value) for value in measurement(list(counts))]


class HalfLow(DiscreteGaussian):
    """Noise of the right deviation that is half a count too low."""

    def at(self, level: Level) -> DiscreteGaussian:
        return HalfLow(self.policy, level)

    def draw(self, counts: Sequence[int]) -> list[int]:
        return [value - secrets.randbelow(2) for value in super().draw(counts)]


class OneNoise(DiscreteGaussian):
    """Every level drawn with the noise of the zone-hours: the day levels' shares of the budget are forgotten."""

    def at(self, level: Level) -> DiscreteGaussian:
        return self


class BareDays(DiscreteGaussian):
    """The day levels go into the estimates as they are counted."""

    def at(self, level: Level) -> DiscreteGaussian:
        return BareDays(self.policy, level)

    def draw(self, counts: Sequence[int]) -> list[int]:
        return super().draw(counts) if self.level is Level.ZONE_HOUR else list(counts)
