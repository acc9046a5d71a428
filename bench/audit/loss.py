"""What the noise really hides: the mechanism's loss, the sampler's shape, and whether a member can be told."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy.stats import beta, chisquare, norm, rankdata

from bench.audit.builds import HalfLow, Quieter
from bench.audit.crossing import counted, restless, sightings
from bench.audit.drawing import BASE, Effect, Floats, Scores, drawers, pieces, score_runs
from bench.audit.finding import Broken, Finding, Size
from ingest.release import Level
from privacy.draw import draw_hour
from privacy.mechanism import DiscreteGaussian
from privacy.policy import MAX_RHO_DAY, ReleasePolicy

SURE = 0.95
"""That the lower bound lies below the true mu."""
MAX_AUC = 0.57
LEAST_P = 1e-4
_MOST_CELLS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Build:
    """A mechanism and how it counts a device: the product's, or one without a guard. Which share of the runs it needs."""

    name: str
    noise: type[DiscreteGaussian]
    effect: Effect
    share: float = 1.0


def claimed_mu(rho: float) -> float:
    """mu of Gaussian differential privacy for a budget: sqrt(2 rho)."""
    return float(np.sqrt(2 * rho))


@lru_cache(maxsize=1)
def builds() -> tuple[Build, ...]:
    """The product, and three builds that lose more; what each counts of a device comes from `advance`."""
    k = ReleasePolicy().k
    five, twenty = (sightings(restless(b"t" * 16, number)) for number in (2 * k + 1, 10 * k))
    bounded, unbounded = (Effect.of(counted(five, k=bound)[0]) for bound in (k, k + 1))
    forgetful = Effect.of(counted(twenty, k=k, forgets_at=(4, 8, 12, 16, 20))[0])
    return (
        Build("product", DiscreteGaussian, bounded),
        Build("sigma 5 % low", Quieter, bounded),
        Build("a fifth contribution", DiscreteGaussian, unbounded, share=0.25),
        Build("counters lost every four hours", DiscreteGaussian, forgetful, share=0.1),
    )


@lru_cache(maxsize=2)
def scores(size: Size) -> dict[str, tuple[Scores, Scores]]:
    """Of every build the scores of the runs without and with the device."""
    found = {}
    with drawers(size.workers) as run:
        for build in builds():
            parts = pieces(size.share(build.share, 2_500))
            both = []
            for present in (False, True):
                job = partial(_scored, build.noise, build.effect, present)
                drawn = run(job, [(part,) for part in parts])
                both.append(Scores(np.concatenate([s.hours for s in drawn]), np.concatenate([s.joint for s in drawn])))
            found[build.name] = (both[0], both[1])
    return found


def _scored(noise: type[DiscreteGaussian], effect: Effect, present: bool, runs: int) -> Scores:
    return score_runs(noise(ReleasePolicy()), effect, runs, present=present)


def mu_lower_bound(without: Floats, with_it: Floats, threshold: float) -> float:
    """The mu that the two samples prove, at SURE confidence, by one test that was fixed before they were drawn.

    A mechanism of mu-GDP lets no test have a rate a of false and b of missed alarms with z(1 - a) - z(b) > mu (Dong, Roth
    and Su, 2019). Both rates are taken at the upper end of their Clopper-Pearson interval, half of the doubt for each.
    """
    doubt = (1 - SURE) / 2
    false_alarms = _at_most(int((without >= threshold).sum()), len(without), doubt)
    missed = _at_most(int((with_it < threshold).sum()), len(with_it), doubt)
    return float(norm.isf(false_alarms) - norm.ppf(missed))


def _at_most(found: int, of: int, doubt: float) -> float:
    """The upper end of the one-sided Clopper-Pearson interval of a rate."""
    return float(beta.ppf(1 - doubt, found + 1, of - found)) if found < of else 1.0


def _bound(build: Build, both: tuple[Scores, Scores], pick: Callable[[Scores], Floats], *, levels: Any) -> float:
    """The lower bound with the attacker's threshold half-way between the expected scores, as the policy states them."""
    policy = ReleasePolicy()
    sigmas = {level: policy.sigma_at(level) if level in levels else np.inf for level in Level}
    return mu_lower_bound(pick(both[0]), pick(both[1]), build.effect.mu(sigmas) ** 2 / 2)


def mechanism_loss(size: Size) -> Finding:
    """The loss of one device-day on all three levels together, as a lower bound of mu."""
    return _loss(size, "mechanism loss, all three levels", lambda s: s.joint, tuple(Level), MAX_RHO_DAY)


def mechanism_loss_hours(size: Size) -> Finding:
    """The loss of one device-day on the zone-hours alone."""
    return _loss(
        size,
        "mechanism loss, zone-hours",
        lambda s: s.hours,
        (Level.ZONE_HOUR,),
        ReleasePolicy().rho_at(Level.ZONE_HOUR),
    )


