"""gems_gym.wrappers.LatentAction and its vector twin."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gems_gym.beliefs import GruBelief
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.rankers import GemsRanker
from gems_gym.wrappers import LatentAction, VectorLatentAction

NUM_ENVS = 3


def random_latents(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (*shape, 8)).astype(np.float32)


def test_shows_the_rankers_slates(tiny_world: dict[str, Any], tiny_ranker: GemsRanker) -> None:
    env = LatentAction(SlateEnv(**tiny_world), tiny_ranker)
    assert env.action_space == gym.spaces.Box(-1, 1, (8,), np.float32)
    env.reset(seed=0)
    for latent in random_latents(4):
        observation, reward, _, _, info = env.step(latent)
        expected = tiny_ranker.rank(latent[None])[0]
        np.testing.assert_array_equal(observation["slate"], expected)
        np.testing.assert_array_equal(info["slate"], expected)
        assert reward == info["clicks"].sum()


def test_vector_twin_gives_the_same_bits(tiny_world: dict[str, Any], tiny_ranker: GemsRanker) -> None:
    latents = random_latents(4, NUM_ENVS)
    envs = VectorLatentAction(SlateVectorEnv(NUM_ENVS, autoreset_mode="disabled", **tiny_world), tiny_ranker)
    assert envs.single_action_space.shape == (8,)
    assert envs.action_space.shape == (NUM_ENVS, 8)
    envs.reset(seed=7)
    together = [envs.step(latents[t]) for t in range(4)]
    for user in range(NUM_ENVS):
        env = LatentAction(SlateEnv(**tiny_world), tiny_ranker)
        env.reset(seed=7 + user)
        for t in range(4):
            observation, reward, _, truncated, _ = env.step(latents[t, user])
            np.testing.assert_array_equal(observation["slate"], together[t][0]["slate"][user])
            np.testing.assert_array_equal(observation["clicks"], together[t][0]["clicks"][user])
            assert (reward, truncated) == (together[t][1][user], together[t][3][user])


def test_wraps_gymnasiums_own_vectors_of_singles(tiny_world: dict[str, Any], tiny_ranker: GemsRanker) -> None:
    envs = gym.vector.SyncVectorEnv([lambda: SlateEnv(**tiny_world)] * 2)
    envs = VectorLatentAction(envs, tiny_ranker)
    envs.reset(seed=0)
    observations, *_ = envs.step(random_latents(2))
    np.testing.assert_array_equal(observations["slate"], tiny_ranker.rank(random_latents(2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[..., :7], r"action has shape .*7,?\); .*8,?\) were expected"),
        (lambda a: np.where(a > 2, 0, np.nan), r"action\[.*\] = nan"),
        (lambda a: a + np.float32(np.inf), r"action\[.*\] = inf"),
        (lambda a: a * 0 + np.float32(1.001), r"= 1\.00.* in \[-1, 1\]"),
        (lambda a: a.astype(np.int64), "dtype int64"),
    ],
)
def test_bad_latents_are_clear_errors(
    change: Callable[[np.ndarray], np.ndarray],
    message: str,
    tiny_world: dict[str, Any],
    tiny_ranker: GemsRanker,
) -> None:
    env = LatentAction(SlateEnv(**tiny_world), tiny_ranker)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(change(random_latents()))
    envs = VectorLatentAction(SlateVectorEnv(NUM_ENVS, **tiny_world), tiny_ranker)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        envs.step(change(random_latents(NUM_ENVS)))


def test_float64_and_the_corners_of_the_box_will_do(
    tiny_world: dict[str, Any], tiny_ranker: GemsRanker
) -> None:
    env = LatentAction(SlateEnv(**tiny_world), tiny_ranker)
    env.reset(seed=0)
    env.step(np.ones(8))
    env.step(-np.ones(8, dtype=np.float32))


def test_another_catalogue_is_an_error_with_both_hashes(
    tiny_world: dict[str, Any], tiny_ranker: GemsRanker
) -> None:
    other = SlateEnv(**tiny_world, catalog_seed=99)
    with pytest.raises(ValueError, match=tiny_ranker.catalog_hash) as caught:
        LatentAction(other, tiny_ranker)
    assert other.catalog.hash in str(caught.value)
    with pytest.raises(ValueError, match=other.catalog.hash):
        VectorLatentAction(SlateVectorEnv(2, **tiny_world, catalog_seed=99), tiny_ranker)


def test_another_slate_size_is_an_error(tiny_world: dict[str, Any], tiny_ranker: GemsRanker) -> None:
    with pytest.raises(
        ValueError, match="60 items in slates of 5; the environment has 60 items in slates of 6"
    ):
        LatentAction(SlateEnv(**tiny_world | {"slate_size": 6}), tiny_ranker)


def test_a_belief_is_no_ranker(tiny_world: dict[str, Any], tiny_belief: GruBelief, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="belief/gru, which has no rank"):
        LatentAction(SlateEnv(**tiny_world), tiny_belief)  # type: ignore[arg-type]
    tiny_belief.save(tmp_path / "belief.safetensors")
    with pytest.raises(ValueError, match="is a belief/gru; a ranker was expected"):
        LatentAction(SlateEnv(**tiny_world), tmp_path / "belief.safetensors")


def test_other_environments_are_refused(tiny_world: dict[str, Any], tiny_ranker: GemsRanker) -> None:
    with pytest.raises(TypeError, match="not a slate environment"):
        LatentAction(gym.make("CartPole-v1"), tiny_ranker)
    with pytest.raises(TypeError, match="inside a latent-action wrapper already"):
        LatentAction(LatentAction(SlateEnv(**tiny_world), tiny_ranker), tiny_ranker)


def test_takes_a_file_and_records_its_arguments(
    tiny_world: dict[str, Any], tiny_ranker: GemsRanker, tmp_path: Path
) -> None:
    path = str(tmp_path / "ranker.safetensors")
    tiny_ranker.save(path)
    env = LatentAction(gym.make("GemsSlate-diffuse_topdown-v0", **tiny_world), path)
    assert env.spec is not None
    assert env.spec.additional_wrappers[-1].kwargs == {"ranker": path}
    again = gym.make(env.spec)
    latent = random_latents()
    env.reset(seed=3)
    again.reset(seed=3)
    np.testing.assert_array_equal(env.step(latent)[0]["slate"], again.step(latent)[0]["slate"])
