"""What is expected of a zone-hour, and how sure that is: levels, moved by a reaction, corrected by trees, with a spread.

Learned in this order (`learn_expectation`, then `learn_spread` on hours that the expectation has not seen) and served in the
same (`expected_rows`, `with_spread`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from detector.features import cells_of
from detector.likelihood import Dispersion, Floats, estimate_dispersion
from detector.model import contributions, predict, train_booster
from detector.reaction import Reaction, Uncertainty, fit_reaction, fit_uncertainty

REACTION_ROWS: Final = 100_000
SPREAD_ROWS: Final = 150_000
RARE_WEIGHT: Final = 4.0  # of days near a feast or a festival in a sample of rows to learn from
_RARE_LUNAR_DAYS, _RARE_SECTOR, _RARE_OWN = 17, 0.35, 0.5
_BUSY: Final = 30.0  # movements an hour: below, the known noise hides the spread of the counts
_CALM_SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Expectation:
    """A reaction and the trees that correct it."""

    reaction: Reaction
    booster: Any

    def rows(self, table: pl.DataFrame) -> pl.DataFrame:
        """A table with FEATURES, with `level` where the reaction takes it, `log_move` and `expected`."""
        moved = self.reaction.moved(table)
        return moved.with_columns(pl.Series("expected", predict(self.booster, moved)))

    def contributions(self, table: pl.DataFrame) -> dict[str, Floats]:
        """What each feature adds to the log of the expected count of rows that `rows` gave, over their plain level.

        What the zone remembers of the feast is part of its plain level and told as `remembered`.
        """
        parts = contributions(self.booster, table)
        for name, values in self.reaction.contributions(table).items():
            parts[name] = parts[name] + values
        parts["remembered"] = parts["remembered"] + table["remembered"].cast(pl.Float64).to_numpy()
        return parts


def learn_expectation(
    table: pl.DataFrame, shares: Sequence[float], dispersion: Dispersion, *, seed: int, rounds: int
) -> Expectation:
    """The expectation that rows with FEATURES teach."""
    few = sample(table, REACTION_ROWS, np.random.default_rng(seed))
    reaction = fit_reaction(few, cells_of(few, shares), dispersion)
    moved = reaction.moved(table)
    return Expectation(reaction, train_booster(moved, cells_of(moved, shares), dispersion, seed=seed, rounds=rounds))


def learn_spread(unseen: pl.DataFrame, shares: Sequence[float], *, seed: int) -> tuple[Uncertainty, Dispersion]:
    """How wrong an expectation may be, and the scatter of counts on calm days, from belt rows that it has not seen."""
    belt = unseen.filter(pl.col("kind") == "belt")
    belt = sample(belt, SPREAD_ROWS, np.random.default_rng(seed))
    cells = cells_of(belt, shares)
    uncertainty = fit_uncertainty(belt, cells)
    busy = belt.filter(pl.col("expected") >= _BUSY)
    if busy.is_empty():
        return uncertainty, estimate_dispersion(belt["expected"].to_numpy(), cells)
    calm = float(np.quantile(uncertainty.variance(busy), _CALM_SHARE))
    return uncertainty, Dispersion(phi=max(uncertainty.phi, 1.0), kappa=calm)


def with_spread(rows: pl.DataFrame, uncertainty: Uncertainty, dispersion: Dispersion) -> pl.DataFrame:
    """The rows with `spread`, the uncertainty of `expected` in movements: what their variance has beyond that of calm days,
    and never less than what their level leaves open."""
    beyond = np.sqrt(np.maximum(uncertainty.variance(rows) - dispersion.kappa, 0.0))
    of_level = np.minimum(rows["level_spread"].cast(pl.Float64).to_numpy(), 1.0)
    return rows.with_columns((pl.col("expected") * pl.Series(np.maximum(beyond, of_level))).alias("spread"))


def sample(table: pl.DataFrame, rows: int, random: np.random.Generator) -> pl.DataFrame:
    """At most so many rows, in order; those of rare days RARE_WEIGHT times as likely.

    What is rare is told by features alone, so what is expected given them stays what it is.
    """
    if table.height <= rows:
        return table
    rare = (
        (pl.col("days_from_lunar_new_year").abs() <= _RARE_LUNAR_DAYS)
        | (pl.min_horizontal("days_to_holiday", "days_since_holiday") <= 1)
        | (pl.col("sector_24h").abs() > _RARE_SECTOR)
        | (pl.col("own_24h").abs() > _RARE_OWN)
    )
    weight = np.where(table.select(rare).to_series().fill_null(value=False).to_numpy(), RARE_WEIGHT, 1.0)
    return table.gather(np.sort(random.choice(table.height, rows, replace=False, p=weight / weight.sum())))


def contribution_factors(parts: Mapping[str, Floats], groups: Mapping[str, Sequence[str]]) -> dict[str, Floats]:
    """The factor of each group of features on the expected count."""
    return {group: np.exp(np.sum([parts[name] for name in names], axis=0)) for group, names in groups.items()}
