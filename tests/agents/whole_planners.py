"""What each agent must do that learns a model of users and plans by it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts.unfinished import is_unfinished
from gems_gym_agents.user_model import planning_agent, search
from gems_gym_agents.user_model.planning_agent import PlanningAgent, Stages
from tests.agents.user_model.small_world import OnlySlates

Fitted = Callable[..., PlanningAgent[Any, Any]]
"""Makes and fits the agent: of an environment, or of the small world's if there is none."""


def check_learns_from_clicks_alone(fitted: Fitted, agent: PlanningAgent[Any, Any]) -> None:
    """It learns the same, bit for bit, from an environment that shows nothing else, to another number of users."""
    hidden = fitted(OnlySlates(300))
    np.testing.assert_array_equal(hidden.policy.plans, agent.policy.plans)
    np.testing.assert_array_equal(hidden.policy.model.items, agent.policy.model.items)


def check_resumes(
    fitted: Fitted,
    agent: PlanningAgent[Any, Any],
    stages: Stages,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Interrupted after each of its stages, and within the search, it ends with the same result."""

    def stop(*arguments: Any, **named: Any) -> Any:
        raise InterruptedError

    def interrupted(module: Any, name: str, how: Any = stop) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, how)
            with pytest.raises(InterruptedError):
                fitted(directory=tmp_path)
        assert is_unfinished(tmp_path)

    interrupted(stages, "learn_model")
    interrupted(planning_agent, "search_plan")
    with pytest.raises(ValueError, match="seed=0 .now 1."):
        fitted(directory=tmp_path, seed=1)
    play, played = search.play, []

    def play_once(*arguments: Any) -> np.ndarray:
        played.append(arguments)
        return play(*arguments) if len(played) == 1 else stop()

    interrupted(search, "play", play_once)
    with monkeypatch.context() as patch:
        for name in ("random_log", "exploration_log"):
            patch.setattr(stages, name, stop)
        resumed = fitted(directory=tmp_path)
    np.testing.assert_array_equal(resumed.policy.plans, agent.policy.plans)
    resumed.save(tmp_path)
    assert not is_unfinished(tmp_path)
    read = type(agent).load(tmp_path)
    assert isinstance(read, agent.policy_class)
    np.testing.assert_array_equal(read.plans, agent.policy.plans)
