"""gems_gym.rankers.KHeadArgmaxRanker."""

import numpy as np

from gems_gym.rankers import KHeadArgmaxRanker
from tests.rankers.item_vectors import HASH, SIZE, SLOTS, embeddings, random_latents, taken_in_turn

LATENTS = random_latents(200, SLOTS * SIZE)
SCORES = LATENTS.reshape(-1, SLOTS, SIZE).astype(np.float64) @ embeddings().T.astype(np.float64)


def test_shows_the_best_item_of_each_query() -> None:
    ranker = KHeadArgmaxRanker(embeddings(), SLOTS, HASH, deduplicate=False)
    np.testing.assert_array_equal(ranker.rank(LATENTS), SCORES.argmax(axis=2))


def test_deduplicate() -> None:
    slates = KHeadArgmaxRanker(embeddings(), SLOTS, HASH).rank(LATENTS)
    np.testing.assert_array_equal(slates, taken_in_turn(SCORES))
    plain = KHeadArgmaxRanker(embeddings(), SLOTS, HASH, deduplicate=False).rank(LATENTS)
    assert any(len(set(slate)) < SLOTS for slate in plain.tolist())
    assert all(len(set(slate)) == SLOTS for slate in slates.tolist())


def test_more_slots_than_items_only_with_duplicates() -> None:
    few = embeddings(num_items=3)
    slates = KHeadArgmaxRanker(few, SLOTS, HASH, deduplicate=False).rank(LATENTS)
    assert set(slates.ravel()) == {0, 1, 2}
