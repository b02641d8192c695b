"""The compiled parts of rankers, user by user: a row's slate has the same bits whatever the other rows are."""

from __future__ import annotations

import numpy as np

from gems_gym.common.arrays import best_items, copy_into, drawn_by_weight, first_largest, largest
from gems_gym.common.compilation import compiled
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
