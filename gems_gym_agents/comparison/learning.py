"""What runs that learn from users and runs that learn from datasets have in common."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from gems_gym import plugins
from gems_gym.beliefs import BeliefEncoder
from gems_gym.commands.output import note, plain
from gems_gym.common.files import read_json_object, write_json
from gems_gym.policies import Policy
from gems_gym.unfinished import UNFINISHED_FOLDER, discard_unfinished
from gems_gym.user_splits import user_seeds
from gems_gym_agents.base import world_options
from gems_gym_agents.comparison.runs import Run
from gems_gym_agents.evaluation import NUM_ENVS, Evaluation, ValidationScore, evaluate

MakeUsers = Callable[[int], VectorEnv[Any, Any, Any]]
"""Makes a vector environment of so many users, as the agent sees them, without autoreset."""

_SETTINGS_FILE, _CLOCK_FILE = "settings.json", "cpu_seconds.json"


def make_agent(run: Run[Any, Any]) -> Any:
    """The run's agent, not fitted yet: the variant's options in place of those of its preset for the world."""
    agent_class = plugins.load(plugins.AGENTS, run.variant.agent)
    of_world = world_options(agent_class, run.world.recipes_of or run.world.preset)
    return agent_class(**of_world | dict(run.variant.options))


def agent_settings(run: Run[Any, Any]) -> dict[str, Any]:
    """What the results of all runs depend on."""
    options: Any = getattr(make_agent(run), "options", None)
    listed = is_dataclass(options) and not isinstance(options, type)
    return {
        "agent": run.variant.agent,
        # defaults included where the agent gives them
        "options": asdict(options) if listed else dict(run.variant.options),
        "steps": run.variant.steps,
        "test_users": run.study.test_users,
        "validation_users": run.study.validation_users,
    }


def fit(run: Run[Any, Any], source: Any, make_users: MakeUsers) -> tuple[Any, WatchedScore]:
    """Train the run's agent, or resume an earlier attempt with the same settings that was interrupted.

    Args:
        run: The run.
        source: What the agent learns from.
        make_users: Makes the validation users' environment.

    Returns:
        The fitted agent, and what its policies were scored with.
    """
    settings, file = plain({**run.settings(), "made_by": run.made_by()}), run.folder / _SETTINGS_FILE
    if read_json_object(file) != settings:
        if (run.folder / UNFINISHED_FOLDER).is_dir():
            note(
                f"{run.name}: begins again, as its unfinished training is of other settings, code or processor"
            )
        discard_unfinished(run.folder)
        write_json(file, settings)
    users = user_seeds("validation", run.seed, run.study.validation_users)
    agent, score = make_agent(run), WatchedScore(make_users, users, run.folder)
    agent.fit(source, steps=run.variant.steps, seed=run.seed, directory=run.folder, evaluate=score)
    return agent, score


def score_on_test_users(run: Run[Any, Any], policy: Policy, tested: MakeUsers) -> Evaluation:
    """Sessions of the study's test users with a policy."""
    seeds = user_seeds("test", 0, run.study.test_users)
    env = tested(min(len(seeds), NUM_ENVS))
    return evaluate(policy, env, seeds, name=run.variant.name, progress=True)


def describe(found: Evaluation) -> dict[str, Any]:
    """An evaluation in a few numbers."""
    return {"users": len(found.returns), "mean_return": found.mean_return, "ci95": found.ci95}


class WatchedScore(ValidationScore):
    """Scores policies on validation users; remembers how long the processor has worked.

    Args:
        make_env: Makes the users' environment.
        user_seeds: The users.
        folder: The run's folder. Where the agent resumes an interrupted training, so does the clock.
    """

    def __init__(self, make_env: MakeUsers, user_seeds: Sequence[int], folder: Path) -> None:
        self._clock_file = folder / _CLOCK_FILE
        earlier = (
            read_json_object(self._clock_file, ["seconds"]) if (folder / UNFINISHED_FOLDER).is_dir() else None
        )
        self._before = float(earlier["seconds"]) if earlier else 0.0
        self._start = time.process_time()
        super().__init__(make_env, user_seeds)

    @property
    def cpu_seconds(self) -> float:
        """Processor time since the training began, of all threads and all its attempts."""
        return self._before + time.process_time() - self._start

    def __call__(self, policy: Policy, belief: BeliefEncoder | None = None) -> float:
        """Mean clicks a session of a policy, one session with each user."""
        value = super().__call__(policy, belief)
        write_json(self._clock_file, {"seconds": self.cpu_seconds})
        return value
