"""What every estimator makes of a log: terms whose means give the estimate, and whose spread gives its interval."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.threads import one_thread

LARGEST_WEIGHT = 1e130
"""Weights are cut here at the latest, so that sums of their squares stay finite."""


@dataclass(frozen=True)
class Terms:
    """An estimate as a sum of ratios of means: Σⱼ mean(numerators[:, j]) / mean(denominators[:, j]) · mean(lengths).

    A row is an impression or a session. Most estimators are one mean; self-normalised ones are ratios.

    Attributes:
        numerators: float64 ``(rows, J)``.
        denominators: float64 ``(rows, J)``, ≥ 0; None where all are 1.
        weights: The importance weights that are in the terms, float64 ``(rows, C)``, a column for each slot or step;
            None where there are none.
        ratios: What is cut at ``clip``, and 0 where the target could not show what was logged, if these are not the
            weights themselves; likewise.
        lengths: Of sessions whose impressions the ratios are about, float64 ``(rows,)``; None where all are 1.
    """

    numerators: NDArray[np.float64]
    denominators: NDArray[np.float64] | None
    weights: NDArray[np.float64] | None
    ratios: NDArray[np.float64] | None = None
    lengths: NDArray[np.float64] | None = None

    @property
    def cut(self) -> NDArray[np.float64] | None:
        """What is cut: the ratios, or else the weights; float64 ``(rows, C)``."""
        return self.weights if self.ratios is None else self.ratios

    @property
    def value(self) -> float:
        """The estimate."""
        return float(self.resampled(np.ones((1, len(self.numerators))))[0])

    @property
    def values(self) -> NDArray[np.float64]:
        """A value for each row whose mean is the estimate, ``(rows,)``; for ratios by linearisation (delta method)."""
        if self.denominators is None:
            found: NDArray[np.float64] = self.numerators.sum(axis=1)
            return found
        means = self.denominators.mean(axis=0)
        ratios = _divided(self.numerators.mean(axis=0), means)
        found = _divided(self.numerators - ratios * self.denominators, means).sum(axis=1)
        if self.lengths is None:
            return np.asarray(found + ratios.sum())
        return np.asarray(found * self.lengths.mean() + ratios.sum() * self.lengths)

    @one_thread()
    def resampled(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Estimates of samples in which each row stands some times.

        Args:
            counts: How often, ``(samples, rows)``.

        Returns:
            float64 ``(samples,)``.
        """
        rows = counts.sum(axis=1, keepdims=True)
        denominators = rows if self.denominators is None else counts @ self.denominators
        found: NDArray[np.float64] = _divided(counts @ self.numerators, denominators).sum(axis=1)
        return found if self.lengths is None else found * (counts @ self.lengths) / rows[:, 0]

    def by_session(self, session: NDArray[np.int64]) -> Terms:
        """The same estimate for a whole session, rows being impressions: what sessions of the log's mean length earn.

        Args:
            session: The session of each impression, int64 ``(rows,)``, each number from 0 at least once.

        Returns:
            Terms with a row for each session. The impressions of a session depend on one another, so that intervals
            are made of sessions.
        """
        rows = np.flatnonzero(np.diff(session, prepend=-1))
        numerators = np.add.reduceat(self.numerators, rows)
        if self.denominators is None:
            return replace(self, numerators=numerators)
        denominators = np.add.reduceat(self.denominators, rows)
        lengths = np.bincount(session).astype(np.float64)
        return replace(self, numerators=numerators, denominators=denominators, lengths=lengths)


def importance_ratios(
    target: NDArray[np.float64], logging: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """How much more likely each shown item is under the target policy than under the logging policy.

    Args:
        target: Probabilities of the shown items, in [0, 1].
        logging: Likewise of the logging policy, of the same shape.
        known: Which slots are known to have shown their item; the ratio is 1 in the others.

    Raises:
        ValueError: A probability of the logging policy is 0 or NaN or above 1, though its item was shown.
    """
    wrong = known & ~((logging > 0) & (logging <= 1))
    if wrong.any():
        place = tuple(int(one) for one in np.argwhere(wrong)[0])
        raise ValueError(
            f"logging: probabilities of what was shown must be in (0, 1], got {logging[place]} at {place} "
            f"({wrong.sum():,} such slots)"
        )
    return np.divide(target, logging, out=np.ones_like(logging), where=known)


def products(ratios: NDArray[np.float64], clip: float = LARGEST_WEIGHT) -> NDArray[np.float64]:
    """Products of ratios with all those before them on the last axis, cut at ``clip``; of the same shape."""
    with np.errstate(divide="ignore"):
        logarithms = np.cumsum(np.log(ratios), axis=-1)
    found: NDArray[np.float64] = np.exp(np.minimum(logarithms, np.log(min(clip, LARGEST_WEIGHT))))
    return found


def _divided(numbers: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """A quotient that is 0 where both are: a bootstrap sample may hold no session that reaches the last steps."""
    found: NDArray[np.float64] = np.divide(
        numbers, by, out=np.zeros(np.broadcast_shapes(numbers.shape, by.shape)), where=by > 0
    )
    return found
