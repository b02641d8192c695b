"""The whole agent, in the small world."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest

from gems_gym.policies import make_policy
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.world_model import training
from gems_gym_agents.world_model.agent import WorldModelPlannerAgent
from tests.agents.user_model.small_world import make_users
from tests.agents.whole_planners import check_learns_from_clicks_alone, check_resumes

SMALL: dict[str, Any] = {
    "embedding_size": 10, "random_sessions": 65_536, "random_length": 3, "exploration_sessions": 3072,
    "grouping_updates": 80, "updates": 120, "atoms": 256,
}  # fmt: skip
STEPS = 20 * (64 + 128 + 256) * 30


def fitted(env: Any = None, **arguments: Any) -> WorldModelPlannerAgent:
    agent = WorldModelPlannerAgent(**SMALL)
    agent.fit(
        make_users(1024) if env is None else env,
        **{"steps": STEPS, "seed": 0, "progress": False, **arguments},
    )
    return agent


@pytest.fixture(scope="module")
def agent() -> WorldModelPlannerAgent:
    return fitted()


@pytest.mark.slow
def test_it_learns(agent: WorldModelPlannerAgent) -> None:
    env, seeds = make_users(100), user_seeds("validation", 0, 200)
    clicks = evaluate(agent.policy, env, seeds).mean_return
    assert clicks > 1.5 * evaluate(make_policy("random", env), env, seeds).mean_return


@pytest.mark.slow
def test_it_learns_from_clicks_alone(agent: WorldModelPlannerAgent) -> None:
    check_learns_from_clicks_alone(fitted, agent)


@pytest.mark.slow
def test_an_interrupted_training_resumes_with_the_same_result(
    agent: WorldModelPlannerAgent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_resumes(fitted, agent, training, tmp_path, monkeypatch)


@pytest.mark.slow
def test_train_and_evaluate(
    program: Callable[..., tuple[int, str, str]], tiny_env: str, tmp_path: Path
) -> None:
    options = {
        **SMALL,
        "random_sessions": 4096,
        "exploration_sessions": 512,
        "grouping_updates": 5,
        "updates": 5,
    }
    chosen = [word for name, value in options.items() for word in ("--option", f"{name}={value}")]
    code, out, err = program(
        "train", "world_model_planner", "--env", tiny_env, "--steps", 1, "--out", "agent", "--num-envs", 512,
        "--validation-users", 50, *chosen, "--json",
    )  # fmt: skip
    assert code == 0, err
    trained = json.loads(out)
    assert {file.name for file in (tmp_path / "agent").iterdir()} == {
        "agent.json", "policy.safetensors", "world_model_planner.json"
    }  # fmt: skip
    code, out, err = program("evaluate", "agent", "--split", "validation", "--episodes", 50, "--json")
    assert code == 0, err
    assert json.loads(out)["mean_return"] == pytest.approx(trained["validation_return"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"embedding_sizes": 2}, "did you mean 'embedding_size'"),
        ({"atoms": 0}, "atoms must be an integer ≥ 2"),
        ({"updates": 0}, "updates must be an integer ≥ 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorldModelPlannerAgent(**options)


def test_an_agent_that_was_not_fitted_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="call fit first"):
        WorldModelPlannerAgent().save(tmp_path)


def test_embeddings_of_as_many_numbers_as_items_are_refused_before_any_work() -> None:
    """As of SARDINE's slates of ten given items."""
    env = gymnasium.make_vec("Sardine-SlateRerank-Bored-v0", 2)
    with pytest.raises(
        ValueError, match="embedding_size must be less than the number of items, here 10; got 20"
    ):
        WorldModelPlannerAgent().fit(env, steps=1, seed=0, progress=False)
