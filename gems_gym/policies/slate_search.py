"""Searching for slates by their clicks alone: many constant slates climb side by side, and tell each other what sells.

Nothing privileged is read: no relevance, no topic, no state of a user. What the search needs is to show the same
(training) users one slate after another, as any simulator can.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gems_gym.policies.paired_sessions import PairedSessions

_SWAPS = 0.1
"""Share of the candidates that swap two positions; the others replace one item."""

_RANDOM_ITEMS = 0.1
"""Share of the new items that are drawn uniformly; the others are drawn by their click rates."""

_POWER = 2.0
"""Of the click rate, in the probability that an item is drawn."""

_FIRST_SHOWN, _FIRST_CLICKED = 1.0, 0.1
"""What an item's statistics start from, in candidates that it was part of, so that items without any are tried."""


class SlateSearch:
    """Hill climbing of many constant slates at once.

    In every round each slate gets a candidate: one of its items, rather one that is clicked little, is replaced by an
    item that is clicked much in whichever slate it stood, or two positions are swapped. The candidate takes the slate's
    place if the same users, with the same randomness, click more.

    Args:
        num_items: Items in the catalogue.
        slate_size: Items in a slate, ≤ num_items.
        num_slates: Slates to climb side by side, ≥ 1.
        rng: Draws the first slates and the candidates.

    Attributes:
        slates: The slates, int64 ``(num_slates, slate_size)``; no item twice in one.
        clicks: Mean clicks a session of each on the users of the last climb, float64 ``(num_slates,)``.
    """

    def __init__(self, num_items: int, slate_size: int, num_slates: int, rng: np.random.Generator) -> None:
        self._rng = rng
        self._shown = np.full(num_items, _FIRST_SHOWN)
        self._clicked = np.full(num_items, _FIRST_CLICKED)
        self.slates = np.stack(
            [rng.choice(num_items, slate_size, replace=False) for _ in range(num_slates)]
        ).astype(np.int64)
        self.clicks = np.zeros(num_slates)

    def climb(self, users: PairedSessions, rounds: int, advance: Callable[..., None]) -> None:
        """Play rounds of candidates.

        Args:
            users: Plays the slates; as many as there are.
            rounds: Candidates of each slate; the slates themselves are played once more, at the start.
            advance: Called with the number of sessions after each round (see :func:`gems_gym.common.progress.track`).
        """
        sessions = users.num_slates * users.num_users
        by_position = users.clicks_by_position(self.slates).mean(axis=1)  # (num_slates, slate_size)
        advance(sessions)
        for _ in range(rounds):
            candidates = self._candidates(by_position)
            found = users.clicks_by_position(candidates).mean(axis=1)
            np.add.at(self._shown, candidates, 1.0)
            np.add.at(self._clicked, candidates, found)
            better = found.sum(axis=1) > by_position.sum(axis=1)
            self.slates[better], by_position[better] = candidates[better], found[better]
            advance(sessions, note=f"{by_position.sum(axis=1).mean():.1f} clicks")
        self.clicks = by_position.sum(axis=1)

    def _candidates(self, by_position: NDArray[np.float64]) -> NDArray[np.int64]:
        """One changed copy of each slate, ``(num_slates, slate_size)``."""
        rng, candidates = self._rng, self.slates.copy()
        rows, (num_slates, slate_size) = np.arange(len(candidates)), candidates.shape
        # Half of the choice of positions falls on those with few clicks. The smallest of exponential draws over
        # weights are a weighted draw without replacement (Efraimidis and Spirakis, 2006).
        weights = 1.0 / (by_position + 0.05 * by_position.mean(axis=1, keepdims=True) + 1e-3)
        weights = weights / weights.sum(axis=1, keepdims=True) + 1.0 / slate_size
        positions = np.argsort(rng.exponential(size=weights.shape) / weights, axis=1)
        first, last = positions[:, 0], positions[:, -1]
        swaps = rng.random(num_slates) < _SWAPS if slate_size > 1 else np.zeros(num_slates, bool)
        items = self._draw_items(num_slates)
        # A slate that holds the drawn item already keeps its own: no item twice.
        new = ~swaps & (candidates != items[:, None]).all(axis=1)
        candidates[rows[new], first[new]] = items[new]
        rows, first, last = rows[swaps], first[swaps], last[swaps]
        candidates[rows, first], candidates[rows, last] = self.slates[rows, last], self.slates[rows, first]
        return candidates

    def _draw_items(self, count: int) -> NDArray[np.int64]:
        """New items, ``(count,)``."""
        weights = (self._clicked / self._shown) ** _POWER
        chosen = np.searchsorted(np.cumsum(weights), self._rng.random(count) * weights.sum(), side="right")
        num_items = len(weights)
        anything = self._rng.integers(num_items, size=count)
        return np.where(self._rng.random(count) < _RANDOM_ITEMS, anything, np.minimum(chosen, num_items - 1))
