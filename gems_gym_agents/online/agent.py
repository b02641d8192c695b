"""What the online agents share: options, training in rounds, the kept policies, saving and loading.

An agent is an options class and a subclass of :class:`OnlineAgent` with one method, ``make_model``, and a second one
if its actor is no squashed Gaussian; see :mod:`gems_gym_agents.online.td3` for a short one. Modules that import torch
and stable-baselines3 are imported only when ``fit`` is called.
"""

from __future__ import annotations

import abc
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gymnasium.vector import VectorEnv

from gems_gym.artifacts.unfinished import discard_unfinished
from gems_gym.beliefs import BeliefEncoder
from gems_gym.beliefs.trained import TrainedBelief
from gems_gym.common.checks import (
    Count,
    Positive,
    checked_arguments,
    make_checked,
)
from gems_gym.common.files import write_json
from gems_gym.common.machine import check_device
from gems_gym.policies.actor import Actor
from gems_gym.policies.base import Shown
from gems_gym.policies.saved import SavedPolicy
from gems_gym.user_splits import UserSeed
from gems_gym_agents.base import POLICY_FILE, Evaluate
from gems_gym_agents.library_state import import_library
from gems_gym_agents.online.checkpoints import Checkpoint, CheckpointRecorder, read_checkpoints
from gems_gym_agents.online.options import OnlineOptions

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class OnlineAgent(abc.ABC):
    """Learns online with an algorithm of stable-baselines3 or sb3-contrib, many users in lockstep.

    Args:
        **options: See ``options_class``.

    Attributes:
        options: The settings.
        checkpoints: Every kept policy of the last ``fit``, in order.

    Raises:
        ValueError: An unknown option (with the nearest names), or a value out of its range.
    """

    learns_from: ClassVar[Literal["dataset", "environment"]] = "environment"
    actions: ClassVar[Shown] = "latents"
    policy_class: ClassVar[type[SavedPolicy]] = Actor
    """Of its policies."""
    options_class: ClassVar[type[OnlineOptions]]
    options: Any
    library: ClassVar[str] = "stable_baselines3"
    """The package that holds the algorithm."""
    details_file: ClassVar[str] = "training.json"
    """What ``save`` writes beside the policy."""

    def __init__(self, **options: Any) -> None:
        self.options = make_checked(self.options_class, f"option of {self.options_class.agent}", options)
        self.checkpoints: list[Checkpoint] = []
        self._seed: int | None = None
        self._chosen: Checkpoint | None = None
        self._dropped = 0
        self._finished = False

    @property
    def interactions(self) -> int:
        """Interactions of the last ``fit`` up to its last kept policy, those of dropped starts included."""
        return self._dropped + (self.checkpoints[-1].interactions if self.checkpoints else 0)

    @checked_arguments
    def fit(
        self,
        source: VectorEnv,
        *,
        steps: Count,
        seed: UserSeed,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Evaluate | None = None,
        progress: bool = True,
        keep_growth: Positive | None = None,
    ) -> None:
        """Train; afterwards the agent acts with its best policy if ``evaluate`` is given, else with its last.

        Policies often get worse late in training, so give ``evaluate``: it scores those kept every ``validate_every``
        interactions and the mean of late ones (``averaged_share``), and the best is chosen. Ctrl-C raises
        ``KeyboardInterrupt``; the agent can then act, and be saved, with the policies kept so far.

        If ``directory`` holds an unfinished run with the same arguments, it is resumed from its last finished round. On
        the CPU it ends with the same policies, bit for bit, and the same curve.

        Args:
            source: A vector environment with Box observations, actions in Box(-1, 1), or slates where the agent shows
                slates, and autoreset SAME_STEP; it is reset with users of the training split.
            steps: Interactions (users times steps); more than ``learning_starts``, where there is such an option.
            seed: Random seed of everything; on the CPU the same seed gives the same policy, bit for bit.
            directory: Gets ``checkpoints/``, ``best.safetensors``, ``last.safetensors`` and ``logs/`` (CSV,
                TensorBoard's file), and ``unfinished/`` until the agent is saved; ``None`` writes nothing.
            device: A torch device.
            evaluate: Scores a policy on validation users, higher is better.
            progress: Whether to show a progress bar on stderr.
            keep_growth: Also keep (and score) a policy whenever the interactions since the first update have grown
                by this share, e.g. 0.1 for 10 %. That gives more policies from early in training, where they improve
                fast; it does not change what is learned, but these policies have their part in the mean of late ones.
                ``None`` keeps those of ``validate_every`` only.

        Raises:
            TypeError: ``source`` is not a vector environment.
            ValueError: Spaces or autoreset mode that the agent cannot use, too few steps for a single update, several
                starts without ``evaluate``, or a directory with an unfinished run of other arguments.
            ImportError: Stable-baselines3 or sb3-contrib is not installed.
            DivergedError: The critics' values are more than ten times what the rewards allow.
        """
        self.options.check_steps(steps)
        if self.options.starts > 1 and evaluate is None:
            raise ValueError(f"starts={self.options.starts}: only with evaluate, by which they are compared")
        check_device(device)
        import_library(self.library)
        from gems_gym_agents.online.rounds import train

        folder = None if directory is None else Path(directory)
        recorder = CheckpointRecorder(evaluate, folder, self.policy_class)
        self.checkpoints, self._seed, self._finished = recorder.checkpoints, seed, False
        try:
            train(
                self,
                source,
                recorder,
                steps=steps,
                seed=seed,
                directory=folder,
                device=device,
                progress=progress,
                keep_growth=keep_growth,
            )
            self._finished = True
        finally:
            self._chosen, self._dropped = recorder.best or recorder.last, recorder.dropped

    @property
    def files_sha256(self) -> dict[str, str]:
        """Hashes of files that the options name, whose content decides what is learned."""
        return {}

    @abc.abstractmethod
    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> BaseAlgorithm:
        """Make the untrained SB3 model of one start.

        Args:
            env: What it learns in.
            seed: Seed of its networks.
            device: A torch device.
        """

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> SavedPolicy:
        """Copy a model's deterministic policy into NumPy; by default the mean of a squashed Gaussian.

        Args:
            model: Model of this agent.
            metadata: JSON-able values to keep with it.

        Returns:
            One of :attr:`policy_class`.
        """
        from gems_gym_agents.online.model import export_actor

        return export_actor(model, metadata)

    def export_belief(self, model: Any, header: dict[str, Any]) -> TrainedBelief | None:
        """Copy the belief that a model has learned; ``None`` for one that learns on the environment's."""
        return None

    @property
    def policy(self) -> SavedPolicy:
        """The policy the agent acts with.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        if self._chosen is None:
            raise RuntimeError("this agent has no policy yet: call fit first")
        return self._chosen.actor

    @property
    def belief(self) -> BeliefEncoder | None:
        """The belief that the agent acts on, if it has learned one of its own.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        if self._chosen is None:
            raise RuntimeError("this agent has no belief yet: call fit first")
        return self._chosen.belief

    @checked_arguments
    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` and a JSON file (options, seed, curve, which policy was chosen).

        If the agent's training has finished, what an interrupted run would resume from is removed from the directory.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        self.policy.save(directory / POLICY_FILE)
        assert self._chosen is not None  # policy has checked
        details = {
            "options": asdict(self.options),
            "seed": self._seed,
            "interactions": self.interactions,
            "chosen": self._chosen.describe(),
            "curve": [checkpoint.describe() for checkpoint in self.checkpoints],
        }
        write_json(directory / self.details_file, details)
        if self._finished:
            discard_unfinished(directory)

    @classmethod
    @checked_arguments
    def load(cls, directory: Path) -> SavedPolicy:
        """Reads the policy that ``save`` wrote; needs neither torch nor stable-baselines3."""
        return cls.policy_class.load(Path(directory) / POLICY_FILE)

    @classmethod
    def load_checkpoints(cls, directory: Path) -> list[Checkpoint]:
        """Reads the policies that ``fit`` kept in its folder, in order; needs neither torch nor stable-baselines3.

        Raises:
            FileNotFoundError: ``fit`` was not given this folder, or a policy's file is missing.
            gems_gym.artifacts.ArtifactError: A policy's file was altered.
        """
        return read_checkpoints(Path(directory), cls.policy_class)
