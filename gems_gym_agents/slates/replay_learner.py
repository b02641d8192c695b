"""Learning from the sessions of earlier rounds again, in torch: mini-batches of their steps, drawn at random."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from gems_gym_agents.slates.networks import belief_size
from gems_gym_agents.slates.options import ReplayOptions
from gems_gym_agents.slates.sessions import Sessions
from gems_gym_agents.torch_state import tensor_of

Settings = TypeVar("Settings", bound=ReplayOptions)


class ReplayLearner(abc.ABC, Generic[Settings]):
    """Most of a :class:`~gems_gym_agents.slates.training.Learner` that shows slates.

    Args:
        options: The settings.
        env: Its world.
        seed: Seed of the weights that learning starts from.
        made_by: What the policies' files say of how they were made.

    Attributes:
        options: What was given.
        made_by: What was given.
        belief_size: Numbers in a belief.
        num_items: Items of the world.
        slate_size: Items in a slate.
        parts: See :class:`~gems_gym_agents.slates.training.Learner`.
    """

    def __init__(
        self, options: Settings, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]
    ) -> None:
        self.options, self.kept_rounds, self.made_by = options, options.kept_rounds, made_by
        items: Any = env.single_action_space
        self.num_items, self.slate_size = int(items.nvec[0]), len(items.nvec)
        self.belief_size = belief_size(env)
        self.parts: Mapping[str, Any] = self.make(seed)

    @abc.abstractmethod
    def make(self, seed: int) -> Mapping[str, Any]:
        """Make the networks, with random weights, and their optimisers; returns the :attr:`parts`."""

    def learn(self, rounds: Sequence[Sessions], rng: np.random.Generator) -> dict[str, float]:
        """Update as often as the options say; returns the mean losses."""
        of_rounds = [self.rows(one) for one in rounds]
        arrays = {name: np.concatenate([one[name] for one in of_rounds]) for name in of_rounds[0]}
        losses = []
        for _ in range(self.options.updates):
            rows = rng.integers(len(arrays["beliefs"]), size=self.options.batch_size)
            losses.append(self.update({name: tensor_of(array[rows]) for name, array in arrays.items()}))
        return {name: float(np.mean([one[name] for one in losses])) for name in losses[0]}

    def rows(self, one: Sessions) -> dict[str, NDArray[Any]]:
        """What is learned from: a row for each step of sessions that counts."""
        return {
            "beliefs": one.beliefs[:, :-1][one.playing],
            "slates": one.actions[:, :-1][one.playing],
            "clicks": one.clicks[one.playing].astype(np.float32),
            "rewards": one.rewards[one.playing],
            "continues": one.continues[one.playing].astype(np.float32),
            "next_beliefs": one.beliefs[:, 1:][one.playing],
            "next_slates": one.actions[:, 1:][one.playing],
        }

    @abc.abstractmethod
    def update(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """A gradient update by some :meth:`rows`; returns the losses before it."""


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of an optimiser, for its own parameters."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def follow(slow: nn.Module, fast: nn.Module, tau: float) -> None:
    """Move a network's copy a share of the way to it."""
    for old, new in zip(slow.parameters(), fast.parameters(), strict=True):
        old.lerp_(new, tau)
