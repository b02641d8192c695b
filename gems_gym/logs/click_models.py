"""Click models fitted to logged slates, by expectation maximisation: where users look, and what attracts them.

Craswell, Zoeter, Taylor, Ramsey, *An Experimental Comparison of Click Position-Bias Models*, WSDM 2008; Chuklin,
Markov, de Rijke, *Click Models for Web Search*, 2015.

Both smooth in the same way: an item counts as if it had been looked at :data:`PRIOR` times more, and attracted as the
mean of all items does, which is also what an item is given that no session showed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gems_gym.artifacts import save_artifact
from gems_gym.logs.sessions import ShownSlates

PRIOR = 2.0
"""Looks at an average item that each item, and each position, is smoothed by."""

_MOST_STEPS, _TOLERANCE = 2_000, 1e-5
_LEAST = 1e-7
"""How near to 0 and 1 a probability may come that is scored."""


class FittedClickModel(Protocol):
    """What was fitted, and can be scored on other logs."""

    def losses(self, log: ShownSlates) -> NDArray[np.float64]:
        """Negative log-likelihood of the clicks on each slate, nats, ``(num_slates,)``."""

    def save(self, path: Path, header: dict[str, Any]) -> str:
        """Write an artefact ``click_model/NAME``; returns its sha256."""


@dataclass(frozen=True)
class PositionBased:
    """Clicks at a position with its propensity times the item's attractiveness, whatever else is clicked.

    Attributes:
        propensities: float64 ``(slate_size,)``: how likely users look at each position. Only their ratios can be
            learned from clicks: the largest is 1. A position that was never used has that of an average one.
        attractiveness: float64 ``(num_items,)``: how likely a user who looks at an item clicks it.
    """

    propensities: NDArray[np.float64]
    attractiveness: NDArray[np.float64]

    @classmethod
    def fit(cls, log: ShownSlates) -> PositionBased:
        """Fit to sessions with a click: what counts is how often each item was shown and clicked at each position."""
        positions, items, shown, clicks = _cells(log)
        num_positions, num_items = log.slates.shape[1], log.num_items

        def by_position(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return _sums(positions, values, num_positions)

        def by_item(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return _sums(items, values, num_items)

        shown_at, shown_of = by_position(shown), by_item(shown)
        # where all begin at 1, the step below leaves them there
        propensities = np.full(num_positions, 0.5)
        attractiveness = np.full(num_items, min(2 * clicks.sum() / shown.sum(), 0.5))
        for _ in range(_MOST_STEPS):
            looked, attracted = propensities[positions], attractiveness[items]
            passed = (shown - clicks) / (1 - looked * attracted)  # shown without a click, by its probability
            before = propensities / propensities.max()
            propensities = _smoothed(by_position(clicks + passed * looked * (1 - attracted)), shown_at)
            attractiveness = _smoothed(by_item(clicks + passed * attracted * (1 - looked)), shown_of)
            if np.abs(propensities / propensities.max() - before).max() < _TOLERANCE:
                break
        scale = propensities.max()
        return cls(propensities / scale, attractiveness * scale)

    @classmethod
    def of_positions(cls, log: ShownSlates) -> PositionBased:
        """The click rate of each position, whatever is shown there."""
        shown, clicks = log.shown.sum(axis=0), log.clicks.sum(axis=0)
        return cls(_smoothed(clicks.astype(np.float64), shown.astype(np.float64)), np.ones(log.num_items))

    @classmethod
    def of_clicks(cls, log: ShownSlates) -> PositionBased:
        """The same click rate everywhere."""
        rate = log.clicks.sum() / log.shown.sum()
        return cls(np.full(log.slates.shape[1], rate), np.ones(log.num_items))

    def losses(self, log: ShownSlates) -> NDArray[np.float64]:
        """Negative log-likelihood of the clicks on each slate, nats, ``(num_slates,)``."""
        return click_losses(self.predict(log.slates), log)

    def predict(self, slates: NDArray[np.integer]) -> NDArray[np.float64]:
        """Probabilities of clicks, ``(num_slates, slate_size)``; where nothing is shown (-1) they mean nothing."""
        found: NDArray[np.float64] = self.propensities * self.attractiveness[slates]
        return found

    def save(self, path: Path, header: dict[str, Any]) -> str:
        """Write an artefact ``click_model/position_based``; returns its sha256."""
        tensors = {"propensities": self.propensities, "attractiveness": self.attractiveness}
        return save_artifact(path, "click_model/position_based", tensors, header)


@dataclass(frozen=True)
class Cascade:
    """Users look at one item after the other, from the top, and may leave after a click.

    With ``continuation`` 0 it is the cascade model of Craswell et al.; users who click several items of a slate are
    those of the dependent click model (Guo, Liu, Wang, *Efficient Multiple-Click Models in Web Search*, WSDM 2009),
    here with one number for all positions.

    Attributes:
        continuation: How likely a user who clicked looks at the next item.
        attractiveness: float64 ``(num_items,)``: how likely a user who looks at an item clicks it.
    """

    continuation: float
    attractiveness: NDArray[np.float64]

    @classmethod
    def fit(cls, log: ShownSlates) -> Cascade:
        """Fit to sessions with a click: what is not known is who looked on after the last click on a slate."""
        view, slates, num_items = _Viewed.of(log), log.slates, log.num_items
        clicked = _sums(slates[log.clicks > 0], None, num_items)
        seen = _sums(slates[view.seen], None, num_items)
        below = slates[view.maybe]  # the items below a last click
        _, slate = np.unique(np.nonzero(view.maybe)[0], return_inverse=True)  # whose slates are numbered
        went_on = float(clicked.sum() - (log.clicks > 0).any(axis=1).sum())
        continuation, attractiveness = 0.5, _smoothed(clicked, seen)
        for _ in range(_MOST_STEPS):
            before = continuation
            on = continuation * np.exp(_sums(slate, np.log1p(-attractiveness[below])))
            looked = on / (1 - continuation + on)  # below the last click, given that nothing is clicked there
            attractiveness = _smoothed(clicked, seen + _sums(below, looked[slate], num_items))
            # uniform before any slate is seen
            continuation = float((went_on + looked.sum() + 1) / (went_on + len(looked) + 2))
            if abs(continuation - before) < _TOLERANCE:
                break
        return cls(continuation, attractiveness)

    def losses(self, log: ShownSlates) -> NDArray[np.float64]:
        """Negative log-likelihood of the clicks on each slate, nats, ``(num_slates,)``."""
        view = _Viewed.of(log)
        attracted = self.attractiveness[log.slates]
        found = click_losses(attracted, log, view.seen)
        found -= np.maximum(log.clicks.sum(axis=1) - 1, 0) * np.log(self.continuation)
        passed = np.exp(np.where(view.maybe, np.log1p(-attracted), 0).sum(axis=1))
        found -= np.log(1 - self.continuation * (1 - passed))
        return found

    def save(self, path: Path, header: dict[str, Any]) -> str:
        """Write an artefact ``click_model/cascade``; returns its sha256."""
        tensors = {"continuation": np.array([self.continuation]), "attractiveness": self.attractiveness}
        return save_artifact(path, "click_model/cascade", tensors, header)


@dataclass(frozen=True)
class _Viewed:
    """What a user who reads from the top has looked at.

    Attributes:
        seen: All down to the last click, or all where nothing was clicked, bool ``(num_slates, slate_size)``.
        maybe: What was shown below the last click, bool, same shape.
    """

    seen: NDArray[np.bool_]
    maybe: NDArray[np.bool_]

    @classmethod
    def of(cls, log: ShownSlates) -> _Viewed:
        from_here = np.cumsum(log.clicks[:, ::-1], axis=1)[:, ::-1]  # clicks in this slot and below
        seen = log.shown & ((from_here > 0) | (from_here[:, :1] == 0))
        return cls(seen, log.shown & ~seen)


def click_losses(
    probabilities: NDArray[np.floating[Any]],
    log: ShownSlates,
    where: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Negative log-likelihood of the clicks on each slate.

    Args:
        probabilities: Of a click in each slot, ``(num_slates, slate_size)``.
        log: What was shown and clicked.
        where: The slots that count, bool, same shape; None: all that were shown.

    Returns:
        Nats, ``(num_slates,)``.
    """
    likely = np.clip(probabilities.astype(np.float64), _LEAST, 1 - _LEAST)
    losses = -np.where(log.clicks > 0, np.log(likely), np.log1p(-likely))
    found: NDArray[np.float64] = np.where(log.shown if where is None else where, losses, 0).sum(axis=1)
    return found


