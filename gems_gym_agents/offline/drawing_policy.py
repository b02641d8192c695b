"""Policies that make their latents of noise, on NumPy alone: what they share, and that of flow Q-learning."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.networks import FeedForward
from gems_gym.policies.base import policy_rng
from gems_gym.policies.saved import LatentPolicy


class DrawingPolicy(LatentPolicy, abc.ABC):
    """One that draws noise for each choice, from a generator of the user's own.

    A user's action has the same bits whatever the number of users beside it.

    Attributes:
        noise_size: Numbers that are drawn for a choice.
    """

    noise_size: int

    def open(self, seeds: Sequence[int]) -> list[np.random.Generator]:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        # a child each: exploration noise, which may be added, is drawn from the parent
        return [policy_rng(seed).spawn(1)[0] for seed in seeds]

    def act(
        self, state: list[np.random.Generator], observations: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], list[np.random.Generator]]:
        """Choose every user's latent.

        Args:
            state: From :meth:`open`.
            observations: Beliefs, ``(num_users, observation_size)``.

        Returns:
            float32 ``(num_users, action_size)`` in [-1, 1], and the state.

        Raises:
            ValueError: Observations of another shape, or not finite.
        """
        beliefs = self.checked_observations(observations, len(state)).astype(np.float32)
        noise = [rng.standard_normal(self.noise_size, dtype=np.float32) for rng in state]
        return self.choose(beliefs, np.stack(noise)), state

    @abc.abstractmethod
    def choose(self, beliefs: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """What is made of beliefs ``(num_users, observation_size)`` and noise ``(num_users, noise_size)``.

        Returns:
            float32 ``(num_users, action_size)`` in [-1, 1].
        """


class OneStepPolicy(DrawingPolicy):
    """Makes a latent of a belief and noise by one network.

    Args:
        network: From a belief and, behind it, as much noise as there are numbers in a latent; it ends in a clip.

    Raises:
        ValueError: Sizes that do not fit together, or another end.
    """

    kind = "policy/flow_q"

    def __init__(self, network: FeedForward) -> None:
        self.network = network
        self.action_size = self.noise_size = network.output_size
        self.observation_size = network.input_size - self.noise_size
        if self.observation_size < 1 or network.spec[-1] != ["clip"]:
            raise ValueError(
                f"the network makes {network.output_size} numbers of {network.input_size} and ends in "
                f"{network.spec[-1]}; it should take a belief and as much noise as it makes, and end in a clip"
            )

    def choose(self, beliefs: NDArray[np.float32], noise: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the network makes of both."""
        return self.network(np.concatenate([beliefs, noise], axis=1))

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        return self.network.to_tensors("network"), {**self.sizes, "network": self.network.spec}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> OneStepPolicy:
        """The reverse of :meth:`to_parts`."""
        return cls(FeedForward.from_tensors(tensors, "network", header["network"]))
