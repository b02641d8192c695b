"""How far to trust an estimate: a bootstrap interval, a bound for choosing, and diagnostics of its weights.

Student's t-interval is :func:`gems_gym.common.arrays.t_interval` of :attr:`~gems_gym_agents.ope.terms.Terms.values`.
"""

from __future__ import annotations

from collections.abc import Iterator
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


class Resamples:
    """Samples of rows with replacement, the same for all estimates of a log, so that their intervals are paired.

    Args:
        rows: How many there are to draw from.
        seed: Seed of the draws.
    """

    def __init__(self, rows: int, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._at_once = max(1, _COUNTS_AT_ONCE // rows)
        self._kept = [*self._drawn()] if self._at_once >= RESAMPLES else None

    def __iter__(self) -> Iterator[NDArray[np.float64]]:
        """Yield how often each row stands in some of the samples, ``(samples, rows)``; no more than fit in memory."""
        return iter(self._kept) if self._kept is not None else self._drawn()

    def _drawn(self) -> Iterator[NDArray[np.float64]]:
        rng = np.random.default_rng(self._seed)
        for done in range(0, RESAMPLES, self._at_once):
            shape = min(self._at_once, RESAMPLES - done), self._rows
            drawn = rng.integers(self._rows, size=shape) + self._rows * np.arange(shape[0])[:, None]
            counts = np.bincount(drawn.ravel(), minlength=drawn.size)  # much faster than multinomial draws
            yield counts.reshape(shape).astype(np.float64)


def bootstrap_interval(terms: Terms, resamples: Resamples, confidence: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the estimate under samples of the rows with replacement (Efron, 1979).

    Args:
        terms: Of the estimate; rows are sessions.
        resamples: Samples of these rows.
        confidence: In (0, 1).
    """
    drawn = np.concatenate([terms.resampled(counts) for counts in resamples])
    low, high = np.quantile(drawn, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


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
        overlap: Of what was logged, the share that the target could show.
        largest_weight: The largest.
        clipped: Share of what was logged whose weights were cut.
    """

    effective_sample_size: float
    rows: int
    overlap: float
    largest_weight: float
    clipped: float

    @classmethod
    def of(cls, terms: Terms, clip: float, logged: NDArray[np.bool_] | None = None) -> Diagnostics | None:
        """Those of an estimate.

        Args:
            terms: Of the estimate, before they are summed to sessions.
            clip: Where weights were cut.
            logged: Which of the weights are of something that was logged, ``(rows, C)``; None: all.

        Returns:
            None if there are no weights.
        """
        weights, cut = terms.weights, terms.cut
        if weights is None or cut is None:
            return None
        known = cut if logged is None else cut[logged]
        scaled = weights / np.maximum(np.abs(weights).max(axis=0), np.finfo(float).tiny)
        squares = np.maximum((scaled**2).sum(axis=0), np.finfo(float).tiny)
        return cls(
            float((scaled.sum(axis=0) ** 2 / squares).min()),
            len(weights),
            float((known > 0).mean()),
            float(weights.max()),
            float((known >= clip * (1.0 - 1e-12)).mean()),
        )
