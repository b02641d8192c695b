"""gems_gym.rankers.WknnRanker: nearest items, and what a critic makes of them."""

import numpy as np
import pytest

from gems_gym.rankers import WknnRanker
from tests.rankers.item_vectors import HASH, ITEMS, SIZE, SLOTS, embeddings, random_latents, taken_in_turn

VECTORS = embeddings() * np.array([1, 5, 0.2, 1], np.float32) + np.array([3, 0, 0, -1], np.float32)
LATENTS = random_latents(200, SLOTS * SIZE)
LOW, HIGH = VECTORS.min(axis=0), VECTORS.max(axis=0)


def make(**options: object) -> WknnRanker:
    return WknnRanker(VECTORS, SLOTS, HASH, **options)  # type: ignore[arg-type]


def distances(latents: np.ndarray) -> np.ndarray:
    """By the definition: (num_users, slots, items)."""
    points = (LOW + HIGH) / 2 + (HIGH - LOW) / 2 * latents.reshape(-1, SLOTS, SIZE).astype(np.float64)
    return np.linalg.norm(points[:, :, None] - VECTORS.astype(np.float64), axis=3)


def coordinates(items: np.ndarray) -> np.ndarray:
    return ((VECTORS[items] - (LOW + HIGH) / 2) / ((HIGH - LOW) / 2)).astype(np.float32)


def value(actions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Not a sum over slots: what is best in one depends on what stands in the others."""
    return np.sin(actions.astype(np.float64) @ weights)


def likes(weights: np.ndarray):
    """A critic that notes the shapes it is asked for."""

    def critic(actions: np.ndarray) -> np.ndarray:
        critic.shapes.append(actions.shape)  # type: ignore[attr-defined]
        return value(actions, weights)

    critic.shapes = []  # type: ignore[attr-defined]
    return critic


WEIGHTS = np.random.default_rng(2).standard_normal(SLOTS * SIZE)


def test_without_a_critic_the_nearest_are_shown() -> None:
    plain = make(deduplicate=False).rank(LATENTS)
    np.testing.assert_array_equal(plain, distances(LATENTS).argmin(axis=2))
    np.testing.assert_array_equal(make().rank(LATENTS), taken_in_turn(-distances(LATENTS)))


def test_deduplicate() -> None:
    for critic in (None, likes(WEIGHTS)):
        plain = make(deduplicate=False).rank(LATENTS, critic)
        assert any(len(set(slate)) < SLOTS for slate in plain.tolist())
        assert all(len(set(slate)) == SLOTS for slate in make().rank(LATENTS, critic).tolist())


def test_k_has_an_effect_with_a_critic_only() -> None:
    critic = likes(WEIGHTS)
    np.testing.assert_array_equal(make(k=1).rank(LATENTS), make(k=10).rank(LATENTS))
    np.testing.assert_array_equal(make(k=1).rank(LATENTS, critic), make(k=1).rank(LATENTS))
    assert (make(k=10).rank(LATENTS, critic) != make(k=1).rank(LATENTS, critic)).mean() > 0.5
    assert (make(k=10).rank(LATENTS, critic) != make(k=4).rank(LATENTS, critic)).mean() > 0.2


@pytest.mark.parametrize("deduplicate", [True, False])
def test_the_critic_chooses_slot_by_slot_among_the_k_nearest_left(deduplicate: bool) -> None:
    critic = likes(WEIGHTS)
    slates = make(k=4, deduplicate=deduplicate).rank(LATENTS, critic)
    assert critic.shapes == [(200, 4, SLOTS * SIZE)] * SLOTS
    gaps = distances(LATENTS)
    for user in range(0, 200, 10):
        action = LATENTS[user].reshape(SLOTS, SIZE).copy()
        for slot in range(SLOTS):
            order = [item for item in np.argsort(gaps[user, slot], kind="stable").tolist()
                     if not (deduplicate and item in slates[user, :slot])][:4]  # fmt: skip
            values = []
            for item in order:
                action[slot] = coordinates(item)
                values.append(value(action.ravel(), WEIGHTS))
            assert slates[user, slot] == order[int(np.argmax(values))]
            action[slot] = coordinates(slates[user, slot])


def test_a_critic_sees_actions_in_the_box_and_may_know_its_users() -> None:
    by_user = np.random.default_rng(3).standard_normal((200, SLOTS * SIZE))

    def critic(actions: np.ndarray) -> np.ndarray:
        assert actions.dtype == np.float32 and np.abs(actions).max() <= 1
        return np.einsum("nka,na->nk", actions, by_user)

    slates = make().rank(LATENTS, critic)
    for user in (0, 57, 199):
        alone = make().rank(LATENTS[user : user + 1], lambda actions, u=user: actions @ by_user[u])
        np.testing.assert_array_equal(alone[0], slates[user])


def test_every_item_can_be_pointed_at() -> None:
    slates = np.stack([np.random.default_rng(seed).permutation(ITEMS)[:SLOTS] for seed in range(50)])
    latents = make().encode(slates, np.zeros_like(slates))
    assert latents.dtype == np.float32 and np.abs(latents).max() <= 1
    np.testing.assert_array_equal(make().rank(latents), slates)
    with pytest.raises(ValueError, match=r"slates\[0\]"):
        make().encode(slates + 100, np.zeros_like(slates))


def test_equal_dimensions_do_no_harm() -> None:
    flat = VECTORS.copy()
    flat[:, 1] = 7.0
    slates = np.arange(SLOTS)[None]
    ranker = WknnRanker(flat, SLOTS, HASH)
    np.testing.assert_array_equal(ranker.rank(ranker.encode(slates, slates * 0)), slates)


def test_bad_k_and_critics() -> None:
    for k in (0, 36, 2.0, True):
        with pytest.raises((ValueError, TypeError), match=r"k must be an integer from 1 to 35"):
            make(k=k)
    make(k=40, deduplicate=False)
    with pytest.raises(ValueError, match=r"critic gave values of shape \(200,\).*\(200, 10\)"):
        make().rank(LATENTS, lambda actions: actions[:, 0, 0])
    with pytest.raises(ValueError, match="2000 of them NaN"):
        make().rank(LATENTS, lambda actions: actions.sum(axis=2) * np.nan)
