"""Policies as files: an exported deterministic network that runs on NumPy alone, and noise for collecting with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import NonNegative, checked
from gems_gym.common.networks import FeedForward
from gems_gym.policies.base import Observed, Policy, Shown, as_policy, policy_rng, tell_rewards
from gems_gym.policies.saved import MemorylessLatents

KIND = "policy/actor"
_PREFIX = "actor"


class Actor(MemorylessLatents):
    """A deterministic policy without memory: a feed-forward network that ends in tanh or a clip to the box.

    Agents export it after training, so that collecting and evaluating need neither torch nor the library that the
    agent was trained with. A user's action has the same bits whatever the number of users beside it.

    Args:
        network: From observations to actions; its last layer is ``tanh`` or ``clip``.
        metadata: JSON-able values to keep in the file, e.g. which agent it came from.
        half_precision: Rounds the weights to float16, and stores them so: the file has half the size.

    Attributes:
        network: What was given, its weights rounded if they are to be.
        half_precision: What was given.
        observation_size: Numbers in an observation.
        action_size: Numbers in an action.
        metadata: What was given.
        sha256: Digest of the file it was saved to or read from, None if there is none.

    Raises:
        ValueError: The network ends in another layer, so that its actions could leave [-1, 1].
    """

    kind = KIND

    def __init__(
        self, network: FeedForward, metadata: dict[str, Any] | None = None, *, half_precision: bool = False
    ) -> None:
        if not network.spec or network.spec[-1][0] not in ("tanh", "clip"):
            raise ValueError(
                f"network has the layers {network.spec}; the last one must be tanh or clip, to stay in [-1, 1]"
            )
        self.network = _rounded(network) if half_precision else network
        self.half_precision = half_precision
        self.metadata = dict(metadata or {})
        self.observation_size = network.input_size
        self.action_size = network.output_size

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chooses the action of each user; see :class:`~gems_gym.policies.saved.MemorylessLatents`."""
        return self.network(self.checked_observations(observations))

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        tensors = self.network.to_tensors(_PREFIX)
        header = {
            **self.sizes,
            "layers": self.network.spec,
            "metadata": self.metadata,
            **({"float16": sorted(tensors)} if self.half_precision else {}),
        }
        return tensors, header

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> Actor:
        """The reverse of :meth:`to_parts`."""
        network = FeedForward.from_tensors(tensors, _PREFIX, header["layers"])
        return cls(network, header["metadata"], half_precision=bool(header.get("float16")))


def _rounded(network: FeedForward) -> FeedForward:
    """The network as float16 has it, computed in float32 as before."""
    tensors = network.to_tensors(_PREFIX)
    halves = {name: array.astype(np.float16).astype(np.float32) for name, array in tensors.items()}
    return FeedForward.from_tensors(halves, _PREFIX, network.spec)


def add_exploration_noise(
    actions: NDArray[np.float32], standard_deviation: float, generators: Sequence[np.random.Generator]
) -> NDArray[np.float32]:
    """Adds Gaussian noise, each user's from its own generator, and clips to the box.

    What is returned is what must be executed and stored: a dataset that stored the action before noise or clipping
    would teach the wrong cause of the clicks.

    Args:
        actions: (num_users, action_size) float32 in [-1, 1].
        standard_deviation: That of the noise in every dimension, in units of the action box [-1, 1]; 0 adds none.
        generators: One per user; each draws ``action_size`` numbers, whatever the standard deviation.

    Returns:
        (num_users, action_size) float32 in [-1, 1].

    Raises:
        ValueError: A negative or non-finite standard deviation, or not one generator per user.
    """
    checked("standard_deviation", standard_deviation, NonNegative)
    if len(generators) != len(actions):
        raise ValueError(
            f"generators holds {len(generators)} for the actions of {len(actions)} users: give one each"
        )
    noise = np.stack([generator.standard_normal(actions.shape[1]) for generator in generators])
    return np.clip(actions + standard_deviation * noise, -1.0, 1.0).astype(np.float32)


class NoisyActor:
    """A policy with Gaussian exploration noise, for collecting datasets.

    Args:
        policy: Chooses latent actions, as an :class:`Actor` does.
        standard_deviation: See :func:`add_exploration_noise`.

    Attributes:
        exploration_noise: The standard deviation; datasets record it.
        sha256: The policy's, if it has one.

    Raises:
        ValueError: A negative or non-finite standard deviation, or a policy that shows slates.
        TypeError: No policy.
    """

    actions: Shown = "latents"

    def __init__(self, policy: Policy, standard_deviation: float) -> None:
        if as_policy("policy", policy).actions != "latents":
            raise ValueError(f"noise goes with a policy that acts in latents; {policy!r} shows slates")
        self.policy = policy
        self.observes: Observed = policy.observes
        self.exploration_noise = checked("standard_deviation", standard_deviation, NonNegative)
        self.sha256: str | None = getattr(policy, "sha256", None)

    def open(self, seeds: Sequence[int]) -> tuple[Any, list[np.random.Generator]]:
        """Starts the noise of new sessions: user i's depends on ``seeds[i]`` alone, not on the users beside it."""
        return self.policy.open(seeds), [policy_rng(seed) for seed in seeds]

    def act(
        self, state: tuple[Any, list[np.random.Generator]], observations: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], tuple[Any, list[np.random.Generator]]]:
        """(num_users, observation_size) -> the actions to execute and store, (num_users, action_size) in [-1, 1].

        Raises:
            ValueError: The state is of another number of users.
        """
        actions, inner = self.policy.act(state[0], observations)
        return add_exploration_noise(actions, self.exploration_noise, state[1]), (inner, state[1])

    def rewarded(
        self, state: tuple[Any, list[np.random.Generator]], rewards: NDArray[Any]
    ) -> tuple[Any, list[np.random.Generator]]:
        """Tells the policy what its actions earned, if it is one that remembers that."""
        return tell_rewards(self.policy, state[0], rewards), state[1]
