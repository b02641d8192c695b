"""How far to trust an estimate: a bootstrap interval, a bound for choosing, and diagnostics of its weights.

Student's t-interval is :func:`gems_gym.common.arrays.t_interval` of :attr:`~gems_gym_agents.ope.terms.Terms.values`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import t_interval
from gems_gym_agents.ope.terms import Terms

RESAMPLES = 1_000
"""Of a bootstrap."""

_COUNTS_AT_ONCE = 10**7
"""Numbers of a bootstrap that are held in memory."""

_CUTS = 2.0 ** np.arange(24)
"""Where values are cut for the lower bound; fixed before any data are seen, as the bound requires."""


def bootstrap_interval(
    terms: Terms, rng: np.random.Generator, confidence: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of the estimate under samples of the rows with replacement (Efron, 1979).

    Args:
        terms: Of the estimate; rows are sessions.
        rng: Draws the samples.
        confidence: In (0, 1).
    """
    rows = len(terms.numerators)
    at_once = max(1, _COUNTS_AT_ONCE // rows)
    drawn = [
        terms.resampled(_counts(min(at_once, RESAMPLES - done), rows, rng))
        for done in range(0, RESAMPLES, at_once)
    ]
    tails = np.array([0.5 - confidence / 2, 0.5 + confidence / 2])
    low, high = np.quantile(np.concatenate(drawn), tails)
    return float(low), float(high)


def _counts(samples: int, rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each row is drawn, ``(samples, rows)``; much faster than multinomial draws."""
    drawn = rng.integers(rows, size=(samples, rows)) + rows * np.arange(samples)[:, None]
    return np.bincount(drawn.ravel(), minlength=samples * rows).reshape(samples, rows).astype(np.float64)


def empirical_bernstein(values: NDArray[np.float64], largest: float, confidence: float = 0.95) -> float:
    """A number that the mean is above with this confidence, whatever the distribution on [0, largest].

    Theorem 4 of Maurer and Pontil, "Empirical Bernstein Bounds and Sample Variance Penalization", COLT 2009
    (arXiv 0907.3740).

    Args:
        values: Independent draws in [0, largest], at least two.
        largest: What none of them can exceed.
        confidence: In (0, 1).
    """
    count, logarithm = len(values), np.log(2.0 / (1.0 - confidence))
    spread = np.sqrt(2.0 * values.var(ddof=1) * logarithm / count)
    return float(values.mean() - spread - 7.0 * largest * logarithm / (3.0 * (count - 1)))


def lower_bound(terms: Terms, non_negative: bool, confidence: float = 0.95) -> tuple[float, str]:
    """What the estimate is above with this confidence, and by which bound: what policies are chosen by.

    A mean of values that are ≥ 0 can only fall if they are cut, so that the bound of the cut values holds for it; of
    several cuts the best one is taken, each with its share of the confidence (after Thomas et al., "High Confidence
    Off-Policy Evaluation", AAAI 2015). Other estimates get the lower end of a one-sided t-interval, which holds for
    large samples only.

    Args:
        terms: Of the estimate; rows are sessions.
        non_negative: Whether the estimate is a mean of values that are ≥ 0 whatever the log is.
        confidence: In (0, 1).
    """
    values = terms.values
    if not non_negative:
        return float(values.mean()) - t_interval(values, 2.0 * confidence - 1.0), "t"
    each = 1.0 - (1.0 - confidence) / len(_CUTS)
    bounds = [empirical_bernstein(np.minimum(values, cut), float(cut), each) for cut in _CUTS]
    return max(0.0, *bounds), "empirical Bernstein"


@dataclass(frozen=True)
class Diagnostics:
    """What the weights of an estimate say about it; those of slots or steps are looked at column by column.

    Attributes:
        effective_sample_size: Rows that equal weights would need for the same variance, in the worst column:
            (Σw)² / Σw² (Kish, 1965).
        rows: Impressions, or sessions.
        overlap: Share of the weights that are above 0: of what was logged, what the target could show.
        largest_weight: The largest.
        clipped: Share of the weights that were cut.
    """

    effective_sample_size: float
    rows: int
    overlap: float
    largest_weight: float
    clipped: float

    @classmethod
    def of(cls, weights: NDArray[np.float64], clip: float) -> Diagnostics:
        """Those of weights ``(rows, C)`` that were cut at ``clip``."""
        scaled = weights / np.maximum(weights.max(axis=0), np.finfo(float).tiny)
        squares = np.maximum((scaled**2).sum(axis=0), np.finfo(float).tiny)
        return cls(
            float((scaled.sum(axis=0) ** 2 / squares).min()),
            len(weights),
            float((weights > 0).mean()),
            float(weights.max()),
            float((weights >= clip * (1.0 - 1e-12)).mean()),
        )
