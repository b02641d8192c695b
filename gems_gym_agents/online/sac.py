"""Soft actor-critic (Haarnoja et al., 2018, arXiv 1812.05905) on latent actions, through stable-baselines3.

This module holds the agent. Its options are in :mod:`gems_gym_agents.online.options`, the training is in
:mod:`gems_gym_agents.online.rounds`, networks and replay buffer are in :mod:`gems_gym_agents.online.model`. The last
two import torch and stable-baselines3, so they are imported only when ``fit`` is called.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from gymnasium.vector import VectorEnv

from gems_gym.artifacts.unfinished import discard_unfinished
from gems_gym.common.checks import (
    Count,
    Positive,
    Seed,
    checked_arguments,
    make_checked,
)
from gems_gym.common.files import write_json
from gems_gym.common.machine import check_device
from gems_gym.policies.actor import Actor
from gems_gym_agents.base import Evaluate
from gems_gym_agents.library_state import import_library
from gems_gym_agents.online.checkpoints import Checkpoint, CheckpointRecorder, read_checkpoints
from gems_gym_agents.online.options import SACOptions

if TYPE_CHECKING:
    from stable_baselines3 import SAC

POLICY_FILE = "policy.safetensors"
_DETAILS_FILE = "sac.json"


class SACAgent:
    """Learns latent actions online with stable-baselines3's SAC, many users in lockstep.

    Args:
        **options: See :class:`SACOptions`.

    Attributes:
        options: The settings.
        checkpoints: Every kept policy of the last ``fit``, in order.

    Raises:
        ValueError: An unknown option (with the nearest names), or a value out of its range.

    Examples:
        >>> agent = SACAgent(net_arch=(64, 64))
        >>> agent.options.gamma
        0.8
        >>> agent.fit(vector_env, steps=200_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
    """

    learns_from: ClassVar[Literal["dataset", "environment"]] = "environment"
    options_class: ClassVar[type[SACOptions]] = SACOptions

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
        seed: Seed,
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
            source: A vector environment with Box observations, Box(-1, 1) actions and autoreset SAME_STEP; it is reset
                with users of the training split.
            steps: Interactions (users times steps), more than ``learning_starts``.
            seed: Random seed of everything; on the CPU the same seed gives the same policy, bit for bit.
            directory: Gets ``checkpoints/``, ``best.safetensors``, ``last.safetensors`` and ``logs/`` (CSV,
                TensorBoard), and ``unfinished/`` until the agent is saved; ``None`` writes nothing.
            device: A torch device.
            evaluate: Scores a policy on validation users, higher is better.
            progress: Whether to show a progress bar on stderr.
            keep_growth: Also keep (and score) a policy whenever the interactions since ``learning_starts`` have grown
                by this share, e.g. 0.1 for 10 %. That gives more policies from early in training, where they improve
                fast; it does not change what is learned. ``None`` keeps those of ``validate_every`` only.

        Raises:
            TypeError: ``source`` is not a vector environment.
            ValueError: Spaces or autoreset mode that SAC cannot use, too few steps for a single update, several starts
                without ``evaluate``, or a directory with an unfinished run of other arguments.
            ImportError: Stable-baselines3 is not installed.
            DivergedError: The critics' values are more than ten times what the rewards allow.
        """
        if steps <= self.options.learning_starts:
            raise ValueError(
                f"steps={steps}: the first learning_starts={self.options.learning_starts} interactions are random and "
                "teach nothing; ask for more steps, or for a smaller learning_starts"
            )
        if self.options.starts > 1 and evaluate is None:
            raise ValueError(f"starts={self.options.starts}: only with evaluate, by which they are compared")
        check_device(device)
        import_library("stable_baselines3")
        from gems_gym_agents.online.rounds import train_sac

        recorder = CheckpointRecorder(evaluate, None if directory is None else Path(directory))
        self.checkpoints, self._seed, self._finished = recorder.checkpoints, seed, False
        try:
            train_sac(
                self.options,
                partial(self.make_model, source),
                source,
                recorder,
                steps=steps,
                seed=seed,
                directory=recorder.directory,
                device=device,
                progress=progress,
                keep_growth=keep_growth,
            )
            self._finished = True
        finally:
            self._chosen, self._dropped = recorder.best or recorder.last, recorder.dropped

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> SAC:
        """Make the untrained SB3 model of one start. Subclasses with other networks override it."""
        from gems_gym_agents.online.model import find_guide, make_sac

        start_from = self.options.start_from
        guide = None if start_from is None else find_guide(start_from, env)
        return make_sac(self.options, env, seed=seed, device=device, guide=guide)

    @property
    def policy(self) -> Actor:
        """The policy the agent acts with.

        Raises:
            RuntimeError: The agent has not been fitted.
        """
        if self._chosen is None:
            raise RuntimeError("this agent has no policy yet: call fit first")
        return self._chosen.actor

    @checked_arguments
    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` and ``sac.json`` (options, seed, curve, which policy was chosen).

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
        write_json(directory / _DETAILS_FILE, details)
        if self._finished:
            discard_unfinished(directory)

    @classmethod
    @checked_arguments
    def load(cls, directory: Path) -> Actor:
        """Reads the policy that ``save`` wrote; needs neither torch nor stable-baselines3."""
        return Actor.load(Path(directory) / POLICY_FILE)

    @classmethod
    def load_checkpoints(cls, directory: Path) -> list[Checkpoint]:
        """Reads the policies that ``fit`` kept in its folder, in order; needs neither torch nor stable-baselines3.

        Raises:
            FileNotFoundError: ``fit`` was not given this folder, or a policy's file is missing.
            gems_gym.artifacts.ArtifactError: A policy's file was altered.
        """
        return read_checkpoints(Path(directory))
