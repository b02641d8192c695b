"""How BCQ acts, on NumPy alone: it takes the critic's best of some actions that are like the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.networks import FeedForward
from gems_gym.policies.saved import MemorylessLatents


class CandidatesPolicy(MemorylessLatents):
    """Chooses among the same few decoded latents for every belief, by a critic.

    A user's action has the same bits whatever the number of users beside it.

    Args:
        networks: ``decoder``, from a belief and a noise vector to a latent; ``perturbation``, from a belief and a
            latent to a change, in [-1, 1]; ``critic``, from a belief and a latent to a number, the larger the better.
        noise: What is decoded, float32 ``(num_candidates, noise_size)``.
        flexibility: Largest change of each number of a latent.

    Raises:
        ValueError: Sizes that do not fit together.
        KeyError: A network is missing.
    """

    kind = "policy/bcq"

    def __init__(
        self, networks: Mapping[str, FeedForward], noise: NDArray[np.float32], flexibility: float
    ) -> None:
        self.networks = dict(networks)
        self.noise = np.ascontiguousarray(noise, dtype=np.float32)
        self.flexibility = flexibility
        decoder, perturbation, critic = (networks[name] for name in ("decoder", "perturbation", "critic"))
        self.action_size = decoder.output_size
        self.observation_size = critic.input_size - self.action_size
        if self.noise.ndim != 2 or not len(self.noise) or not np.isfinite(self.noise).all():
            raise ValueError(f"noise must be a finite matrix with rows, got the shape {self.noise.shape}")
        found = [(one.input_size, one.output_size) for one in (decoder, perturbation, critic)]
        both = self.observation_size + self.action_size
        expected = [
            (self.observation_size + self.noise.shape[1], self.action_size), (both, self.action_size), (both, 1)
        ]  # fmt: skip
        if found != expected or self.observation_size < 1:
            raise ValueError(f"the networks have the inputs and outputs {found}; {expected} were expected")

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chooses the action of each user; see :class:`~gems_gym.policies.saved.MemorylessLatents`."""
        actions, values = self.candidates(observations)
        best: NDArray[np.float32] = actions[np.arange(len(actions)), values.argmax(axis=1)]
        return best

    def candidates(
        self, observations: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What is chosen among; arguments and errors as for calling the policy.

        Returns:
            Actions (num_users, num_candidates, action_size) float32 in [-1, 1], and their values (num_users,
            num_candidates) float32.
        """
        observations = self.checked_observations(observations).astype(np.float32)
        users, count = len(observations), len(self.noise)
        beliefs = np.repeat(observations, count, axis=0)  # (num_users * num_candidates, observation_size)
        decoded = self._of_both("decoder", beliefs, np.tile(self.noise, (users, 1)))
        change = np.float32(self.flexibility) * self._of_both("perturbation", beliefs, decoded)
        actions = np.clip(decoded + change, np.float32(-1), np.float32(1))
        values = self._of_both("critic", beliefs, actions)
        return actions.reshape(users, count, -1), values.reshape(users, count)

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        tensors = {"noise": self.noise}
        for name, network in self.networks.items():
            tensors |= network.to_tensors(name)
        header = {
            **self.sizes,
            "networks": {name: network.spec for name, network in self.networks.items()},
            "flexibility": self.flexibility,
        }
        return tensors, header

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> CandidatesPolicy:
        """The reverse of :meth:`to_parts`."""
        networks = {
            name: FeedForward.from_tensors(tensors, name, spec) for name, spec in header["networks"].items()
        }
        return cls(networks, tensors["noise"], float(header["flexibility"]))

    def _of_both(
        self, name: str, beliefs: NDArray[np.float32], other: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        return self.networks[name](np.concatenate([beliefs, other], axis=1))
