"""The slate of the highest value, given what each item and each position contribute to it.

Where clicks don't compete, a slate's value is Σ_k p_k v(i_k): p_k is how likely position k is looked at, v(i) what an
item is worth there. Its maximum over slates of different items is a linear assignment. So the three searches of Ie et
al. (2019, arXiv 1905.12767, section 5), which differ where items compete for a single click, all find a best slate
here; they differ in what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

from gems_gym.common.arrays import best_items
from gems_gym.common.compilation import compiled


def top_k(values: NDArray[np.float32], propensities: NDArray[np.float32]) -> NDArray[np.int64]:
    """The best items, the better ones at positions that are looked at more.

    Args:
        values: What each item is worth, float32 ``(num_users, num_items)``.
        propensities: How likely each position is looked at, float32 ``(slate_size,)``, ≥ 0; at most as many as items.

    Returns:
        Slates, int64 ``(num_users, slate_size)``; of equal items the lower id stands first.
    """
    slates = np.empty((len(values), len(propensities)), np.int64)
    slates[:, _most_seen_first(propensities)] = _best_of_rows(values, len(propensities))
    return slates


def greedy(values: NDArray[np.float32], propensities: NDArray[np.float32]) -> NDArray[np.int64]:
    """Position by position, most looked at first, the item that adds most; arguments as of :func:`top_k`."""
    left, users = values.copy(), np.arange(len(values))
    slates = np.empty((len(values), len(propensities)), np.int64)
    for position in _most_seen_first(propensities):
        slates[:, position] = left.argmax(axis=1)
        left[users, slates[:, position]] = -np.inf
    return slates


def linear_program(values: NDArray[np.float32], propensities: NDArray[np.float32]) -> NDArray[np.int64]:
    """The linear program over shares of items in positions, user by user; arguments as of :func:`top_k`.

    Its vertices are slates, so the simplex method ends in one. In a world of 1,000 items it takes some thousand times
    as long as the other two.
    """
    num_items, slate_size = values.shape[1], len(propensities)
    one_item = sparse.kron(np.ones((1, num_items)), sparse.eye(slate_size))  # in each position
    one_position = sparse.kron(sparse.eye(num_items), np.ones((1, slate_size)))  # at most, for each item
    slates = np.empty((len(values), slate_size), np.int64)
    for user, worth in enumerate(values):
        shares = linprog(
            -np.outer(worth, propensities).ravel(),
            A_ub=one_position,
            b_ub=np.ones(num_items),
            A_eq=one_item,
            b_eq=np.ones(slate_size),
            method="highs-ds",
        ).x.reshape(num_items, slate_size)
        slates[user] = shares.argmax(axis=0)
    return slates


SEARCHES: Mapping[str, Callable[..., NDArray[np.int64]]] = {
    "top_k": top_k, "greedy": greedy, "lp": linear_program,
}  # fmt: skip
"""Each of :data:`SlateSearch` -> how it is done."""


def _most_seen_first(propensities: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.argsort(-propensities, kind="stable")


@compiled
def _best_of_rows(values: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    best = np.empty((values.shape[0], count), dtype=np.int64)
    for row in range(values.shape[0]):
        best_items(values[row], best[row])
    return best
