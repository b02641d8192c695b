"""The direct method's model: how often each item is clicked, and how much each slot adds to that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 20
"""Of fitting items and slots in turn."""

_PRIOR = 1.0
"""Showings that each item's rate is drawn towards the mean by."""


@dataclass(frozen=True)
class ClickRates:
    """A click's probability as the item's rate times the slot's factor (position-based), the same for all users.

    Attributes:
        items: float64 ``(num_items,)``, ≥ 0.
        slots: float64 ``(slate_size,)``, ≥ 0; the largest is 1.
    """

    items: NDArray[np.float64]
    slots: NDArray[np.float64]

    @classmethod
    def fit(
        cls,
        slates: NDArray[np.integer],
        clicks: NDArray[np.float64],
        known: NDArray[np.bool_],
        num_items: int,
    ) -> Self:
        """Match the clicks of each item and of each slot, in turn.

        Args:
            slates: Items shown, ``(impressions, slate_size)``.
            clicks: On them, 0 or 1, likewise.
            known: Which slots are known to have shown their item, likewise.
            num_items: Items in the catalogue.
        """
        factors = known.mean(axis=0)
        factors = np.divide(clicks.mean(axis=0), factors, out=np.zeros_like(factors), where=factors > 0)
        shown = slates.ravel()
        clicked = np.bincount(shown, (clicks * known).ravel(), num_items)
        items = np.zeros(num_items)
        for _ in range(_ROUNDS):
            factors = factors / max(factors.max(), np.finfo(float).tiny)
            exposure = np.bincount(shown, (factors * known).ravel(), num_items)
            mean = clicked.sum() / max(exposure.sum(), np.finfo(float).tiny)
            items = (clicked + _PRIOR * mean) / (exposure + _PRIOR)
            expected = (items[slates] * known).sum(axis=0)
            factors = np.divide(
                (clicks * known).sum(axis=0), expected, out=np.zeros_like(factors), where=expected > 0
            )
        top = max(factors.max(), np.finfo(float).tiny)
        return cls(items * top, factors / top)

    def predict(self, slates: NDArray[np.integer], known: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Expected clicks in each slot, ``(impressions, slate_size)``; 0 where nothing is known to be shown."""
        found: NDArray[np.float64] = np.minimum(self.items[slates] * self.slots, 1.0) * known
        return found
