"""256 slates of a million items, by exact search and by lists, in processor time: ``make benchmark``."""

import numpy as np
import pytest

from gems_gym.rankers import GemsRanker, TopKRanker, WknnRanker

ITEMS, SIZE, SLOTS, USERS = 1_000_000, 32, 10, 256
CATALOGUES = ["topics", "subtopics", "uniform"]


def catalogue(kind):
    """Directions: around 100 topics, around 5,000 topics that lie around 100, or all over the sphere."""
    rng = np.random.default_rng(0)
    items = rng.standard_normal((ITEMS, SIZE), dtype=np.float32)
    if kind == "topics":
        topics = rng.standard_normal((100, SIZE), dtype=np.float32)
        items = 0.5 * items + topics[rng.integers(100, size=ITEMS)]
    elif kind == "subtopics":
        topics = rng.standard_normal((100, SIZE), dtype=np.float32)[rng.integers(100, size=5_000)]
        topics += 0.7 * rng.standard_normal(topics.shape, dtype=np.float32)
        items = 0.3 * items + topics[rng.integers(5_000, size=ITEMS)]
    return items / np.linalg.norm(items, axis=1, keepdims=True)


def topk(items, search):
    return TopKRanker(items, SLOTS, "none", cosine=True, search=search)


def wknn(items, search):
    return WknnRanker(items, SLOTS, "none", search=search)


def gems(items, search):
    untrained = GemsRanker.random(
        num_items=SLOTS, slate_size=SLOTS, catalog_hash="none", seed=0, embedding_size=SIZE
    )
    return GemsRanker({**untrained.tensors, "item_embeddings": items}, "none", search=search)


@pytest.mark.parametrize("kind", CATALOGUES)
@pytest.mark.parametrize("make", [topk, wknn, gems])
def bench_large_catalogue(note, make, kind):
    items = catalogue(kind)
    for search, rounds in (("exact", 1), ("ivf", 5)):
        ranker = make(items, search)
        latents = np.random.default_rng(1).uniform(-1, 1, (USERS, ranker.action_size)).astype(np.float32)
        remark = ", exact"
        if search == "ivf":
            report = ranker.header["search"]
            recall = min(report["recall_uniform"], report["recall_near_items"])
            lost = max(report["score_lost_uniform"], report["score_lost_near_items"])
            remark = f", {report['probes']} of {report['lists']} lists, recall {recall:.3f}, lost {lost:.3%}"
        note(ranker.rank, [latents] * rounds, USERS, "slates", remark=remark)
