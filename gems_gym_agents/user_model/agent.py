"""The planner as an agent of gems-gym: it learns from slates and clicks, shows slates, and keeps a state."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from gems_gym.common.checks import Count, Seed, checked_arguments, make_checked
from gems_gym.common.files import write_json
from gems_gym.unfinished import UnfinishedRun, discard_unfinished
from gems_gym_agents.user_model.logs import MakeUsers
from gems_gym_agents.user_model.options import PlannerOptions
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.training import run_arguments, train_planner

POLICY_FILE = "policy.safetensors"
_DETAILS_FILE = "planner.json"
_KIND = "unfinished/planner"
SEARCH_STEPS = 8_448_000
"""Interactions of the search in the recipe."""


class PlannerAgent:
    """Learns a user model from clicks and plans by it. Grey-box: the form of the model is that of the simulators.

    Args:
        **options: See :class:`~gems_gym_agents.user_model.options.PlannerOptions`.

    Attributes:
        learns_from: ``"slates"``: what ``fit`` wants is a function that makes a slate vector environment without
            autoreset for a number of users.
        options: The settings.

    Raises:
        ValueError: An unknown option, with the nearest names, or a value out of range.
        TypeError: A value of the wrong type.

    Examples:
        >>> agent = PlannerAgent()
        >>> make_users = functools.partial(gymnasium.make_vec, "GemsSlate-focused_mix-v0", autoreset_mode="disabled")
        >>> agent.fit(lambda num_users: make_users(num_envs=num_users), steps=8_448_000, seed=0)  # doctest: +SKIP
        >>> state = agent.policy.open(user_seeds)  # doctest: +SKIP
        >>> slates, state = agent.policy.act(state, observations)  # doctest: +SKIP
    """

    learns_from: ClassVar[str] = "slates"

    def __init__(self, **options: Any) -> None:
        self.options = make_checked(PlannerOptions, "option of planner", options)
        self._policy: PlannerPolicy | None = None
        self._seed: int | None = None

    @checked_arguments
    def fit(
        self,
        source: MakeUsers,
        *,
        steps: Count = SEARCH_STEPS,
        seed: Seed,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Any = None,
        progress: bool = True,
    ) -> None:
        """Learn from scratch; about three minutes on one core for the published worlds.

        Args:
            source: Makes a slate vector environment without autoreset for a number of users. Nothing of it is used
                but slates and clicks.
            steps: Interactions (users times steps) of the search for a plan, ≥ 1, rounded to whole generations; the
                logs, which the options say, come on top.
            seed: Decides everything random; the same seed gives the same agent.
            directory: Keeps what an interrupted run resumes from until the agent is saved; None keeps nothing.
            device: ``"cpu"``; there is no other.
            evaluate: Not used: the search has no checkpoints to choose among.
            progress: Whether to show progress bars on stderr.

        Raises:
            ValueError: An argument out of its range, or the directory holds an unfinished run of other arguments.
        """
        run = UnfinishedRun(directory, _KIND, run_arguments(self.options, source, steps, seed))
        if directory is not None:
            (Path(directory) / "unfinished").mkdir(parents=True, exist_ok=True)
        self._policy = train_planner(self.options, source, run, steps=steps, seed=seed, progress=progress)
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
