"""gems_gym.rankers.TopKRanker."""

import numpy as np

from gems_gym.rankers import TopKRanker
from tests.rankers.item_vectors import HASH, ITEMS, SIZE, SLOTS, embeddings, random_latents


def test_shows_the_items_with_the_largest_dot_products() -> None:
    latents = random_latents(200, SIZE)
    slates = TopKRanker(embeddings(), SLOTS, HASH).rank(latents)
    scores = latents.astype(np.float64) @ embeddings().T.astype(np.float64)
    np.testing.assert_array_equal(slates, np.argsort(-scores, axis=1)[:, :SLOTS])


def test_only_the_direction_counts() -> None:
    ranker = TopKRanker(embeddings(), SLOTS, HASH)
    latents = random_latents(200, SIZE)
    np.testing.assert_array_equal(ranker.rank(latents), ranker.rank(latents / 8))
    assert (ranker.rank(latents) != ranker.rank(-latents)).any(axis=1).all()


def test_equals_come_by_id_and_all_items_may_be_shown() -> None:
    ranker = TopKRanker(embeddings(), ITEMS, HASH)
    zeros = np.zeros((1, SIZE), np.float32)
    np.testing.assert_array_equal(ranker.rank(zeros)[0], np.arange(ITEMS))
    assert all(len(set(slate)) == ITEMS for slate in ranker.rank(random_latents(20, SIZE)).tolist())
