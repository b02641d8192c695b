"""gems_gym.rankers.SoftmaxRanker: what it draws, and from which numbers."""

from itertools import permutations

import numpy as np
import pytest

from gems_gym.rankers import SoftmaxRanker, TopKRanker
from tests.rankers.item_vectors import HASH, SIZE, SLOTS, embeddings, generators, random_latents

LATENTS = random_latents(100, SIZE)


def make(**options: object) -> SoftmaxRanker:
    return SoftmaxRanker(embeddings(), SLOTS, HASH, **options)  # type: ignore[arg-type]


def draw(count: int, slots: int, latent: np.ndarray, vectors: np.ndarray, **options: object) -> np.ndarray:
    ranker = SoftmaxRanker(vectors, slots, HASH, sample=True, **options)  # type: ignore[arg-type]
    latents = np.repeat(latent[None].astype(np.float32), count, axis=0)
    return ranker.rank(latents, [np.random.default_rng(0)] * count)  # one stream, read in turn


def test_without_sampling_it_shows_the_most_probable() -> None:
    ranker = make(temperature=0.01)
    np.testing.assert_array_equal(ranker.rank(LATENTS), TopKRanker(embeddings(), SLOTS, HASH).rank(LATENTS))
    np.testing.assert_array_equal(ranker.rank(LATENTS), ranker.rank(LATENTS, generators(100)))


def test_sampling_draws() -> None:
    ranker = make(sample=True)
    first, again, other = (ranker.rank(LATENTS, generators(100, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert (first != make().rank(LATENTS)).mean() > 0.5


def test_frequencies_with_replacement_are_the_softmax() -> None:
    vectors, latent = embeddings(num_items=7), LATENTS[0]
    slates = draw(40_000, 3, latent, vectors, replace=True, temperature=0.7)
    weights = np.exp(vectors @ latent / 0.7)
    for slot in range(3):
        frequencies = np.bincount(slates[:, slot], minlength=7) / 40_000
        np.testing.assert_allclose(frequencies, weights / weights.sum(), atol=0.01)
    assert any(len(set(slate)) < 3 for slate in slates.tolist())


def test_frequencies_without_replacement_are_plackett_luces() -> None:
    vectors, latent = embeddings(num_items=4), LATENTS[0]
    slates = draw(40_000, 3, latent, vectors)
    weights = np.exp((vectors @ latent).astype(np.float64))
    for slate in permutations(range(4), 3):
        probability, left = 1.0, weights.sum()
        for item in slate:
            probability *= weights[item] / left
            left -= weights[item]
        assert (slates == slate).all(axis=1).mean() == pytest.approx(probability, abs=0.01)


def test_replace() -> None:
    assert all(
        len(set(slate)) == SLOTS for slate in make(sample=True).rank(LATENTS, generators(100)).tolist()
    )
    many = make(sample=True, replace=True, temperature=0.1).rank(LATENTS, generators(100))
    assert any(len(set(slate)) < SLOTS for slate in many.tolist())


def test_temperature() -> None:
    best = make().rank(LATENTS)[:, 0]

    def share(temperature: float) -> float:
        ranker = make(sample=True, temperature=temperature)
        return float((ranker.rank(LATENTS, generators(100))[:, 0] == best).mean())

    assert share(0.001) == 1.0
    assert share(0.001) > share(0.5) > share(50)


def test_a_tiny_temperature_draws_the_order_of_the_scores() -> None:
    """All but the best item weigh nothing beside it: the next draws are relative to the best that is left."""
    cold = make(sample=True, temperature=1e-6)
    assert (cold.rank(LATENTS, generators(100)) == make().rank(LATENTS)).mean() > 0.99


def test_generators_belong_to_users() -> None:
    ranker = make(sample=True)
    own = generators(3)
    ranker.rank(LATENTS[:3], own)
    expected = generators(3)
    for one in expected:
        one.random(SLOTS)
    assert [one.random() for one in own] == [one.random() for one in expected]


def test_bad_options_and_generators() -> None:
    for temperature in (0, -1.0, np.inf, np.nan, "x", True):
        with pytest.raises((ValueError, TypeError), match="temperature must be a finite number > 0"):
            make(temperature=temperature)
    with pytest.raises(ValueError, match="none given.*each of the 100 users"):
        make(sample=True).rank(LATENTS)
    with pytest.raises(ValueError, match="generators: 3 given"):
        make(sample=True).rank(LATENTS, generators(3))
