"""The adapter between Gymnasium's vector environments and stable-baselines3."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import gymnasium as gym
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecMonitor

from gems_gym_agents.online.vec_env import GymnasiumVecEnv
from tests.agents.tiny_env import TargetVectorEnv


class OneTarget(gym.Env):
    """The same problem for one user, for SB3's and Gymnasium's own vector environments."""

    def __init__(self, length: int = 5) -> None:
        self.batch = TargetVectorEnv(1, length)
        self.next_first = None
        self.observation_space = self.batch.single_observation_space
        self.action_space = self.batch.single_action_space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None or self.next_first is None:
            observation, _ = self.batch.reset(seed=seed)
            return observation[0], {}
        return self.next_first, {}

    def step(self, action):
        observations, rewards, terminations, truncations, infos = self.batch.step(action[None])
        observation = observations[0]
        if truncations[0]:
            self.next_first, observation = observation, infos["final_obs"][0]
        return observation, float(rewards[0]), bool(terminations[0]), bool(truncations[0]), {}


def actions_of(users: int, steps: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, (steps, users, 2)).astype(np.float32)


def test_the_test_problem_is_a_valid_environment():
    check_env(OneTarget())


def test_agrees_with_sb3s_own_vector_environment():
    users, steps = 3, 12
    ours, theirs = GymnasiumVecEnv(TargetVectorEnv(users)), DummyVecEnv([OneTarget] * users)
    ours.seed(11)
    theirs.seed(11)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    for actions in actions_of(users, steps):
        observations, rewards, dones, infos = ours.step(actions)
        their_observations, their_rewards, their_dones, their_infos = theirs.step(actions)
        np.testing.assert_array_equal(observations, their_observations)
        np.testing.assert_allclose(rewards, their_rewards, rtol=1e-6)
        np.testing.assert_array_equal(dones, their_dones)
        for info, their_info in zip(infos, their_infos, strict=True):
            assert info.get("TimeLimit.truncated", False) == their_info.get("TimeLimit.truncated", False)
            np.testing.assert_array_equal(
                info.get("terminal_observation"), their_info.get("terminal_observation")
            )


def test_terminal_observation_is_of_the_ended_session():
    env = GymnasiumVecEnv(TargetVectorEnv(4, length=5, staggered=True))
    env.seed(0)
    env.reset()
    ended = 0
    for actions in actions_of(4, 11):
        observations, _, dones, infos = env.step(actions)
        for user in range(4):
            if dones[user]:
                ended += 1
                assert infos[user]["terminal_observation"][2] == 1.0  # the clock at the end ...
                assert observations[user, 2] == 0.0  # ... and at the start of the next session
                assert infos[user]["TimeLimit.truncated"] is True
            else:
                assert infos[user] == {}
    assert ended == 8  # 11 steps: user i ends its first session after 5 - i, its second 5 later


def test_termination_is_no_time_limit():
    env = GymnasiumVecEnv(TargetVectorEnv(2, length=1, terminate=True))
    env.reset()
    _, _, dones, infos = env.step(actions_of(2, 1)[0])
    assert dones.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [False, False]


def test_episode_statistics_agree_with_sb3s_monitor():
    env = GymnasiumVecEnv(TargetVectorEnv(3, staggered=True))
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        monitored = VecMonitor(GymnasiumVecEnv(TargetVectorEnv(3, staggered=True)))
    for each in (env, monitored):
        each.seed(5)
        each.reset()
    for actions in actions_of(3, 12):
        infos, their_infos = env.step(actions)[3], monitored.step(actions)[3]
        for info, their_info in zip(infos, their_infos, strict=True):
            if "episode" in their_info:
                assert info["episode"]["r"] == pytest.approx(float(their_info["episode"]["r"]), rel=1e-5)
                assert info["episode"]["l"] == their_info["episode"]["l"]


def test_gymnasiums_own_vector_environment():
    env = GymnasiumVecEnv(SyncVectorEnv([OneTarget] * 2, autoreset_mode=AutoresetMode.SAME_STEP))
    env.seed([8, 3])
    first = env.reset()
    direct, _ = TargetVectorEnv(2).reset(seed=[8, 3])
    np.testing.assert_array_equal(first, direct)
    for actions in actions_of(2, 5):
        _, rewards, dones, infos = env.step(actions)
    assert rewards.dtype == np.float32
    assert dones.all()
    assert infos[1]["terminal_observation"][2] == 1.0


def test_seeds_are_used_once():
    inner = TargetVectorEnv(3)
    env = GymnasiumVecEnv(inner)
    assert env.seed(7) == [7, 8, 9]
    env.reset()
    assert inner.seeds == [7, 8, 9]
    env.reset()
    assert inner.seeds != [7, 8, 9]
    with pytest.raises(ValueError, match="2 seeds for 3 users"):
        env.seed([1, 2])


def test_the_callers_spaces_keep_their_random_state():
    inner = TargetVectorEnv(2)
    inner.single_action_space.seed(4)
    expected = inner.single_action_space.sample()
    inner.single_action_space.seed(4)
    GymnasiumVecEnv(inner).action_space.seed(99)
    np.testing.assert_array_equal(inner.single_action_space.sample(), expected)


def test_attributes_belong_to_all_users():
    inner = TargetVectorEnv(3)
    env = GymnasiumVecEnv(gym.wrappers.vector.RecordEpisodeStatistics(inner))
    assert isinstance(env, VecEnv)
    assert env.get_attr("length") == [5, 5, 5]
    assert env.get_attr("length", indices=[0, 2]) == [5, 5]
    env.set_attr("length", 7)
    assert inner.length == 7
    env.reset()
    assert env.env_method("_observe", indices=1)[0].shape == (3, 3)  # all users, once for the one index
    assert not env.has_attr("no_such_thing")
    with pytest.raises(ValueError, match="share one environment"):
        env.set_attr("length", 8, indices=[0])
    assert env.env_is_wrapped(gym.wrappers.vector.RecordEpisodeStatistics) == [True] * 3
    assert env.env_is_wrapped(gym.wrappers.RescaleAction, indices=0) == [False]
    assert env.env_is_wrapped(Monitor) == [True] * 3


def test_sb3s_evaluation_reads_the_statistics():
    class Still:
        def predict(self, observations, state=None, episode_start=None, deterministic=True):
            return np.zeros((len(observations), 2), dtype=np.float32), None

    env = GymnasiumVecEnv(TargetVectorEnv(4))
    env.seed(1)
    returns, lengths = evaluate_policy(Still(), env, n_eval_episodes=8, return_episode_rewards=True)
    assert lengths == [5] * 8
    assert 2.0 < np.mean(returns) < 4.5  # 5 steps of 1 - mean |target|, targets uniform in [-.8, .8]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_other_autoreset_modes_are_refused(mode):
    inner = TargetVectorEnv(2)
    inner.metadata = {"autoreset_mode": mode}
    with pytest.raises(ValueError, match=rf"{mode.name}.*SAME_STEP"):
        GymnasiumVecEnv(inner)


def test_a_single_environment_is_refused():
    with pytest.raises(TypeError, match=r"gymnasium\.vector\.VectorEnv was expected"):
        GymnasiumVecEnv(OneTarget())
