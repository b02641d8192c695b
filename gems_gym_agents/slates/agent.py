"""What the agents have in common that see beliefs and learn online from whole sessions."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from gymnasium.vector import VectorEnv

from gems_gym import __version__
from gems_gym.artifacts.unfinished import UNFINISHED_FOLDER, Unfinished, discard_unfinished
from gems_gym.commands.output import plain
from gems_gym.common.checks import Count, Discount, Units, check_fields, checked_arguments, make_checked
from gems_gym.common.files import write_json
from gems_gym.common.progress import track
from gems_gym.errors import require
from gems_gym.policies.base import Observed, Shown
from gems_gym.trackers import trackers
from gems_gym.user_splits import Users, UserSeed
from gems_gym_agents.base import DivergedError, Evaluate
from gems_gym_agents.layers import describe_world
from gems_gym_agents.slates.sessions import check_users
from gems_gym_agents.slates.training import Learner, Line, Training

POLICY_FILE = "policy.safetensors"

_SHOWN = {"clicks_per_session": "{:.1f} clicks per session", "score": "{:.1f} on validation users"}
"""Measurements that stand behind the progress bar -> how."""


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """Settings of every agent that learns from whole sessions.

    Attributes:
        gamma: Discount factor, in [0, 1).
        hidden_units: Units of the hidden layers of every network.
        sessions: Sessions in a round, with a new user each; after each round the agent learns. It takes the least time
            where it is a multiple of the users that are served together.
        batch_size: Interactions in a gradient update, ≥ 1.
        validate_every: Interactions after which the policy is scored if ``evaluate`` is given, rounded up to complete
            rounds.
    """

    gamma: Discount = 0.8
    hidden_units: tuple[Units, ...] = (128, 128)
    sessions: Users = 100
    batch_size: Count = 256
    validate_every: Count = 50_000

    def __post_init__(self) -> None:
        """Raises a TypeError or ValueError that names the setting, its value and what would be right."""
        check_fields(self)


Options = TypeVar("Options", bound=SessionOptions)
ItsPolicy = TypeVar("ItsPolicy", bound=Any)


class SessionAgent(abc.ABC, Generic[Options, ItsPolicy]):
    """An agent that plays complete sessions by turns with learning from them.

    Args:
        **options: Those of the agent; each has the recipe's default.

    Attributes:
        name: Of the agent, in the entry-point group ``gems_gym.agents``.
        options_class: Dataclass of its options.
        policy_class: Of its policies.
        learns_from: ``"environment"``.
        observes: ``"beliefs"``.
        actions: ``"slates"``, or ``"latents"``.
        options: The settings.
        history: What was measured in each round of the last ``fit``.

    Raises:
        ValueError: An unknown option, with the nearest names, or a value out of range.
        TypeError: A value of the wrong type.
    """

    name: ClassVar[str]
    options_class: ClassVar[type[Any]]
    policy_class: ClassVar[type[Any]]
    learns_from: ClassVar[Literal["environment"]] = "environment"
    observes: ClassVar[Observed] = "beliefs"
    actions: ClassVar[Shown] = "slates"

    def __init__(self, **options: Any) -> None:
        self.options: Options = make_checked(self.options_class, f"option of {self.name}", options)
        self.history: list[Line] = []
        self._policy: ItsPolicy | None = None
        self._seed: int | None = None
        self._finished = False

    @checked_arguments
    def fit(
        self,
        source: VectorEnv[Any, Any, Any],
        *,
        steps: Count,
        seed: UserSeed,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Evaluate | None = None,
        progress: bool = True,
    ) -> None:
        """Learn from scratch; the agent then acts with its best policy if ``evaluate`` is given, else with its last.

        If ``directory`` holds an unfinished run with the same arguments, it is resumed after its last finished round
        and ends with the same bits. Ctrl-C raises ``KeyboardInterrupt``; the agent can then act with what it has.

        Args:
            source: A vector environment of beliefs, and of slates or latents as the agent acts, in the autoreset mode
                SAME_STEP. How many users it serves together does not change the result.
            steps: Interactions (users times steps), ≥ 1, rounded up to complete rounds.
            seed: Decides everything random, and which users are met; the same seed gives the same policy.
            directory: Keeps what an interrupted run resumes from until the agent is saved; None keeps nothing.
            device: ``"cpu"``; there is no other.
            evaluate: Scores a policy on validation users, higher is better.
            progress: Whether to show a progress bar on stderr.

        Raises:
            TypeError: ``source`` is no vector environment.
            ValueError: An environment that the agent can't learn in, or a directory with an unfinished run of other
                arguments.
            ImportError: Torch is not installed.
            DivergedError: A loss is not finite.
        """
        if device != "cpu":
            raise ValueError(f"{self.name} learns on the CPU only: device must be 'cpu', got {device!r}")
        check_users(source, self.actions)
        torch = require("torch")
        from gems_gym_agents.library_state import borrowed_global_state

        arguments = {
            "agent": self.name,
            "options": asdict(self.options),
            "steps": steps,
            "seed": seed,
            "validation_users": getattr(evaluate, "user_seeds", None),
            "world": describe_world(source),
            "versions": {"gems-gym": __version__, "torch": str(torch.__version__)},
        }
        folder = None if directory is None else Path(directory) / UNFINISHED_FOLDER
        run = Unfinished(folder, plain(arguments))
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._policy, self._seed, self._finished = None, seed, False
        with borrowed_global_state(), trackers(self.name, directory) as tracked:
            made_by = {"agent": self.name, "seed": seed, "steps": steps}
            training = Training(self._learner(source, seed, made_by), run, self.policy_class.load)
            self.history = training.history
            try:
                with track(self.name, steps, progress) as advance:
                    advance(training.interactions)
                    while training.interactions < steps:
                        before = training.interactions
                        line = training.run_round(
                            source,
                            seed=seed,
                            sessions=self.options.sessions,
                            steps=steps,
                            validate_every=self.options.validate_every,
                            evaluate=evaluate,
                        )
                        tracked(training.interactions, line)
                        advance(training.interactions - before, _note(line))
                self._finished = True
            except DivergedError:
                run.discard()  # a resumed run would end the same way
                raise
            finally:
                self._policy = training.policy

    @abc.abstractmethod
    def _learner(self, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]) -> Learner:
        """The untrained learner; ``made_by`` is kept in its policies' files."""

    @property
    def policy(self) -> ItsPolicy:
        """What it has learned.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        if self._policy is None:
            raise RuntimeError("this agent has no policy yet: call fit first")
        return self._policy

    def save(self, directory: Path) -> None:
        """Write ``policy.safetensors`` and ``NAME.json`` (options, seed, history).

        If the training has finished, what an interrupted run would resume from is removed from the directory.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        directory = Path(directory)
        policy = self.policy
        directory.mkdir(parents=True, exist_ok=True)
        policy.save(directory / POLICY_FILE)
        details = {"options": asdict(self.options), "seed": self._seed, "history": self.history}
        write_json(directory / f"{self.name}.json", details)
        if self._finished:
            discard_unfinished(directory)

    @classmethod
    @checked_arguments
    def load(cls, directory: Path) -> ItsPolicy:
        """Read the policy that :meth:`save` wrote; needs no torch."""
        read: ItsPolicy = cls.policy_class.load(Path(directory) / POLICY_FILE)
        return read


def _note(line: Line) -> str:
    return ", ".join(text.format(line[name]) for name, text in _SHOWN.items() if name in line)
