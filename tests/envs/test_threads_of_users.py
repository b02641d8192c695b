"""Users in several threads: in a process that has compiled nothing yet, when nobody steps, and after a fork."""

import multiprocessing
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

import gems_gym  # noqa: F401
from gems_gym.envs import SlateVectorEnv

FRESH = """
import gymnasium, gems_gym
for env_id in ("GemsSlate-diffuse_mix-v0", "Sardine-SlateTopK-Bored-v0"):
    env = gymnasium.make_vec(env_id, num_envs=8, num_threads=2)
    env.reset(seed=0)
    env.step(env.action_space.sample())
"""


def test_a_fresh_process() -> None:
    subprocess.run([sys.executable, "-c", FRESH], check=True, capture_output=True, timeout=120)


def test_when_all_sessions_end_at_once() -> None:
    def rewards(num_threads: int) -> list[list[float]]:
        env = SlateVectorEnv(
            4, "diffuse_mix", autoreset_mode="next_step", num_threads=num_threads, episode_length=3
        )
        env.reset(seed=0)
        slates = np.tile(np.arange(10), (4, 1))
        return [env.step(slates)[1].tolist() for _ in range(9)]

    assert rewards(2) == rewards(1)


def _step_once() -> None:
    env = SlateVectorEnv(4, "diffuse_mix", num_threads=2)
    env.reset(seed=0)
    env.step(np.tile(np.arange(10), (4, 1)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
def test_a_forked_process() -> None:
    _step_once()
    process = multiprocessing.get_context("fork").Process(target=_step_once)
    process.start()
    process.join(30)
    alive = process.is_alive()
    process.kill()
    assert not alive and process.exitcode == 0


@pytest.mark.parametrize("wait", [128, 3])
def test_a_refused_action_changes_nothing(wait: int) -> None:
    """Not even when new randomness is drawn for the step."""

    def rewards(refused: bool) -> list[float]:
        env = gymnasium.make("GemsSlate-diffuse_mix-v0", episode_length=300)
        env.reset(seed=1)
        found = []
        for step in range(160):
            if refused and step == wait:
                with pytest.raises(ValueError, match=r"got 5000"):
                    env.step(np.full(10, 5_000))
            found.append(float(env.step(np.arange(10) + step % 7)[1]))
        return found

    assert rewards(True) == rewards(False)


def test_an_action_that_is_refused_opens_no_session() -> None:
    def rewards(refused: bool) -> list[list[float]]:
        env = SlateVectorEnv(
            6, "diffuse_mix", autoreset_mode="next_step", leave_probability=0.3, leave_after=1
        )
        env.reset(seed=0)
        slates, found = np.tile(np.arange(10), (6, 1)), []
        for _ in range(30):
            if refused and 0 < env._ended.sum() < 6:
                wrong = slates.copy()
                wrong[np.flatnonzero(~env._ended)[0], 0] = 10_000
                with pytest.raises(ValueError, match="got 10000"):
                    env.step(wrong)
            found.append(env.step(slates)[1].tolist())
        return found

    assert rewards(True) == rewards(False)


def test_observations_are_the_users_own() -> None:
    env = SlateVectorEnv(2, "diffuse_mix", autoreset_mode="disabled")
    env.reset(seed=0)
    observations, *_ = env.step(np.tile(np.arange(10), (2, 1)))
    observations["slate"][:] = 7
    again, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert again["slate"][1].tolist() == list(range(10))
