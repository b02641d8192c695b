"""gems_gym.pretraining.reach: the search finds what a latent space holds, and is measured on other users."""

from typing import Any

import numpy as np
import pytest

from gems_gym.embeddings import EmbeddingTable
from gems_gym.envs import SlateEnv
from gems_gym.policies.constant_slate import find_constant_slate
from gems_gym.policies.paired_sessions import PairedSessions
from gems_gym.pretraining.reach import best_constant_latent, ranker_reach, slate_reach
from gems_gym.rankers import GemsRanker, make_ranker
from gems_gym.user_splits import user_seeds

WORLD: dict[str, Any] = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 20}


@pytest.fixture(scope="module")
def world() -> SlateEnv:
    return SlateEnv(**WORLD)


@pytest.fixture(scope="module")
def good_slate(world: SlateEnv) -> np.ndarray:
    return find_constant_slate(world.config, world.catalog, sessions=20_000, progress=False)


class Corner:
    """Shows one slate in a corner of its box, item 0 everywhere else."""

    kind, action_size, slate_size, num_items, sha256 = "ranker/corner", 3, 5, 60, None

    def __init__(self, slate: np.ndarray, catalog_hash: str) -> None:
        self.slate, self.catalog_hash = slate, catalog_hash

    def rank(self, latents: np.ndarray) -> np.ndarray:
        inside = (latents > 0.3).all(axis=1, keepdims=True)
        return np.where(inside, self.slate, 0)

    def save(self, path: object) -> str:
        raise NotImplementedError


def test_a_slate_that_the_box_holds_is_reached(world: SlateEnv, good_slate: np.ndarray) -> None:
    ranker = Corner(good_slate, world.catalog.hash)
    latent = best_constant_latent(ranker, world.config, world.catalog, sessions=20_000, progress=False)
    assert latent.dtype == np.float32
    assert (latent > 0.3).all()
    found = ranker_reach(ranker, world.config, world.catalog, sessions=20_000, progress=False)
    assert found == slate_reach(good_slate, world.config, world.catalog)
    assert found.mean > slate_reach(np.zeros(5, np.int64), world.config, world.catalog).mean + 3 * found.ci95


def test_it_beats_random_latents_and_is_repeatable(world: SlateEnv) -> None:
    ranker = GemsRanker.random(
        num_items=60, slate_size=5, latent_size=8, catalog_hash=world.catalog.hash, seed=0
    )
    options: dict[str, Any] = {"sessions": 20_000, "seed": 3, "progress": False}
    latent = best_constant_latent(ranker, world.config, world.catalog, **options)
    np.testing.assert_array_equal(
        latent, best_constant_latent(ranker, world.config, world.catalog, **options)
    )
    assert np.abs(latent).max() <= 1
    others = np.random.default_rng(0).uniform(-1, 1, (50, 8)).astype(np.float32)
    slates = ranker.rank(np.concatenate([latent[None], others]))
    test_users = PairedSessions(world.config, world.catalog, user_seeds("test", 0, 200), num_slates=51)
    clicks = test_users.clicks(slates).mean(axis=1)
    assert clicks[0] > clicks[1:].max()


def test_the_interval_is_over_test_users(world: SlateEnv, good_slate: np.ndarray) -> None:
    found = slate_reach(good_slate, world.config, world.catalog, users=100, seed=2)
    clicks = PairedSessions(world.config, world.catalog, user_seeds("test", 2, 100)).clicks(good_slate[None])
    assert (found.mean, found.users) == (pytest.approx(clicks.mean()), 100)
    assert found.ci95 == pytest.approx(1.984 * clicks.std(ddof=1) / 10, rel=1e-3)


def test_wrong_uses_are_refused(world: SlateEnv, good_slate: np.ndarray) -> None:
    ranker = Corner(good_slate, world.catalog.hash)
    with pytest.raises(ValueError, match="sessions must be ≥ 5000 for a search, got 4999"):
        best_constant_latent(ranker, world.config, world.catalog, sessions=4_999)
    with pytest.raises(ValueError, match="for the catalogue other, not for"):
        best_constant_latent(Corner(good_slate, "other"), world.config, world.catalog)
    with pytest.raises(ValueError, match="users must be ≥ 2 for an interval, got 1"):
        slate_reach(good_slate, world.config, world.catalog, users=1)
    vectors = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
    table = EmbeddingTable(vectors, "test", world.catalog.hash, False)
    drawing = make_ranker("softmax", table, 5, sample=True)
    with pytest.raises(ValueError, match="draws its slates"):
        best_constant_latent(drawing, world.config, world.catalog)
