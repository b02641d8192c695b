"""The state of an unfinished online training, so that the same call resumes it and ends with the same policies.

Training is a sequence of rounds (:mod:`gems_gym_agents.online.rounds`), each of which starts from fresh sessions and
freshly seeded generators. So what one round leaves to the next is little: the networks and their optimisers, a few
numbers, and off policy the transitions in the replay buffer, of which only the last round's are new each time.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer

from gems_gym.artifacts import load_artifact, save_artifact
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym_agents.online.checkpoints import CheckpointRecorder
from gems_gym_agents.torch_state import array_of, put_state_arrays, state_arrays, tensor_of

_ROWS_KIND = "unfinished/transitions"
_BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


class UnfinishedRounds:
    """Saves a training after each round, and finds what an earlier one with the same arguments left.

    Files beside the state: ``transitions_{interactions}.safetensors`` of each round whose transitions are still in the
    replay buffer.

    Args:
        directory: The run's directory; ``None`` saves nothing.
        arguments: Everything that decides the result, JSON types only.
    """

    def __init__(self, directory: Path | None, arguments: dict[str, Any]) -> None:
        self._run = Unfinished.within(directory, arguments)
        self._row_files: list[dict[str, Any]] = []  # oldest first: file, first row, number of rows

    def restore(self, model: BaseAlgorithm, recorder: CheckpointRecorder) -> str:
        """Bring a freshly made model and recorder to where the last saved round ended, if there is one.

        Args:
            model: Made with the run's arguments.
            recorder: Recorder of the run's directory; starts anew if there is nothing to resume.

        Returns:
            The CSV log so far.

        Raises:
            ValueError: The directory holds an unfinished run of other arguments, or one whose files were altered or
                removed.
        """
        with self._run.resuming() as state:
            if state is None or self._run.folder is None:
                recorder.restore()
                return ""
            _set_parameters(model, state.tensors)
            self._row_files = state.header["transitions"]
            if (buffer := _buffer(model)) is not None:
                self._restore_rows(self._run.folder, buffer)
            recorder.restore(state.header["curve"])
            recorder.dropped = state.header.get("dropped", recorder.dropped)
        _set_counters(model, state.header["counters"])
        return str(state.header["log"])

    def save(self, model: BaseAlgorithm, recorder: CheckpointRecorder, log: str) -> None:
        """Write the state between two rounds.

        Args:
            model: As the round left it.
            recorder: Holds the policies so far.
            log: The CSV log so far.
        """
        if self._run.folder is None:
            return
        buffer = _buffer(model)
        outdated = [] if buffer is None else self._save_new_rows(self._run.folder, model, buffer)
        header = {
            "transitions": self._row_files,
            "counters": _counters(model),
            "curve": recorder.curve,
            "dropped": recorder.dropped,
            "log": log,
        }
        arrays = dict(state_arrays(model.get_parameters()))
        arrays |= {name: array_of(tensor) for name, tensor in _variables(model).items()}
        self._run.save(arrays, header)
        for rows in outdated:
            self._run.file(rows["file"]).unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the state: there is nothing worth resuming."""
        self._run.discard()

    def _restore_rows(self, folder: Path, buffer: ReplayBuffer) -> None:
        for rows in self._row_files:
            places = _places(buffer, rows["first"], rows["count"])
            for name, array in load_artifact(folder / rows["file"], _ROWS_KIND).tensors.items():
                getattr(buffer, name)[places] = array

    def _save_new_rows(
        self, folder: Path, model: BaseAlgorithm, buffer: ReplayBuffer
    ) -> list[dict[str, Any]]:
        """Writes what the replay buffer got since the last time, a row is one step of all users; what it lost since."""
        capacity, last = buffer.buffer_size, _rows_so_far(model)
        done = self._row_files[-1]["first"] + self._row_files[-1]["count"] if self._row_files else 0
        first = max(done, last - capacity)
        file = f"transitions_{model.num_timesteps}.safetensors"
        places = _places(buffer, first, last - first)
        arrays = {name: getattr(buffer, name)[places] for name in _BUFFER_ARRAYS}
        save_artifact(folder / file, _ROWS_KIND, arrays, {})
        rows_so_far = [*self._row_files, {"file": file, "first": first, "count": last - first}]
        self._row_files = [rows for rows in rows_so_far if rows["first"] + rows["count"] > last - capacity]
        return [rows for rows in rows_so_far if rows not in self._row_files]


def _rows_so_far(model: BaseAlgorithm) -> int:
    return model.num_timesteps // model.n_envs


def _buffer(model: BaseAlgorithm) -> ReplayBuffer | None:
    """Of an algorithm that learns off policy."""
    return getattr(model, "replay_buffer", None)


def _places(buffer: ReplayBuffer, first: int, number: int) -> np.ndarray:
    """Where the replay buffer, which is a ring, keeps some rows."""
    return np.arange(first, first + number) % buffer.buffer_size


def _variables(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """What is learned outside networks, by name: the entropy coefficient, where there is one."""
    _, names = model._get_torch_save_params()
    return {name: getattr(model, name) for name in names}


def _set_parameters(model: BaseAlgorithm, arrays: dict[str, np.ndarray]) -> None:
    parameters = model.get_parameters()
    put_state_arrays(parameters, arrays)
    model.set_parameters(parameters, device=model.device)  # type: ignore[arg-type]  # its hint is too narrow
    with torch.no_grad():
        for name, tensor in _variables(model).items():
            tensor.copy_(tensor_of(arrays[name]))


def _counters(model: BaseAlgorithm) -> dict[str, Any]:
    sessions = [dict(session) for session in model.ep_info_buffer or ()]
    return {
        "seed": model.seed,  # of the start, where there were several
        "interactions": model.num_timesteps,
        "episodes": model._episode_num,
        "updates": model._n_updates,
        "sessions": sessions,
    }


def _set_counters(model: BaseAlgorithm, counters: dict[str, Any]) -> None:
    model.seed, model.num_timesteps = counters["seed"], counters["interactions"]
    model._episode_num, model._n_updates = counters["episodes"], counters["updates"]
    model.ep_info_buffer = deque(counters["sessions"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    buffer, rows = _buffer(model), _rows_so_far(model)
    if buffer is not None:
        buffer.pos, buffer.full = rows % buffer.buffer_size, rows >= buffer.buffer_size
