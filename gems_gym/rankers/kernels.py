"""The compiled parts of rankers, user by user: a row's slate has the same bits whatever the other rows are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import (
    best_items,
    copy_into,
    drawn_by_weight,
    first_largest,
    larger,
    largest,
    weigh_by_score,
)
from gems_gym.common.compilation import compiled, inlined
from gems_gym.common.products import TILE_COLUMNS, TILE_ROWS, dense, multiply_tile

_BLOCK, _QUERIES = 1024, 48
"""Items and queries that are scored at a time, so that what they need stays in the second-level cache."""

_MANY = 16
"""Queries for which it is worth the time to copy a block of the items."""

_LISTS = 64
"""Lists whose readers are found at a time."""


@compiled
def best_per_slot(
    slots: np.ndarray,  # (num_users, slate_size, embedding_size) float32
    items: np.ndarray,  # (embedding_size, num_items) float32
    bias: np.ndarray,  # (num_items,) float32
    deduplicate: bool,
) -> np.ndarray:
    """Every slot's best item by dot product plus bias, ``(num_users, slate_size)``; the lowest id of equals.

    With ``deduplicate`` slots choose one after the other among the items that are left.
    """
    num_users, slate_size, _ = slots.shape
    slates = np.empty((num_users, slate_size), dtype=np.int64)
    for user in range(num_users):
        scores = dense(slots[user], items, bias)  # (slate_size, num_items): one user's stay in the cache
        for slot in range(slate_size):
            if deduplicate:
                for earlier in range(slot):
                    scores[slot, slates[user, earlier]] = -np.inf
            slates[user, slot] = first_largest(scores[slot])
    return slates


@compiled
def best_of_each(
    queries: np.ndarray,  # (num_queries, embedding_size) float32
    items: np.ndarray,  # (embedding_size, num_items) float32
    bias: np.ndarray,  # (num_items,) float32
    count: int,
) -> np.ndarray:
    """Every query's best items by dot product plus bias, ``(num_queries, count)``, best first.

    Many queries read the items from memory together, block by block: that is what takes long in a large catalogue.
    """
    num_queries, num_items = queries.shape[0], items.shape[1]
    width = _BLOCK if num_queries >= _MANY else num_items
    best = np.empty((num_queries, count), dtype=np.int64)
    scores_of_best = np.empty((num_queries, count), dtype=np.float32)
    places = np.empty(count, dtype=np.int64)
    for first in range(0, num_items, width):
        last = min(first + width, num_items)
        block = items if num_items <= width else np.ascontiguousarray(items[:, first:last])
        before, after = min(first, count), min(last, count)  # how many are the best so far
        scored = np.empty(before + last - first, dtype=np.float32)  # those, and behind them the block
        for start in range(0, num_queries, _QUERIES):
            scores = dense(queries[start : start + _QUERIES], block, bias[first:last])
            for row in range(scores.shape[0]):
                query = start + row
                if before == count and largest(scores[row]) <= scores_of_best[query, count - 1]:
                    continue
                copy_into(scored[:before], scores_of_best[query, :before])
                copy_into(scored[before:], scores[row])
                best_items(scored, places[:after])
                for place in range(after - 1, -1, -1):
                    scores_of_best[query, place] = scored[places[place]]
                    if places[place] >= before:
                        places[place] += first - before
                    else:
                        places[place] = best[query, places[place]]
                copy_into(best[query, :after], places[:after])
    return best


@compiled
def best_in_lists(
    queries: np.ndarray,  # (num_queries, embedding_size) float32
    priorities: np.ndarray,  # (num_queries, num_lists) float32
    to_read: np.ndarray,  # (num_queries,) float32: lists of at least this priority are read
    panels: np.ndarray,  # (num_panels, embedding_size, TILE_COLUMNS) float32, each list's items in panels of its own
    bias: np.ndarray,  # (num_panels, TILE_COLUMNS) float32, -inf where a list's last panel holds no item
    ids: np.ndarray,  # (num_panels, TILE_COLUMNS) int64, likewise -1
    ends: np.ndarray,  # (num_lists + 1,) int64, at which panels lists begin and end
    count: int,
) -> np.ndarray:
    """Every query's best items by dot product plus bias in the lists that it reads, ``(num_queries, count)``.

    Best first, the lowest id of equals first, whatever the order of the lists; −1 where the lists hold less than count.
    """
    num_queries = queries.shape[0]
    best = np.full((num_queries, count), -1, dtype=np.int64)
    scores_of_best = np.full((num_queries, count), np.finfo(np.float32).min, dtype=np.float32)
    lasts = scores_of_best[:, count - 1]
    to_reach = np.empty(num_queries + TILE_ROWS, dtype=np.float32)
    scores = np.empty((TILE_ROWS, TILE_COLUMNS), dtype=np.float32)
    readers = np.zeros((_LISTS, num_queries + TILE_ROWS), dtype=np.int64)
    nums_readers = np.empty(_LISTS, dtype=np.int64)
    for one in range(ends.size - 1):
        if one % _LISTS == 0:
            _find_readers(priorities[:, one : one + _LISTS], to_read, readers, nums_readers)
        own, num_readers = readers[one % _LISTS], nums_readers[one % _LISTS]
        for place in range(num_readers):
            to_reach[place] = lasts[own[place]]
        to_reach[num_readers : num_readers + TILE_ROWS] = np.inf
        for panel in range(ends[one], ends[one + 1]):
            for first in range(0, num_readers, TILE_ROWS):
                multiply_tile(scores, 0, queries, own[first:], panels[panel], bias[panel])
                if _most_above(scores, to_reach[first : first + TILE_ROWS]) < 0:
                    continue
                for row in range(min(TILE_ROWS, num_readers - first)):
                    if largest(scores[row]) < to_reach[first + row]:
                        continue
                    query = own[first + row]
                    for place in range(TILE_COLUMNS):
                        if scores[row, place] >= lasts[query]:
                            _insert(scores[row, place], ids[panel, place], scores_of_best[query], best[query])
                    to_reach[first + row] = lasts[query]
    return best


@inlined
def _find_readers(
    priorities: np.ndarray,  # (num_queries, at most _LISTS): of some lists, as a query's stand next to each other
    to_read: np.ndarray,
    readers: np.ndarray,
    nums_readers: np.ndarray,
) -> None:
    """Write which queries read each list, and how many do."""
    nums_readers[:] = 0
    for query in range(priorities.shape[0]):
        for one in range(priorities.shape[1]):
            readers[one, nums_readers[one]] = query
            nums_readers[one] += priorities[query, one] >= to_read[query]


@inlined
def _most_above(scores: np.ndarray, to_reach: np.ndarray) -> float:
    """By how much any score of a tile exceeds that of its row, at most."""
    most: float = scores[0, 0] - to_reach[0]
    for column in range(TILE_COLUMNS):
        for row in range(TILE_ROWS):
            most = larger(scores[row, column] - to_reach[row], most)
    return most


@compiled
def _num_reaching(values: NDArray[np.float32], least: np.float32) -> int:
    """How many values are not less than a number."""
    found = 0
    for index in range(values.size):
        found += values[index] >= least
    return found


@compiled
def lowest_of_largest(rows: np.ndarray, count: int) -> np.ndarray:
    """For each row of float32 values a number that ``count`` of them reach, or a few more where some are equal."""
    found = np.empty(len(rows), dtype=np.float32)
    for row in range(len(rows)):
        high = np.float32(largest(rows[row]))
        low, step = high, np.float32(1)
        while low > -np.inf and _num_reaching(rows[row], low) < count:
            low, step = high - step, step * np.float32(2)
        while True:  # enough values reach low; too few reach high, or it is low
            middle = low + (high - low) / np.float32(2)
            if not low < middle < high:
                break
            reached = _num_reaching(rows[row], middle)
            if reached >= count:
                low = middle
            else:
                high = middle
            if reached == count:
                break
        found[row] = low
    return found


@inlined
def _insert(score: float, item: int, scores: np.ndarray, items: np.ndarray) -> None:
    """Put an item where it belongs among the best so far; the last of them falls out."""
    place = scores.size
    while place > 0 and (
        score > scores[place - 1] or (score == scores[place - 1] and item < items[place - 1])
    ):
        place -= 1
    if place < scores.size:
        for later in range(scores.size - 1, place, -1):
            scores[later], items[later] = scores[later - 1], items[later - 1]
        scores[place], items[place] = score, item


@compiled
def draw_items(
    queries: np.ndarray,  # (num_users, embedding_size) float32
    items: np.ndarray,  # (embedding_size, num_items) float32
    bias: np.ndarray,  # (num_items,) float32
    temperature: float,
    uniforms: np.ndarray,  # (num_users, slate_size) float64 in [0, 1)
    replace: bool,
) -> np.ndarray:
    """Draws from the softmax of every query's scores, ``(num_users, slate_size)``, in the order drawn.

    Without replacement each draw is from the softmax over the items that are left (Plackett-Luce).
    """
    slates = np.empty(uniforms.shape, dtype=np.int64)
    for user in range(queries.shape[0]):
        scores = dense(queries[user : user + 1], items, bias)[0].astype(np.float64)
        weights = np.empty(scores.size)
        weigh_by_score(scores, temperature, weights)
        for slot in range(uniforms.shape[1]):
            # Summed anew each time: subtracting what was drawn would leave rounding errors where one item
            # holds nearly all of the weight.
            total = weights.sum()
            if total < 1e-200:  # all that is left is far below what was drawn: relative to the best of it
                weigh_by_score(scores, temperature, weights)
                total = weights.sum()
            chosen = drawn_by_weight(weights, uniforms[user, slot] * total)
            slates[user, slot] = chosen
            if not replace:
                weights[chosen] = 0.0
                scores[chosen] = -np.inf
    return slates
