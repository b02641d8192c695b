"""gems_gym.rankers.TopKRanker."""

from pathlib import Path

import numpy as np
import pytest

from gems_gym.rankers import TopKRanker, load_ranker
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


def test_cosine_leaves_lengths_aside() -> None:
    lengths = np.linspace(0.1, 9, ITEMS, dtype=np.float32)[:, None]
    latents = random_latents(200, SIZE)
    plain = TopKRanker(embeddings() * lengths, SLOTS, HASH)
    by_cosine = TopKRanker(embeddings() * lengths, SLOTS, HASH, cosine=True)
    unit = embeddings() / np.linalg.norm(embeddings(), axis=1, keepdims=True)
    scores = latents.astype(np.float64) @ unit.T.astype(np.float64)
    np.testing.assert_array_equal(by_cosine.rank(latents), np.argsort(-scores, axis=1)[:, :SLOTS])
    assert (by_cosine.rank(latents) != plain.rank(latents)).any(axis=1).mean() > 0.5


def test_cosine_is_kept_in_the_file(tmp_path: Path) -> None:
    ranker = TopKRanker(embeddings(), SLOTS, HASH, cosine=True)
    ranker.save(tmp_path / "ranker.safetensors")
    again = load_ranker(tmp_path / "ranker.safetensors")
    assert isinstance(again, TopKRanker) and again.cosine
    latents = random_latents(50, SIZE)
    np.testing.assert_array_equal(again.rank(latents), ranker.rank(latents))


def test_an_item_without_direction_is_named() -> None:
    vectors = embeddings().copy()
    vectors[3] = 0
    TopKRanker(vectors, SLOTS, HASH)
    with pytest.raises(ValueError, match=r"item_embeddings\[3\] is zeros"):
        TopKRanker(vectors, SLOTS, HASH, cosine=True)
    with pytest.raises(TypeError, match="cosine"):
        TopKRanker(embeddings(), SLOTS, HASH, cosine="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("cosine", [False, True])
def test_what_it_shows_is_encoded_as_latents_that_show_nearly_the_same(cosine: bool) -> None:
    ranker = TopKRanker(embeddings(), SLOTS, HASH, cosine=cosine)
    slates = ranker.rank(random_latents(200, SIZE))
    latents = ranker.encode(slates, np.zeros_like(slates))
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(np.abs(latents).max(axis=1), 1)
    shown = ranker.rank(latents)
    kept = [
        len({*one} & {*other}) / SLOTS for one, other in zip(slates.tolist(), shown.tolist(), strict=True)
    ]
    by_chance = SLOTS / ITEMS
    assert np.mean(kept) > by_chance + 0.7 * (1 - by_chance)
    with pytest.raises(ValueError, match="slates"):
        ranker.encode(slates + ITEMS, np.zeros_like(slates))


def test_in_a_large_catalogue_many_are_ranked_together_as_each_alone() -> None:
    rng = np.random.default_rng(0)
    items = rng.integers(-2, 3, (10_000, 4))  # many have equal scores
    latents = rng.integers(-2, 3, (40, 4)).astype(np.float32)
    for slots in (10, 1_500):
        ranker = TopKRanker(items, slots, HASH)
        together = ranker.rank(latents[: 40 if slots == 10 else 16])
        np.testing.assert_array_equal(
            together, [ranker.rank(one[None])[0] for one in latents[: len(together)]]
        )
        scores = latents[: len(together)] @ items.T
        np.testing.assert_array_equal(together, np.argsort(-scores, axis=1, kind="stable")[:, :slots])


def test_slates_without_a_direction_are_encoded_as_zeros() -> None:
    vectors = embeddings()
    vectors[:SLOTS] = 0
    opposite = embeddings()
    opposite[1] = -opposite[0]
    clicks = np.zeros((1, SLOTS), np.int64)
    nothing = np.zeros_like(vectors)
    for items, slate in (
        (vectors, [0, 1, 2, 3, 4, 5]), (opposite, [0, 1, 0, 1, 0, 1]), (nothing, [0, 1, 2, 3, 4, 5])
    ):  # fmt: skip
        found = TopKRanker(items, SLOTS, HASH).encode(np.array([slate]), clicks)
        np.testing.assert_array_equal(found, np.zeros((1, SIZE), np.float32))


def test_latents_too_large_for_single_precision_are_refused() -> None:
    with pytest.raises(ValueError, match="must hold finite numbers only"):
        TopKRanker(embeddings(), SLOTS, HASH).rank(np.full((1, SIZE), 1e300))
