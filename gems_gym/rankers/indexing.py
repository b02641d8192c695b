"""Lists of items by k-means, and how many of them a search has to read: measured on queries like an agent's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.progress import track
from gems_gym.common.threads import one_thread
from gems_gym.errors import require
from gems_gym.rankers.item_lists import ItemLists
from gems_gym.rankers.search import ExactSearch, ListSearch

QUERIES = 2048
"""Queries of each kind: every other one helps to choose how many lists are read, the rest are reported on."""

_AIM = 0.9925  # recall on the queries that choose; it shall be 0.99 on others
_NEAR = 0.3  # standard deviation of queries from the items that they are near, by that of all items
_ITEMS_A_LIST = 60
_ROUNDS, _SAMPLE = 3, 16  # of k-means; its items a list


def make_list_search(
    items: NDArray[np.float32], bias: NDArray[np.float32], uniform: NDArray[np.float32], count: int
) -> ListSearch:
    """Put items into lists, and choose how many lists are read for a query.

    A list holds about 60 items; of more than a million items there are 16 times as many lists as the square root of
    their number. With fewer lists more items are read; with more, choosing among them takes longer. As many are read
    for a query as hold 99.25 % of the best items for queries of either kind. The same arguments give the same lists.

    Args:
        items: float32 ``(E, num_items)``.
        bias: float32 ``(num_items,)``, see :class:`gems_gym.rankers.search.ListSearch`.
        uniform: Queries of uniform latents, as an untrained agent asks, float32 ``(QUERIES, E)``.
        count: How many best items are asked for.

    Raises:
        ImportError: The module faiss is not installed; the text names the extra.
    """
    faiss = require("faiss")
    rng = np.random.default_rng(0)
    near = items[:, rng.integers(items.shape[1], size=QUERIES)].T
    noise = rng.standard_normal(near.shape) * items.std(axis=1)
    kinds = {"uniform": uniform, "near_items": (near + _NEAR * noise).astype(np.float32)}
    exact = ExactSearch(items, bias)
    with track("item lists", 3) as advance:
        search = ListSearch(items, bias, ItemLists(_grouped(faiss, items), {"probes": 1}))
        advance(1)
        best = {kind: exact.best(queries, count) for kind, queries in kinds.items()}
        advance(1)
        needed = [_lists_needed(search, queries[::2], best[kind][::2]) for kind, queries in kinds.items()]
        probes = max(int(np.quantile(of_kind, _AIM, method="higher")) for of_kind in needed)
        report: dict[str, Any] = {"lists": int(search.lists.of_items.max()) + 1, "probes": probes}
        search.lists = ItemLists(search.lists.of_items, report)
        for kind, queries in kinds.items():
            found = search.best(queries[1::2], count)
            report[f"recall_{kind}"] = round(float(_is_in(best[kind][1::2], found).mean()), 4)
            report[f"score_lost_{kind}"] = round(
                _lost(items, bias, queries[1::2], best[kind][1::2], found), 6
            )
        advance(1)
    return search


def _lists_needed(
    search: ListSearch, queries: NDArray[np.float32], best: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many lists have to be read to find each of the best items, ``(num_queries, count)``."""
    priorities = search.priorities(queries)
    own = np.take_along_axis(priorities, search.lists.of_items[best], axis=1)
    rows = zip(np.sort(-priorities, axis=1), -own, strict=True)
    return np.stack([np.searchsorted(row, wanted, side="right") for row, wanted in rows])


def _is_in(items: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which items of a row are among those of the same row of others."""
    found: NDArray[np.bool_] = (items[:, :, None] == others[:, None]).any(axis=2)
    return found


def _lost(
    items: NDArray[np.float32],
    bias: NDArray[np.float32],
    queries: NDArray[np.float32],
    best: NDArray[np.int64],
    found: NDArray[np.int64],
) -> float:
    """Share of what the best items score above the mean item that those found do not."""
    mean = queries @ items.mean(axis=1) + bias.mean()
    most, kept = (
        ((queries.T[:, :, None] * items[:, ids]).sum(axis=0) + bias[ids]).sum() - ids.shape[1] * mean.sum()
        for ids in (best, found)
    )
    return float(1 - kept / most) if most > 0 else 0.0


def _grouped(faiss: Any, items: NDArray[np.float32]) -> NDArray[np.int32]:
    """Each item's list, ``(num_items,)``."""
    vectors = np.ascontiguousarray(items.T)
    num_lists = min(round(16 * len(vectors) ** 0.5), -(-len(vectors) // _ITEMS_A_LIST))
    with one_thread():
        sample = {"min_points_per_centroid": 1, "max_points_per_centroid": _SAMPLE}
        kmeans = faiss.Kmeans(len(items), num_lists, niter=_ROUNDS, seed=0, **sample)
        kmeans.train(vectors)
        nearest = kmeans.assign(vectors)[1]
    # without those that no item is nearest to
    return np.unique(nearest, return_inverse=True)[1].astype(np.int32)
