from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from gems_gym.envs import SlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.user_model import training
from gems_gym_agents.user_model.agent import PlannerAgent
from gems_gym_agents.user_model.logs import Log, SlateUsers, exploration_log, random_log
from gems_gym_agents.user_model.options import SEARCH_STEPS
from gems_gym_agents.user_model.search import num_generations, play
from tests.agents.user_model.small_world import WORLD, make_users, truth
from tests.agents.whole_planners import check_learns_from_clicks_alone, check_resumes

SMALL: dict[str, Any] = {
    "random_sessions": 65_536, "random_length": 3, "exploration_sessions": 3072, "atoms": 64,
}  # fmt: skip
STEPS = 20 * (64 + 128 + 256) * 30


def fitted(env: Any = None, **arguments: Any) -> PlannerAgent:
    agent = PlannerAgent(**SMALL)
    agent.fit(
        make_users(1024) if env is None else env,
        **{"steps": STEPS, "seed": 0, "progress": False, **arguments},
    )
    return agent


@pytest.fixture(scope="module")
def agent() -> PlannerAgent:
    return fitted()


@pytest.mark.slow
def test_it_learns(agent: PlannerAgent) -> None:
    """Three times the clicks of random slates."""
    env, seeds = make_users(100), user_seeds("validation", 0, 200)
    clicks = evaluate(agent.policy, env, seeds).mean_return
    assert clicks > 3 * evaluate(make_policy("random", env), env, seeds).mean_return
    np.testing.assert_array_equal(play(SlateUsers(env), agent.policy, seeds).mean(), clicks)


@pytest.mark.slow
def test_it_learns_from_clicks_alone(agent: PlannerAgent) -> None:
    check_learns_from_clicks_alone(fitted, agent)


@pytest.mark.slow
def test_an_interrupted_training_resumes_with_the_same_result(
    agent: PlannerAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_resumes(fitted, agent, training, tmp_path, monkeypatch)


@pytest.mark.parametrize("explore", [False, True])
def test_logs_meet_logging_users_in_order_whoever_is_met_together(explore: bool) -> None:
    def logged(num_users: int) -> Log:
        users, random_seed = SlateUsers(make_users(num_users)), np.random.SeedSequence(5)
        if explore:
            return exploration_log(users, random_seed, 3, 1100, 5, truth()[0], progress=False)
        return random_log(users, random_seed, 3, 1100, 5, progress=False)

    log, other = logged(1100), logged(300)
    assert log.slates.shape == log.clicks.shape == (1100, 6, 10)
    np.testing.assert_array_equal(log.slates, other.slates)
    np.testing.assert_array_equal(log.clicks, other.clicks)
    env = make_users(1100)
    observations, _ = env.reset(seed=user_seeds("logging", 3, 1100, start=2**19 if explore else 0))
    np.testing.assert_array_equal(log.clicks[:, 0], observations["clicks"])
    for step in range(1, 6):
        observations = env.step(log.slates[:, step].astype(np.int64))[0]
        np.testing.assert_array_equal(log.clicks[:, step], observations["clicks"])


@pytest.mark.parametrize("autoreset_mode", ["disabled", "same_step", "next_step"])
def test_sessions_that_end_early_are_logged_up_to_their_last_step(autoreset_mode: str) -> None:
    users = SlateUsers(SlateVectorEnv(3, **WORLD, autoreset_mode=autoreset_mode))
    log = random_log(users, np.random.SeedSequence(0), 0, 6, 200, progress=False)
    assert log.slates.shape == (6, 30, 10)
    assert (log.slates[:, 0] == log.slates[0, 0]).all()
    assert (log.slates[:, 1:] != log.slates[0, 0]).any(axis=2).all()


@pytest.mark.parametrize("autoreset_mode", ["disabled", "same_step", "next_step"])
def test_sessions_that_all_end_terminated_are_logged_likewise(autoreset_mode: str) -> None:
    """SARDINE's do."""
    env_id = "Sardine-SlateTopK-Bored-v0"
    env = gymnasium.make_vec(env_id, 3, episode_length=7, autoreset_mode=autoreset_mode)
    log = random_log(SlateUsers(env), np.random.SeedSequence(0), 0, 6, 20, progress=False)
    assert log.slates.shape == (6, 7, 10)
    seeds = user_seeds("logging", 0, 6)
    alone = SlateUsers(gymnasium.make_vec(env_id, 6))
    seen = alone.open(seeds)
    for step in range(7):
        np.testing.assert_array_equal(log.clicks[:, step], seen["clicks"])
        if step < 6:
            seen, _, _ = alone.show(log.slates[:, step + 1].astype(np.int64))


def test_an_environment_of_other_actions_is_refused() -> None:
    with pytest.raises(TypeError, match="env must be a slate vector environment"):
        SlateUsers(gymnasium.make_vec("CartPole-v1", 2))


def test_the_search_plays_as_much_as_it_is_told() -> None:
    assert num_generations(SEARCH_STEPS, 100) == 45
    assert num_generations(1, 100) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"atom": 2}, "did you mean 'atoms'"),
        ({"atoms": 0}, "atoms must be an integer ≥ 1"),
        ({"random_sessions": 2**20}, "random_sessions must be an integer from 1 to"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlannerAgent(**options)


def test_an_agent_that_was_not_fitted_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="call fit first"):
        PlannerAgent().save(tmp_path)
