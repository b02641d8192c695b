"""The state of an unfinished training run as files, so that the same call goes on where it was, to the same end.

Training is a sequence of rounds (:mod:`gems_gym_agents.online.training`), each of which starts from fresh sessions and
freshly seeded generators. So what one round leaves to the next is little: the networks and their optimisers, the
transitions in the replay buffer, and a few numbers. stable-baselines3 could save them as well, but as pickles, which
can run code when they are read, and the whole buffer each time, where only the last round's transitions are new.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.folders import refuse_link
from gems_gym_agents.online.checkpoints import (
    STATE_FILE,
    UNFINISHED_FOLDER,
    CheckpointRecorder,
    discard_unfinished,
)

_STATE_KIND, _ROWS_KIND = "unfinished/sac", "unfinished/transitions"
_BUFFER_ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_BEGIN_ANEW = (
    "choose another folder, or begin anew with --overwrite (from Python: discard_unfinished(directory))"
)


class UnfinishedRun:
    """Saves a run after each round, and finds what an earlier one with the same arguments left.

    Files, in ``directory/unfinished``: ``state.safetensors``, and ``transitions_{interactions}.safetensors`` of each
    round whose transitions are still in the replay buffer. The state is written last and names the others, so that a
    run killed at any moment goes on from the last round that was saved whole.

    Args:
        directory: the run's folder; ``None`` saves nothing.
        arguments: everything that decides the result, JSON types only.

    Raises:
        OSError: the folder for the state is a symbolic link.
    """

    def __init__(self, directory: Path | None, arguments: dict[str, Any]) -> None:
        self.folder = None if directory is None else directory / UNFINISHED_FOLDER
        if self.folder is not None:
            refuse_link(self.folder)  # files in it are removed, and what is written there is gone on with
        self.arguments = arguments
        self._row_files: list[dict[str, Any]] = []  # oldest first: file, first row, number of rows

    def restore(self, model: SAC, recorder: CheckpointRecorder) -> str:
        """Brings a freshly made model and recorder to where the last saved round ended, if there is one.

        Args:
            model: made with the run's arguments.
            recorder: of the run's folder; begins anew if there is nothing to go on with.

        Returns:
            The CSV log so far.

        Raises:
            ValueError: the folder holds an unfinished run of other arguments, or one whose files were altered or
                removed.
        """
        if self.folder is None or not (self.folder / STATE_FILE).is_file():
            recorder.restore()
            return ""
        try:
            state = load_artifact(self.folder / STATE_FILE, _STATE_KIND)
            check_same(state.header["arguments"], self.arguments, self.folder.parent)
            _set_parameters(model, state.tensors)
            self._row_files = state.header["transitions"]
            for rows in self._row_files:
                stored = load_artifact(self.folder / rows["file"], _ROWS_KIND).tensors
                places = _places(model, rows["first"], rows["count"])
                for name, array in stored.items():
                    getattr(model.replay_buffer, name)[places] = array
            recorder.restore(state.header["curve"])
        except (ArtifactError, FileNotFoundError) as error:
            raise ValueError(f"the unfinished run can't go on: {error}; {_BEGIN_ANEW}") from error
        _set_counters(model, state.header["counters"])
        return str(state.header["log"])

    def save(self, model: SAC, recorder: CheckpointRecorder, log: str) -> None:
        """Writes the state between two rounds.

        Args:
            model: as the round left it.
            recorder: holds the policies so far.
            log: the CSV log so far.
        """
        if self.folder is None:
            return
        self._save_new_rows(self.folder, model)
        header = {
            "arguments": self.arguments,
            "transitions": self._row_files,
            "counters": _counters(model),
            "curve": recorder.curve,
            "log": log,
        }
        save_artifact(self.folder / STATE_FILE, _STATE_KIND, dict(_parameters(model)), header)
        used = {STATE_FILE, *(rows["file"] for rows in self._row_files)}
        for file in self.folder.iterdir():
            if file.name not in used:
                file.unlink()

    def discard(self) -> None:
        """Removes the state: the run is finished, or not worth going on with."""
        if self.folder is not None:
            discard_unfinished(self.folder.parent)

    def _save_new_rows(self, folder: Path, model: SAC) -> None:
        """Writes what the replay buffer got since the last time; a row is one step of all users."""
        capacity, last = model.replay_buffer.buffer_size, _rows_so_far(model)  # type: ignore[union-attr]
        done = self._row_files[-1]["first"] + self._row_files[-1]["count"] if self._row_files else 0
        first = max(done, last - capacity)
        file = f"transitions_{model.num_timesteps}.safetensors"
        places = _places(model, first, last - first)
        arrays = {name: getattr(model.replay_buffer, name)[places] for name in _BUFFER_ARRAYS}
        save_artifact(folder / file, _ROWS_KIND, arrays, {})
        self._row_files.append({"file": file, "first": first, "count": last - first})
        self._row_files = [
            rows for rows in self._row_files if rows["first"] + rows["count"] > last - capacity
        ]


def check_same(saved: dict[str, Any], given: dict[str, Any], directory: Path) -> None:
    """Raises a ``ValueError`` that names the arguments that differ, unless none does."""
    before, now = dict(_flat(saved)), dict(_flat(given))
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    if names:
        differences = ", ".join(f"{name}={before.get(name)!r} (now {now.get(name)!r})" for name in names)
        raise ValueError(
            f"{str(directory)!r} holds an unfinished run with {differences}; give the same arguments to go on with "
            f"it, {_BEGIN_ANEW}"
        )


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in value.items():
        if isinstance(one, dict):
            yield from _flat(one, f"{prefix}{name}.")
        else:
            yield prefix + name, list(one) if isinstance(one, tuple) else one  # as JSON has it


def _rows_so_far(model: SAC) -> int:
    return model.num_timesteps // model.n_envs


def _places(model: SAC, first: int, number: int) -> np.ndarray:
    """Where the replay buffer, which is a ring, keeps some rows."""
    return np.arange(first, first + number) % model.replay_buffer.buffer_size  # type: ignore[union-attr]


def _parameters(model: SAC) -> Iterator[tuple[str, np.ndarray]]:
    """Everything that is learned, by name: networks, and their optimisers' moments."""
    for owner, values in model.get_parameters().items():
        if "param_groups" in values:
            for index, moments in values["state"].items():
                for name, tensor in moments.items():
                    yield f"{owner}/{index}/{name}", _array(tensor)
        else:
            for name, tensor in values.items():
                yield f"{owner}/{name}", _array(tensor)
    assert model.log_ent_coef is not None  # it is always tuned here
    yield "log_ent_coef", _array(model.log_ent_coef)


