"""Statistics of agents that were trained several times in several worlds.

Scores are in strata, a world each, whose numbers are those of its runs, one a seed. Intervals are 95 % percentile
intervals of a bootstrap that is stratified: it draws the runs of each world anew, and leaves the worlds as they are, so
an interval says how a number would vary with other seeds in these worlds. That, and the interquartile mean and the
probability of improvement, are as recommended by Agarwal et al., NeurIPS 2021 (arXiv 2108.13264).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap, trim_mean, wilcoxon

Strata: TypeAlias = Sequence[NDArray[np.float64]]
"""Scores ``(num_runs,)`` of each world; worlds may differ in their number of runs, and every run counts alike."""

RESAMPLES = 2_000
"""Of a bootstrap."""


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval.

    Attributes:
        value: The statistic of all runs.
        low: Lower end; None where a world has a single run, whose spread nobody knows.
        high: Upper end, likewise.
    """

    value: float
    low: float | None
    high: float | None


def interquartile_mean(scores: Strata) -> Estimate:
    """The mean of the middle half of all runs: a quarter is cut off at either end, rounded down to whole runs."""
    return _estimate(lambda *strata, axis: trim_mean(np.concatenate(strata, axis), 0.25, axis=axis), scores)


def mean(scores: Strata) -> Estimate:
    """The mean of all runs."""
    return _estimate(lambda *strata, axis: np.concatenate(strata, axis).mean(axis=axis), scores)


def probability_of_improvement(first: Strata, second: Strata) -> Estimate:
    """How likely a run of the first scores higher than one of the second in the same world, as a mean over worlds.

    A tie counts half.

    Args:
        first: Scores of an agent.
        second: Those of another one in the same worlds.
    """

    def statistic(*strata: NDArray[np.float64], axis: int) -> Any:
        pairs = zip(strata[: len(first)], strata[len(first) :], strict=True)
        signs = [np.sign(one[..., :, None] - other[..., None, :]).mean(axis=(-2, -1)) for one, other in pairs]
        return (1 + np.mean(signs, axis=0)) / 2

    return _estimate(statistic, [*first, *second])


def p_value_of_differences(differences: Strata) -> float:
    """P-value of Wilcoxon's signed-rank test that paired differences lie around 0; 1 if all are 0."""
    together = np.concatenate(differences)
    return float(wilcoxon(together).pvalue) if together.any() else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's method: those up to 0.05 hold together at the level of 5 %."""
    given = np.asarray(p_values, np.float64)
    order = np.argsort(given)
    # the smallest of n times n, the next times n - 1, …, and none below one that comes before it
    corrected = np.empty_like(given)
    corrected[order] = np.minimum(np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)), 1)
    found: list[float] = corrected.tolist()
    return found


def _estimate(statistic: Any, strata: Strata) -> Estimate:
    """A statistic of arrays along ``axis``, the last one, and what it is of resamples of each of them."""
    value = float(statistic(*strata, axis=-1))
    if min(len(one) for one in strata) < 2:
        return Estimate(value, None, None)
    low, high = bootstrap(
        strata,
        statistic,
        n_resamples=RESAMPLES,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(value, float(low), float(high))
