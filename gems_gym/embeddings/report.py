"""How good item embeddings are by themselves: how near they come to the simulator's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.cluster import vq

from gems_gym import plugins
from gems_gym.common.progress import track
from gems_gym.common.threads import one_thread
from gems_gym.embeddings.base import EmbeddingKind, Sources, make_embeddings

_MOST_MEASURED = 5_000
"""Items that are compared with one another; memory grows with their square."""

_RESTARTS = 20
"""k-means is started so often; the clustering with the smallest spread is the one that counts."""


@dataclass(frozen=True)
class EmbeddingQuality:
    """Measures of item embeddings against the simulator's own; privileged, to report only.

    Attributes:
        cosine_correlation: Pearson correlation, over pairs of different items, of their cosine with the cosine of
            their true embeddings; 1 is best, 0 no relation.
        topic_purity: Share of the items whose topic is the most frequent one of their cluster, with k-means on unit
            vectors and as many clusters as topics; 1 is best.
        neighbour_purity: Share of the ten items with the largest cosine to an item that have its topic, a mean over
            items; 1 is best.
    """

    cosine_correlation: float
    topic_purity: float
    neighbour_purity: float


@one_thread()
def embedding_quality(
    vectors: NDArray[np.floating],
    true_embeddings: NDArray[np.floating],
    item_topics: NDArray[np.integer],
    *,
    seed: int = 0,
) -> EmbeddingQuality:
    """Measures item embeddings; of more than 5,000 items, on so many that are drawn.

    Args:
        vectors: float ``(num_items, size)``; the cosine of a vector of zeros with any other counts as 0.
        true_embeddings: The simulator's own, float ``(num_items, D)``.
        item_topics: Main topic of every item, ``(num_items,)``.
        seed: Seed of the items drawn and of the starts of k-means.

    Raises:
        ValueError: Numbers of items that do not agree.
    """
    if not len(vectors) == len(true_embeddings) == len(item_topics):
        raise ValueError(
            f"vectors, true_embeddings and item_topics are for {len(vectors)}, {len(true_embeddings)} and "
            f"{len(item_topics)} items; they must agree"
        )
    if len(vectors) > _MOST_MEASURED:
        drawn = np.random.default_rng(seed).choice(len(vectors), _MOST_MEASURED, replace=False)
        vectors, true_embeddings, item_topics = vectors[drawn], true_embeddings[drawn], item_topics[drawn]
    unit = _unit_rows(vectors)
    cosines = unit @ unit.T  # (num_items, num_items)
    true = _unit_rows(true_embeddings)
    return EmbeddingQuality(
        cosine_correlation=_pair_correlation(cosines, true @ true.T),
        topic_purity=_cluster_purity(unit, item_topics, seed),
        neighbour_purity=_neighbour_purity(cosines, item_topics),
    )


def compare_embeddings(
    sources: Sources,
    item_topics: NDArray[np.integer],
    names: Sequence[str] | None = None,
    *,
    size: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Makes item embeddings of several kinds and measures each against the simulator's own.

    Args:
        sources: What they are made from; ``true_embeddings`` is needed to measure.
        item_topics: Main topic of every item, ``(num_items,)``.
        names: Which kinds; None: every installed one whose source is given.
        size: Numbers in an embedding of the kinds that leave it open; None: their defaults.
        seed: Seed of everything random.
        progress: Whether to show a progress bar on stderr.

    Returns:
        Name -> the fields of :class:`EmbeddingQuality`, ``size``, ``privileged`` and ``seconds`` (the first time after
        an installation, what is compiled takes some more).

    Raises:
        ValueError: No true embeddings, an unknown name, or a source that is missing.
    """
    true = sources.true_embeddings
    if true is None:
        raise ValueError("sources.true_embeddings is not given: there is nothing to measure against")
    kinds: dict[str, EmbeddingKind] = {
        name: plugins.load(plugins.EMBEDDINGS, name) for name in names or plugins.names(plugins.EMBEDDINGS)
    }
    if names is None:
        kinds = {name: kind for name, kind in kinds.items() if getattr(sources, kind.needs) is not None}
    rows = {}
    with track("item embeddings", len(kinds), progress) as advance:
        for name, kind in kinds.items():
            open_size = size if kind.needs in ("num_items", "log") else None
            start = time.perf_counter()
            table = make_embeddings(name, sources, size=open_size, seed=seed)
            seconds = time.perf_counter() - start
            quality = embedding_quality(table.vectors, true, item_topics, seed=seed)
            rows[name] = {
                **asdict(quality),
                "size": table.vectors.shape[1],
                "privileged": table.privileged,
                "seconds": round(seconds, 3),
            }
            advance(1, name)
    return rows


def _unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norms > 0, norms, 1.0)


def _pair_correlation(cosines: NDArray[np.float64], true_cosines: NDArray[np.float64]) -> float:
    pairs = np.triu_indices(len(cosines), k=1)
    found, wanted = cosines[pairs], true_cosines[pairs]
    if found.std() == 0 or wanted.std() == 0:
        return 0.0
    return float(np.corrcoef(found, wanted)[0, 1])


def _cluster_purity(unit: NDArray[np.float64], topics: NDArray[np.integer], seed: int) -> float:
    rng = np.random.default_rng(seed)
    count = len(np.unique(topics))
    best_spread, best_labels = np.inf, np.zeros(len(unit), dtype=np.int64)
    distinct = len(np.unique(unit, axis=0))
    for _ in range(_RESTARTS):
        # k-means++ can't start from more centres than there are different points
        centres, labels = vq.kmeans2(unit, min(count, distinct), minit="++", rng=rng, missing="warn")
        spread = float(((unit - centres[labels]) ** 2).sum())
        if spread < best_spread:
            best_spread, best_labels = spread, labels
    table = np.zeros((count, int(topics.max()) + 1), dtype=np.int64)  # (clusters, topics)
    np.add.at(table, (best_labels, topics), 1)
    return float(table.max(axis=1).sum() / len(unit))


def _neighbour_purity(cosines: NDArray[np.float64], topics: NDArray[np.integer]) -> float:
    others = cosines - 4 * np.eye(len(cosines))  # no item is its own neighbour
    neighbours = np.argsort(-others, axis=1, kind="stable")[:, : min(10, len(cosines) - 1)]
    return float((topics[neighbours] == topics[:, None]).mean())