def _loss(size: Size, attack: str, pick: Callable[[Scores], Floats], levels: Any, rho: float) -> Finding:
    claim, drawn = claimed_mu(rho), scores(size)
    bounds = {build.name: _bound(build, drawn[build.name], pick, levels=levels) for build in builds()}
    ours = bounds.pop("product")
    return Finding(
        attack,
        f"mu at least {ours:.4f} ({len(drawn['product'][0].joint):,} runs with and without)",
        f"at most sqrt(2 rho) = {claim:.4f}",
        ours <= claim,
        tuple(Broken(name, f"mu at least {bound:.4f}", bound > claim) for name, bound in bounds.items()),
        "A lower bound at 95 % confidence by one test fixed beforehand (Clopper-Pearson on both error rates); the noisy "
        "vectors of the ledger's draw functions, before threshold and estimate. Runs lie side by side in long vectors: "
        "cells are drawn apart, so that is the same measurement.",
    )


def membership(size: Size) -> Finding:
    """How well the best attacker tells a token-day with the device from one without."""
    found = {
        build.name: _auc(drawn[0].joint, drawn[1].joint)
        for build in builds()
        if build.name != "sigma 5 % low"
        for drawn in [scores(size)[build.name]]
    }
    ours = found.pop("product")
    without, with_it = scores(size)["product"]
    seen = float((with_it.joint > np.quantile(without.joint, 0.999)).mean())
    return Finding(
        "membership, everybody else and the cells known",
        f"AUC {ours:.4f}; found {seen:.2%} at 0.1 % false alarms",
        f"AUC at most {MAX_AUC}",
        ours <= MAX_AUC,
        tuple(Broken(name, f"AUC {auc:.4f}", auc > MAX_AUC) for name, auc in found.items()),
        "In theory 0.5664 and 0.22 %; a coin has 0.5 and 0.1 %.",
    )


def _auc(without: Floats, with_it: Floats) -> float:
    ranks = rankdata(np.concatenate([without, with_it]))[len(without) :]
    return float((ranks.sum() - len(with_it) * (len(with_it) + 1) / 2) / (len(without) * len(with_it)))


def sampler(size: Size) -> Finding:
    """The noise of each level's sigma against the exact probabilities of the discrete Gaussian."""
    cells, broken = size.share(1.0, 10_000), size.share(0.25, 40_000)
    policy = ReleasePolicy()
    levels = {policy.sigma_at(level): level for level in (Level.ZONE_HOUR, Level.SECTOR_DAY)}
    with drawers(size.workers) as run:
        found = {
            build.__name__: {
                sigma: _chi_square_p(
                    np.concatenate(run(partial(_noise_of, build, level), [(n,) for n in pieces(number)])), sigma
                )
                for sigma, level in levels.items()
            }
            for build, number in ((DiscreteGaussian, cells), (Quieter, broken), (HalfLow, broken))
        }
    ours = found["DiscreteGaussian"]
    caught = {"sigma 5 % low": found["Quieter"], "half a count low": found["HalfLow"]}
    return Finding(
        "sampler: chi-square against the exact discrete Gaussian",
        ", ".join(f"p {p:.3f} at sigma {sigma}" for sigma, p in ours.items()) + f" ({cells:,} cells each)",
        f"p above {LEAST_P}",
        min(ours.values()) > LEAST_P,
        tuple(
            Broken(name, f"p {min(by_sigma.values()):.1e}", min(by_sigma.values()) <= LEAST_P)
            for name, by_sigma in caught.items()
        ),
    )


def _noise_of(build: type[DiscreteGaussian], level: Level, cells: int) -> Floats:
    noise = build(ReleasePolicy(), level)
    drawn = [draw_hour([BASE] * n, noise).noisy for n in pieces(cells, _MOST_CELLS_AT_ONCE)]
    return np.concatenate(drawn).astype(float) - BASE


def _chi_square_p(noise: Floats, sigma: float) -> float:
    """The p-value of Pearson's test; values so rare that fewer than ten are expected are put together at each end."""
    reach = int(12 * sigma)
    values = np.arange(-reach, reach + 1)
    weights = np.exp(-(values.astype(float) ** 2) / (2 * sigma**2))
    expected = len(noise) * weights / weights.sum()
    inner = values[expected >= 10]
    low, high = inner[0], inner[-1]
    binned = np.clip(noise, low - 1, high + 1).astype(int) - (low - 1)
    met = np.bincount(binned, minlength=high - low + 3)
    due = np.concatenate([[expected[values < low].sum()], expected[expected >= 10], [expected[values > high].sum()]])
    return float(chisquare(met, due).pvalue)
