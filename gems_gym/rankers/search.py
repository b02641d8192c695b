"""How rankers find the best items for queries: among all items or, in large catalogues, among those of likely lists."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import first_unused
from gems_gym.common.products import TILE_COLUMNS, dense
from gems_gym.rankers.item_lists import ItemLists
from gems_gym.rankers.kernels import best_in_lists, best_of_each, best_per_slot, lowest_of_largest

_TOGETHER = 1024
"""Queries searched at a time: each needs some bytes for every list."""

_MANY_ITEMS = 32_768
"""Items from which on it takes less time to find candidates for the slots of many users at once than user by user."""


class ItemSearch(Protocol):
    """Finds the items with the largest dot product with a query, plus a bias; the lowest id of equals first.

    What is found for a query has the same bits whatever the others are.
    """

    def best(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Every query's best items, best first.

        Args:
            queries: float32 ``(num_queries, E)``.
            count: How many, from 1 to the number of items.

        Returns:
            Item ids ``(num_queries, count)``, none twice in a row.
        """
        ...

    def best_per_slot(self, slots: NDArray[np.float32], deduplicate: bool) -> NDArray[np.int64]:
        """Every slot's best item.

        Args:
            slots: A query for each slot, float32 ``(num_users, slate_size, E)``.
            deduplicate: Slots choose one after the other among the items that are left.

        Returns:
            Item ids ``(num_users, slate_size)``.
        """
        ...


class ExactSearch:
    """Scores all items; an :class:`ItemSearch`.

    Args:
        items: float32 ``(E, num_items)``.
        bias: float32 ``(num_items,)``, added to the dot products.
    """

    def __init__(self, items: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        self._items, self._bias = items, bias

    def best(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """See :class:`ItemSearch`."""
        return best_of_each(np.ascontiguousarray(queries), self._items, self._bias, count)

    def best_per_slot(self, slots: NDArray[np.float32], deduplicate: bool) -> NDArray[np.int64]:
        """See :class:`ItemSearch`."""
        if len(slots) > 1 and self._items.shape[1] > _MANY_ITEMS:
            return _from_candidates(self, slots, deduplicate)
        return best_per_slot(slots, self._items, self._bias, deduplicate)


class ListSearch:
    """Scores the items of likely lists only (IVF, an inverted file); an :class:`ItemSearch`.

    Scores have the bits of exact search, so where the lists that are read hold the best items, the same ones are found.

    Args:
        items: float32 ``(E, num_items)``.
        bias: float32 ``(num_items,)``: zeros, or -|item|² / 2, which makes the nearest item the best one.
        lists: Which items stand together, and how many lists are read for a query.
    """

    def __init__(self, items: NDArray[np.float32], bias: NDArray[np.float32], lists: ItemLists) -> None:
        self.lists = lists
        sizes = np.bincount(lists.of_items)
        starts = np.cumsum(sizes) - sizes
        order = np.argsort(lists.of_items, kind="stable")  # list by list, in a list by id
        self._ends = np.concatenate([[0], np.cumsum(-(-sizes // TILE_COLUMNS))])  # (num_lists + 1,): panels
        skipped = TILE_COLUMNS * self._ends[:-1] - starts  # places of panels without an item, before a list
        places = np.arange(len(order)) + np.repeat(skipped, sizes)
        panels, columns = np.divmod(places, TILE_COLUMNS)
        self._ids = np.full((self._ends[-1], TILE_COLUMNS), -1)
        self._ids[panels, columns] = order
        self._bias = np.full(self._ids.shape, -np.inf, np.float32)
        self._bias[panels, columns] = bias[order]
        self._panels = np.zeros((self._ends[-1], len(items), TILE_COLUMNS), np.float32)
        self._panels[panels, :, columns] = items.T[order]
        means, squares = (
            np.stack([np.bincount(lists.of_items, numbers**power) for numbers in items]) / sizes
            for power in (1, 2)
        )
        spreads = (squares - means**2).mean(axis=0).clip(0) ** 0.5
        if bias.any():  # a list is as near as its mean item
            list_bias, reach = -0.5 * (means**2).sum(axis=0), np.zeros(len(sizes))
        else:  # a list's best item is about two standard deviations above its mean item
            list_bias, reach = np.zeros(len(sizes)), 2 * spreads
        self._lists = np.vstack([means, reach]).astype(np.float32)  # (E + 1, num_lists)
        self._list_bias = list_bias.astype(np.float32)

    def priorities(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the lists promise, ``(num_queries, num_lists)``: those that promise most are read."""
        squares = (queries.astype(np.float64) ** 2).sum(axis=1, keepdims=True)  # float32 ends at 1e19 squared
        lengths = np.sqrt(squares).astype(np.float32)
        found: NDArray[np.float32] = dense(np.hstack([queries, lengths]), self._lists, self._list_bias)
        return found

    def best(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """See :class:`ItemSearch`; all lists are read for a query whose lists hold less than ``count`` items."""
        queries = np.ascontiguousarray(queries)
        parts = range(0, max(len(queries), 1), _TOGETHER)
        return np.concatenate([self._best(queries[first : first + _TOGETHER], count) for first in parts])

    def _best(self, queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        priorities = self.priorities(queries)
        found = self._best_in(self.lists.probes, priorities, queries, count)
        short = found[:, -1] < 0
        if short.any():
            found[short] = self._best_in(len(self._ends) - 1, priorities[short], queries[short], count)
        return found

    def _best_in(
        self, probes: int, priorities: NDArray[np.float32], queries: NDArray[np.float32], count: int
    ) -> NDArray[np.int64]:
        to_read = lowest_of_largest(priorities, probes)
        found: NDArray[np.int64] = best_in_lists(
            queries, priorities, to_read, self._panels, self._bias, self._ids, self._ends, count
        )
        return found

    def best_per_slot(self, slots: NDArray[np.float32], deduplicate: bool) -> NDArray[np.int64]:
        """See :class:`ItemSearch`."""
        return _from_candidates(self, slots, deduplicate)


def _from_candidates(search: ItemSearch, slots: NDArray[np.float32], deduplicate: bool) -> NDArray[np.int64]:
    """Every slot's best item by a search of candidates for all slots, among which the rule then chooses."""
    num_users, slate_size, size = slots.shape
    count = slate_size if deduplicate else 1  # one of so many is left for every slot
    candidates = search.best(slots.reshape(-1, size), count).reshape(num_users, slate_size, count)
    slates = np.empty((num_users, slate_size), np.int64)
    for slot in range(slate_size):
        slates[:, slot] = first_unused(candidates[:, slot], slates[:, : slot if deduplicate else 0])
    return slates
