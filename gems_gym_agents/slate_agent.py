"""What our agents have in common whose policy, on slates or latents, is one file of a class of its own."""

from __future__ import annotations

import abc
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from gems_gym.artifacts.unfinished import discard_unfinished
from gems_gym.common.checks import checked_arguments, make_checked
from gems_gym.common.files import write_json
from gems_gym.policies.base import Observed, Shown
from gems_gym_agents.base import POLICY_FILE

Options = TypeVar("Options", bound=Any)
ItsPolicy = TypeVar("ItsPolicy", bound=Any)


class SlateAgent(abc.ABC, Generic[Options, ItsPolicy]):
    """An agent that learns from users of an environment, on the CPU; its ``fit`` sets the policy and the seed.

    Args:
        **options: Those of the agent; each has the recipe's default.

    Attributes:
        name: Name of the agent, in the entry-point group ``gems_gym.agents``; its policies are files of kind
            ``policy/NAME``.
        options_class: Dataclass of its options.
        policy_class: Class of its policies.
        learns_from: ``"environment"``.
        observes: What it sees.
        actions: What it chooses.
        options: The settings.

    Raises:
        ValueError: An unknown option, with the nearest names, or a value out of range.
        TypeError: A value of the wrong type.
    """

    name: ClassVar[str]
    options_class: ClassVar[type[Any]]
    policy_class: ClassVar[type[Any]]
    learns_from: ClassVar[Literal["environment"]] = "environment"
    observes: ClassVar[Observed]
    actions: ClassVar[Shown] = "slates"

    def __init__(self, **options: Any) -> None:
        self.options: Options = make_checked(self.options_class, f"option of {self.name}", options)
        self._policy: ItsPolicy | None = None
        self._seed: int | None = None
        self._finished = False

    def _check_device(self, device: str) -> None:
        if device != "cpu":
            raise ValueError(f"{self.name} learns on the CPU only: device must be 'cpu', got {device!r}")

    @property
    def policy(self) -> ItsPolicy:
        """What it has learned.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        if self._policy is None:
            raise RuntimeError("this agent has no policy yet: call fit first")
        return self._policy

    def _details(self) -> dict[str, Any]:
        """What ``NAME.json`` says; JSON types only."""
        return {"options": asdict(self.options), "seed": self._seed}

    def save(self, directory: Path) -> None:
        """Write ``policy.safetensors`` and ``NAME.json`` (options, seed, and what was measured, if anything).

        If the training has finished, what an interrupted run would resume from is removed from the directory.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        directory, policy = Path(directory), self.policy
        directory.mkdir(parents=True, exist_ok=True)
        policy.save(directory / POLICY_FILE)
        write_json(directory / f"{self.name}.json", self._details())
        if self._finished:
            discard_unfinished(directory)

    @classmethod
    @checked_arguments
    def load(cls, directory: Path) -> ItsPolicy:
        """Read the policy that :meth:`save` wrote; needs no library of the training."""
        read: ItsPolicy = cls.policy_class.load(Path(directory) / POLICY_FILE)
        return read
