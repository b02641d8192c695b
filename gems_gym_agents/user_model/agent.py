"""The planner as an agent of gems-gym: it learns from slates and clicks, shows slates, and keeps a state."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal

from gymnasium.vector import VectorEnv

from gems_gym.artifacts import Artifact
from gems_gym.artifacts.unfinished import UNFINISHED_FOLDER, Unfinished, discard_unfinished
from gems_gym.common.checks import Count, checked_arguments, make_checked
from gems_gym.common.files import write_json
from gems_gym.policies.base import Observed, Shown
from gems_gym.user_splits import UserSeed
from gems_gym_agents.base import Evaluate
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.options import SEARCH_STEPS, PlannerOptions
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.training import train_planner

POLICY_FILE = "policy.safetensors"
_DETAILS_FILE = "planner.json"


class PlannerAgent:
    """Learns a user model from clicks and plans by it. Grey-box: the form of the model is that of the simulators.

    Args:
        **options: See :class:`~gems_gym_agents.user_model.options.PlannerOptions`.

    Attributes:
        learns_from: ``"environment"``: a slate vector environment.
        observes: ``"slates"``: the last slate and its clicks.
        actions: ``"slates"``.
        options: The settings.

    Raises:
        ValueError: An unknown option, with the nearest names, or a value out of range.
        TypeError: A value of the wrong type.

    Examples:
        >>> import gymnasium, gems_gym
        >>> env = gymnasium.make_vec("GemsSlate-focused_mix-v0", num_envs=1000)
        >>> agent = PlannerAgent()
        >>> agent.fit(env, steps=8_448_000, seed=0)  # doctest: +SKIP
        >>> state = agent.policy.open(user_seeds)  # doctest: +SKIP
        >>> slates, state = agent.policy.act(state, observations)  # doctest: +SKIP
    """

    learns_from: ClassVar[Literal["environment"]] = "environment"
    observes: ClassVar[Observed] = "slates"
    actions: ClassVar[Shown] = "slates"

    def __init__(self, **options: Any) -> None:
        self.options = make_checked(PlannerOptions, "option of planner", options)
        self._policy: PlannerPolicy | None = None
        self._seed: int | None = None

    @checked_arguments
    def fit(
        self,
        source: VectorEnv[Any, Any, Any],
        *,
        steps: Count = SEARCH_STEPS,
        seed: UserSeed,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Evaluate | None = None,
        progress: bool = True,
    ) -> None:
        """Learn from scratch; about four minutes on one core in the six worlds.

        Args:
            source: A slate vector environment of any number of users, which does not change the result; from some
                hundreds on it takes the least time. Nothing of it is used but slates and clicks.
            steps: Interactions (users times steps) of the search for a plan, ≥ 1, rounded to whole generations; the
                logs, which the options say, come on top. The recipe's are :data:`SEARCH_STEPS`.
            seed: Decides everything random, and which users are met; the same seed gives the same agent.
            directory: Keeps what an interrupted run resumes from until the agent is saved; None keeps nothing.
            device: ``"cpu"``; there is no other.
            evaluate: Scores a policy on validation users, higher is better: a plan that is no better than the one that
                the search started from is not kept.
            progress: Whether to show progress bars on stderr.

        Raises:
            TypeError: ``source`` is no slate vector environment.
            ValueError: An argument out of its range, or the directory holds an unfinished run of other arguments.
        """
        users = SlateUsers(source)
        arguments = {"options": asdict(self.options), "steps": steps, "seed": seed}
        world = {"num_items": users.num_items, "slate_size": users.slate_size}
        if source.spec is not None:
            world["spec"] = json.loads(source.spec.to_json())
        folder = None if directory is None else Path(directory) / UNFINISHED_FOLDER
        run = Unfinished(folder, arguments | {"world": world})
        if directory is not None:
            (Path(directory) / UNFINISHED_FOLDER).mkdir(parents=True, exist_ok=True)
        self._policy = train_planner(
            self.options, users, run, steps=steps, seed=seed, evaluate=evaluate, progress=progress
        )
        self._seed = seed

    @property
    def policy(self) -> PlannerPolicy:
        """What it has learned.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        if self._policy is None:
            raise RuntimeError("this agent has no policy yet: call fit first")
        return self._policy

    @property
    def logged_interactions(self) -> int:
        """Slates of the logs that it learns from, where no session ends earlier than they do."""
        return self.options.logged_interactions

    def save(self, directory: Path) -> None:
        """Write ``policy.safetensors`` (model and plan) and ``planner.json`` (options and seed).

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.policy.save(directory / POLICY_FILE)
        write_json(directory / _DETAILS_FILE, {"options": asdict(self.options), "seed": self._seed})
        discard_unfinished(directory)

    @classmethod
    @checked_arguments
    def load(cls, directory: Path) -> PlannerPolicy:
        """Read the policy that :meth:`save` wrote."""
        return PlannerPolicy.load(Path(directory) / POLICY_FILE)

    @classmethod
    def policy_from_artifact(cls, artifact: Artifact) -> PlannerPolicy:
        """Read a policy that was shipped as one file."""
        return PlannerPolicy.from_artifact(artifact)