def comparable_positions(log: ShownSlates) -> list[list[int]]:
    """Positions in groups, by 0-based index, whose propensities can be compared, since they share items.

    What a position-based model says of two positions in different groups rests on its smoothing alone.
    """
    positions, items, _, _ = _cells(log)
    count = log.slates.shape[1]
    size = count + log.num_items
    edges = sparse.coo_array((np.ones(len(items)), (positions, count + items)), shape=(size, size))
    _, group = sparse.csgraph.connected_components(edges, directed=False)
    used = np.unique(positions)
    return [used[group[used] == one].tolist() for one in dict.fromkeys(group[used].tolist())]


def _cells(
    log: ShownSlates,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Positions and items that occur together, how often the item was shown there, and how often clicked."""
    rows, positions = np.nonzero(log.shown)
    pairs, cell = np.unique(positions * log.num_items + log.slates[rows, positions], return_inverse=True)
    clicks = _sums(cell, log.clicks[rows, positions])
    return pairs // log.num_items, pairs % log.num_items, _sums(cell), clicks


def _sums(index: NDArray[Any], values: NDArray[Any] | None = None, size: int = 0) -> NDArray[np.float64]:
    """The sum of the values of each index, or how often it is there; as many as ``size``, or more."""
    return np.bincount(index, values, size).astype(np.float64, copy=False)


def _smoothed(successes: NDArray[np.float64], trials: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rates, drawn to the mean of all by :data:`PRIOR` trials."""
    mean = min(successes.sum() / trials.sum(), 1 - _LEAST)  # so that nothing is certain
    found: NDArray[np.float64] = (successes + PRIOR * mean) / (trials + PRIOR)
    return found
