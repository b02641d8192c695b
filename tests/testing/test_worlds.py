"""Every registered world passes the check that authors have; broken ones are found."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.registration import environment_ids, latent_environment_ids
from gems_gym.testing import check_world

ENV = "GemsSlate-diffuse_mix-v0"
SMALL: dict[str, Any] = {"num_items": 40, "slate_size": 4, "episode_length": 4}


@pytest.mark.parametrize("env_id", [*environment_ids(), *latent_environment_ids()])
def test_ours_pass(env_id: str) -> None:
    check_world(env_id, episode_length=4)


def test_one_without_a_vector_environment_passes() -> None:
    spec = copy.deepcopy(gymnasium.spec(ENV))
    spec.vector_entry_point = None
    check_world(spec, **SMALL)


class Terminating(SlateEnv):
    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, truncated, False, info


class LongerThanItSays(SlateEnv):
    def step(self, action: Any) -> Any:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info


class ForgettingInfo(SlateEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        observation, info = super().reset(seed=seed, options=options)
        return observation, {key: info[key] for key in ("slate", "clicks")}


class Generous(SlateEnv):
    def step(self, action: Any) -> Any:
        observation, reward, *rest = super().step(action)
        return observation, reward + 1, *rest


class AlwaysTheSameUser(SlateEnv):
    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=3, options=options)


class SharedRandomness(SlateEnv):
    drawn = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return super().reset(seed=int(self.drawn.integers(10**6)), options=options)


class TakingAnything(SlateEnv):
    def step(self, action: Any) -> Any:
        return super().step(np.resize(np.asarray(action, np.int64), 4).clip(0, 39))


class StepThenRefuse(SlateEnv):
    def step(self, action: Any) -> Any:
        try:
            return super().step(action)
        except (ValueError, TypeError):
            super().step(np.arange(4))
            raise


class SecondUserDiffers(SlateVectorEnv):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        seeds = [seed + 2 * row for row in range(self.num_envs)] if isinstance(seed, int) else seed
        return super().reset(seed=seeds, options=options)


BROKEN: dict[str, type] = {
    "is .True, .*. at step .; sessions of .*end truncated, or terminated where users leave": Terminating,
    "is .False, False. at step 4; sessions of config.episode_length=4 steps": LongerThanItSays,
    "info has the keys .*'clicks', 'slate'.*were expected, at reset and at every step": ForgettingInfo,
    "step 1 gives the reward .*; its . clicks were expected": Generous,
    "check_env says: .*random number generators are not different": AlwaysTheSameUser,
    "check_env says: .*[Dd]eterministic": SharedRandomness,
    "step.. with .* is taken; a ValueError or TypeError that names action was expected": TakingAnything,
    "step.. with one number too many, which is refused, changes the session": StepThenRefuse,
    "user 1 of 3 in make_vec, autoreset_mode=.*, has another session than alone with the seed 1": SecondUserDiffers,
}  # fmt: skip


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_one_is_found(words: str) -> None:
    kind = BROKEN[words]
    vector = issubclass(kind, SlateVectorEnv)
    spec = EnvSpec(
        "Broken-v0",
        entry_point=SlateEnv if vector else kind,
        vector_entry_point=kind if vector else None,
        kwargs={"preset": "diffuse_mix"},
        disable_env_checker=True,
    )
    with pytest.raises(AssertionError, match=words):
        check_world(spec, **SMALL)


def test_a_world_of_something_else_is_found() -> None:
    with pytest.raises(AssertionError, match="env.unwrapped has no config"):
        check_world("CartPole-v1")


def test_one_that_no_json_can_describe_is_found() -> None:
    embeddings = np.random.default_rng(0).random((40, 20))
    with pytest.raises(AssertionError, match="does not survive JSON: TypeError: .*not JSON serializable"):
        check_world(ENV, **SMALL, item_embeddings=embeddings)