def _set_parameters(model: SAC, arrays: dict[str, np.ndarray]) -> None:
    """The reverse; optimisers keep the settings that they were made with."""
    parameters = model.get_parameters()
    for key, array in arrays.items():
        owner, *name = key.split("/")
        match name:
            case [index, moment]:
                # the count of steps has no dimension, which arrays in files lose
                value = _tensor(array.reshape(()) if moment == "step" else array)
                parameters[owner]["state"].setdefault(int(index), {})[moment] = value
            case [parameter]:
                parameters[owner][parameter] = _tensor(array).reshape(parameters[owner][parameter].shape)
    model.set_parameters(parameters, device=model.device)  # type: ignore[arg-type]  # its hint is too narrow
    with torch.no_grad():
        assert model.log_ent_coef is not None
        model.log_ent_coef.copy_(_tensor(arrays["log_ent_coef"]))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.array(tensor.detach().cpu().numpy())


def _tensor(array: np.ndarray) -> torch.Tensor:
    # cloned into torch's own memory: how memory is aligned must not decide a bit
    return torch.from_numpy(array).clone()


def _counters(model: SAC) -> dict[str, Any]:
    sessions = [dict(session) for session in model.ep_info_buffer or ()]
    return {
        "seed": model.seed,  # of the start, where there were several
        "interactions": model.num_timesteps,
        "episodes": model._episode_num,
        "updates": model._n_updates,
        "sessions": sessions,
    }


def _set_counters(model: SAC, counters: dict[str, Any]) -> None:
    model.seed, model.num_timesteps = counters["seed"], counters["interactions"]
    model._episode_num, model._n_updates = counters["episodes"], counters["updates"]
    model.ep_info_buffer = deque(counters["sessions"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    buffer, rows = model.replay_buffer, _rows_so_far(model)
    assert buffer is not None
    buffer.pos, buffer.full = rows % buffer.buffer_size, rows >= buffer.buffer_size
