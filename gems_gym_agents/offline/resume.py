"""The state of an unfinished offline training, so that the same call resumes it and ends with the same policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.policies.saved import LatentPolicy
from gems_gym_agents.library_state import generator_states, set_generator_states
from gems_gym_agents.offline.loop import Progress
from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer
from gems_gym_agents.torch_state import put_state_arrays, state_arrays


class UnfinishedTraining:
    """Saves a training, and finds what an earlier one with the same arguments left.

    Args:
        directory: The run's directory; ``None`` saves nothing.
        arguments: Everything that decides the result, JSON types only.
        algorithm: d3rlpy's, built.
        buffer: What it learns from; its generator draws the mini-batches.
        device: The torch device.
        policy_class: What its exported policies are.
    """

    def __init__(
        self,
        directory: Path | None,
        arguments: dict[str, Any],
        algorithm: Any,
        buffer: SessionReplayBuffer,
        device: str,
        policy_class: type[LatentPolicy],
    ) -> None:
        self._policy_class = policy_class
        self._run = Unfinished.within(directory, arguments)
        self._algorithm = algorithm
        self._buffer = buffer
        self._device = device

    def restore(self) -> Progress:
        """Bring algorithm, buffer and global generators to the last saved state, if there is one.

        Returns:
            How far the training has come.

        Raises:
            ValueError: The directory holds an unfinished run of other arguments, or one whose state was altered.
        """
        with self._run.resuming() as state:
            if state is None:
                return Progress()
            learners, arrays, header = self._learners(), state.tensors, state.header
            states = {name: learner.state_dict() for name, learner in learners.items()}
            put_state_arrays(states, arrays)
            for name, learner in learners.items():
                learner.load_state_dict(states[name])
            self._algorithm.set_grad_step(header["step"])
            self._buffer.generator.bit_generator.state = header["sampler"]
            set_generator_states(self._device, arrays, header["generators"])
            losses = {name: arrays[f"losses/{name}"].tolist() for name in header["losses"]}
            policies = {
                name: self._policy_class.from_parts(_owned(arrays, f"{name}/"), recorded)
                for name, recorded in header["policies"].items()
            }
            return Progress(
                step=header["step"],
                losses=defaultdict(list, losses),
                history=[dict(line) for line in header["history"]],
                best_record=dict(header["best_record"]),
                **policies,
            )

    def save(self, progress: Progress) -> None:
        """Write the state between two updates.

        Args:
            progress: How far the training has come.
        """
        policies = {name: policy.to_parts() for name, policy in _policies(progress)}
        generators, generator_values = generator_states(self._device)
        arrays = {
            **dict(state_arrays({name: one.state_dict() for name, one in self._learners().items()})),
            **{f"losses/{name}": np.array(values) for name, values in progress.losses.items()},
            **generators,
        }
        for name, (tensors, _) in policies.items():
            arrays |= {f"{name}/{key}": tensor for key, tensor in tensors.items()}
        header = {
            "step": progress.step,
            "losses": list(progress.losses),
            # as pairs, whose order headers keep: it is that of training.json
            "history": [list(line.items()) for line in progress.history],
            "best_record": list(progress.best_record.items()),
            "policies": {name: recorded for name, (_, recorded) in policies.items()},
            "sampler": self._buffer.generator.bit_generator.state,
            "generators": generator_values,
        }
        self._run.save(arrays, header)

    def discard(self) -> None:
        """Remove the state: there is nothing worth resuming."""
        self._run.discard()

    def _learners(self) -> dict[str, Any]:
        """Networks and optimisers by d3rlpy's names."""
        modules = self._algorithm.impl.modules.create_checkpointer(self._device).modules
        return {name: one if isinstance(one, nn.Module) else one.optim for name, one in modules.items()}


def _owned(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def _policies(progress: Progress) -> Iterator[tuple[str, LatentPolicy]]:
    for name, policy in (("best", progress.best), ("last", progress.last)):
        if policy is not None:
            yield name, policy
