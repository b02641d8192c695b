"""Policies as files: an exported deterministic network that runs on NumPy alone, and noise for collecting with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.networks import FeedForward
from gems_gym_agents.base import FloatArray, Policy

KIND = "policy/actor"
_PREFIX = "actor"
_NOISE_STREAM = 0x6E6F697365  # keeps the noise's generator apart from the user's own, which has the same seed


class Actor:
    """A deterministic policy: a feed-forward network that ends in tanh.

    Agents export it after training, so that collecting and evaluating need neither torch nor the library that the
    agent was trained with. A user's action has the same bits whatever the number of users beside it.

    Args:
        network: from observations to actions; its last layer is ``tanh``.
        metadata: JSON-able values to keep in the file, e.g. which agent it came from.

    Attributes:
        observation_size: numbers in an observation.
        action_size: numbers in an action.
        metadata: what was given.

    Raises:
        ValueError: the network does not end in tanh, so that its actions could leave [-1, 1].
    """

    def __init__(self, network: FeedForward, metadata: dict[str, Any] | None = None) -> None:
        if not network.spec or network.spec[-1][0] != "tanh":
            raise ValueError(
                f"network has the layers {network.spec}; the last one must be tanh, to stay in [-1, 1]"
            )
        self.network = network
        self.metadata = dict(metadata or {})
        self.observation_size = network.input_size
        self.action_size = network.output_size

    def reset(self, seeds: Sequence[int]) -> None:
        """Starts new sessions, as for every policy; there is nothing to forget and nothing to draw."""

    def act(self, observations: FloatArray) -> FloatArray:
        """Chooses the action of each user.

        Args:
            observations: (num_users, observation_size) float.

        Returns:
            (num_users, action_size) float32 in [-1, 1].

        Raises:
            ValueError: another shape, or a number that is not finite.
        """
        observations = np.asarray(observations)
        if observations.ndim != 2 or observations.shape[1] != self.observation_size:
            raise ValueError(
                f"observations has shape {observations.shape}; (num_users, {self.observation_size}) was expected"
            )
        if not np.isfinite(observations).all():
            row = int(np.flatnonzero(~np.isfinite(observations).all(axis=1))[0])
            raise ValueError(f"observations[{row}] holds NaN or infinity; finite numbers were expected")
        return self.network(observations)

    def save(self, path: Path) -> str:
        """Writes a safetensors artefact of the kind ``policy/actor``.

        Args:
            path: the file; it appears under its name only when it is whole.

        Returns:
            The file's sha256, as hex.
        """
        header = {
            "observation_size": self.observation_size,
            "action_size": self.action_size,
            "layers": self.network.spec,
            "metadata": self.metadata,
        }
        return save_artifact(path, KIND, self.network.to_tensors(_PREFIX), header)

    @classmethod
    def load(cls, path: Path) -> Actor:
        """Reads what :meth:`save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ArtifactError: the file is damaged, or no ``policy/actor``.
        """
        artifact = load_artifact(path, KIND)
        header = artifact.header
        try:
            network = FeedForward.from_tensors(artifact.tensors, _PREFIX, header["layers"])
            return cls(network, header["metadata"])
        except (KeyError, ValueError) as error:
            raise ArtifactError(f"{path} is not a readable {KIND}: {error}") from error

    @classmethod
    def from_modules(cls, modules: Iterable[Any], metadata: dict[str, Any] | None = None) -> Actor:
        """Copies a policy network out of torch.

        Args:
            modules: ``torch.nn`` modules in the order they are applied: Linear, ReLU, LayerNorm (over the last axis),
                Tanh, and Sequential of these.
                Identity, Flatten and Dropout (which do nothing at inference on rows) are passed over.
            metadata: JSON-able values to keep in the file.

        Returns:
            An actor that agrees with the modules within float32 rounding.

        Raises:
            ValueError: a module that the exported network has no layer for, or a network that does not end in Tanh.
        """
        spec: list[list[str]] = []
        tensors: dict[str, np.ndarray] = {}
        for name, weights in _layers(modules):
            for key, array in weights.items():
                tensors[f"{len(spec)}.{key}"] = array
            spec.append([name])
        return cls(FeedForward(tensors, spec), metadata)


def _layers(modules: Iterable[Any]) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Layer names of :class:`FeedForward` with their weights, from torch modules."""
    from torch import nn

    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _layers(module)
        elif isinstance(module, nn.Linear):
            weight = _array(module.weight)  # (outputs, inputs)
            bias = np.zeros(len(weight), dtype=np.float32) if module.bias is None else _array(module.bias)
            yield "linear", {"weight": weight, "bias": bias}
        elif isinstance(module, nn.LayerNorm):
            yield "layer_norm", _layer_norm_weights(module)
        elif isinstance(module, nn.ReLU):
            yield "relu", {}
        elif isinstance(module, nn.Tanh):
            yield "tanh", {}
        elif not isinstance(module, nn.Identity | nn.Flatten | nn.Dropout):
            raise ValueError(
                f"module {module} cannot be exported; Linear, LayerNorm, ReLU, Tanh and Sequential can "
                "(Identity, Flatten and Dropout are passed over)"
            )


def _layer_norm_weights(module: Any) -> dict[str, np.ndarray]:
    if len(module.normalized_shape) != 1 or module.eps != 1e-5:
        raise ValueError(
            f"module {module} cannot be exported; LayerNorm over the last axis with eps=1e-05 can"
        )
    width = module.normalized_shape[0]
    weight = np.ones(width, dtype=np.float32) if module.weight is None else _array(module.weight)
    bias = np.zeros(width, dtype=np.float32) if module.bias is None else _array(module.bias)
    return {"weight": weight, "bias": bias}


def _array(tensor: Any) -> np.ndarray:
    # a copy: training goes on in the tensor
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)


def add_exploration_noise(
    actions: FloatArray, standard_deviation: float, generators: Sequence[np.random.Generator]
) -> FloatArray:
    """Adds Gaussian noise, each user's from its own generator, and clips to the box.

    What is returned is what must be executed and stored: a dataset that stored the action before noise or clipping
    would teach the wrong cause of the clicks.

    Args:
        actions: (num_users, action_size) float32 in [-1, 1].
        standard_deviation: of the noise in every dimension, in units of the action box [-1, 1]; 0 adds none.
        generators: one per user; each draws ``action_size`` numbers, whatever the standard deviation.

    Returns:
        (num_users, action_size) float32 in [-1, 1].

    Raises:
        ValueError: a negative or non-finite standard deviation, or not one generator per user.
    """
    _check_standard_deviation(standard_deviation)
    if len(generators) != len(actions):
        raise ValueError(
            f"generators holds {len(generators)} for the actions of {len(actions)} users: give one each"
        )
    noise = np.stack([generator.standard_normal(actions.shape[1]) for generator in generators])
    return np.clip(actions + standard_deviation * noise, -1.0, 1.0).astype(np.float32)


def _check_standard_deviation(value: float) -> None:
    if not (np.isfinite(value) and value >= 0.0):
        raise ValueError(f"standard_deviation={value!r}: it must be a number of at least 0")


class NoisyActor:
    """A policy with Gaussian exploration noise, for collecting datasets.

    Args:
        policy: anything with ``act(observations)``.
        standard_deviation: see :func:`add_exploration_noise`.

    Raises:
        ValueError: a negative or non-finite standard deviation.
    """

    def __init__(self, policy: Policy, standard_deviation: float) -> None:
        _check_standard_deviation(standard_deviation)
        self.policy = policy
        self.standard_deviation = standard_deviation
        self._generators: list[np.random.Generator] = []

    def reset(self, seeds: Sequence[int]) -> None:
        """Starts the noise of new sessions: user i's depends on ``seeds[i]`` alone, not on the users beside it."""
        self._generators = [np.random.default_rng([_NOISE_STREAM, seed]) for seed in seeds]

    def act(self, observations: FloatArray) -> FloatArray:
        """(num_users, observation_size) -> the actions to execute and store, (num_users, action_size) in [-1, 1].

        Raises:
            ValueError: ``reset`` was called for another number of users, or not at all.
        """
        return add_exploration_noise(self.policy.act(observations), self.standard_deviation, self._generators)
