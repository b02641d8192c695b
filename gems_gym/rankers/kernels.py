"""The compiled parts of rankers, user by user: a row's slate has the same bits whatever the other rows are."""

from __future__ import annotations

import numpy as np

from gems_gym.common.arrays import best_items, copy_into, drawn_by_weight, first_largest, largest
from gems_gym.common.compilation import compiled, inlined
from gems_gym.common.networks import dense

_BLOCK, _QUERIES = 1024, 16
"""Items and queries that are scored at a time, so that what they need stays in the second-level cache."""


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
    # a block has to be copied, which few queries are not worth
    width = _BLOCK if num_queries >= _QUERIES else num_items
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
    is_read: np.ndarray,  # (num_lists, num_queries) bool
    blocks: np.ndarray,  # float32, each list's items (embedding_size, list_size), one list after the other
    bias: np.ndarray,  # (num_items,) float32, in the order of the lists
    ids: np.ndarray,  # (num_items,) int64, likewise
    ends: np.ndarray,  # (num_lists + 1,) int64, where lists begin and end
    count: int,
) -> np.ndarray:
    """Every query's best items by dot product plus bias in the lists that it reads, ``(num_queries, count)``.

    Best first, the lowest id of equals first, whatever the order of the lists; −1 where the lists hold less than count.
    """
    num_queries, size = queries.shape
    best = np.full((num_queries, count), -1, dtype=np.int64)
    scores_of_best = np.full((num_queries, count), -np.inf, dtype=np.float32)
    some = np.empty((_QUERIES, size), dtype=np.float32)
    for one in range(is_read.shape[0]):
        first, last = ends[one], ends[one + 1]
        block = blocks[size * first : size * last].reshape(size, last - first)
        readers = np.flatnonzero(is_read[one])
        for start in range(0, readers.size, _QUERIES):
            together = readers[start : start + _QUERIES]
            for row in range(together.size):
                copy_into(some[row], queries[together[row]])
            scores = dense(some[: together.size], block, bias[first:last])
            for row in range(together.size):
                items, highest = best[together[row]], scores_of_best[together[row]]
                if largest(scores[row]) < highest[count - 1]:
                    continue
                for place in range(last - first):
                    _insert(scores[row, place], ids[first + place], highest, items)
    return best


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
        top = largest(scores)
        weights = np.exp((scores - top) / temperature)
        for slot in range(uniforms.shape[1]):
            # Summed anew each time: subtracting what was drawn would leave rounding errors where one item
            # holds nearly all of the weight.
            total = weights.sum()
            if total < 1e-200:  # all that is left is far below what was drawn: relative to the best of it
                top = largest(scores)
                for item in range(weights.size):
                    weights[item] = np.exp((scores[item] - top) / temperature)
                total = weights.sum()
            chosen = drawn_by_weight(weights, uniforms[user, slot] * total)
            slates[user, slot] = chosen
            if not replace:
                weights[chosen] = 0.0
                scores[chosen] = -np.inf
    return slates
