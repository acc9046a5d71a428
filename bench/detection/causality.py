"""Whether a method looks ahead: what comes after an hour is shuffled, and the hour's score must stay as it was."""

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from bench.detection.methods import KEY, Scorer
from bench.detection.planting import HOUR_SPAN
from bench.detection.worlds import World


def with_shuffled_future(world: World, after: datetime, *, seed: int) -> World:
    """The world whose hours after an instant are in another order; keys and sectors stay."""
    history = world.history.sort(KEY)
    hours = history["window_start"].unique().sort()
    later = hours.filter(hours > after)
    shuffled = later.gather(np.random.default_rng(seed).permutation(later.len()))
    moved = pl.DataFrame({"window_start": later, "_to": shuffled})
    mixed = (
        history.join(moved, on="window_start", how="left", maintain_order="left")
        .with_columns(pl.coalesce("_to", "window_start").alias("window_start"))
        .drop("_to")
        .sort(KEY)
    )
    return replace(world, history=mixed)


def looks_ahead(scorer: Scorer, world: World, at: datetime, *, seed: int = 0) -> bool:
    """Whether any score up to an instant changes when all that comes after it is shuffled."""
    first = max(world.hold_until, at - 48 * HOUR_SPAN)

    def scores(of: World) -> pl.DataFrame:
        asked = scorer(of, first, of.last_window).filter(pl.col("window_start") <= at)
        return asked.select(*KEY, "score", "expected").sort(KEY)

    before, after = scores(world), scores(with_shuffled_future(world, at, seed=seed))
    if before.select(KEY).rows() != after.select(KEY).rows():
        return True
    return not all(
        np.allclose(before[name].to_numpy(), after[name].to_numpy(), rtol=1e-9, atol=1e-9)
        for name in ("score", "expected")
    )
