"""The form of D4RL as an .npz file: flat arrays, a row for each transition, and what they are in JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.array_files import read_npz
from gems_gym.check_words import shown
from gems_gym.whole_files import whole_file

ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
ARTEFACTS = ("ranker", "belief")

_VECTORS = ("observations", "actions", "next_observations")
_FLAGS = ("terminals", "timeouts")


@dataclass(frozen=True)
class D4rlFile:
    """Sessions as D4RL has them, one after the other.

    Attributes:
        observations: float32 ``(N, observation_size)``, what was seen before each action.
        actions: float32 ``(N, action_size)``.
        rewards: float32 ``(N,)``.
        next_observations: float32 ``(N, observation_size)``, what each action led to: the next row's observation,
            but in the last row of a session.
        terminals: bool ``(N,)``; False in gems-gym's worlds, whose sessions are cut off by time.
        timeouts: bool ``(N,)``, True in the last row of each session.
        metadata: What else is known, JSON-able.
        artefacts: "ranker" and "belief" -> the bytes of their files, where they are known.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    terminals: NDArray[np.bool_]
    timeouts: NDArray[np.bool_]
    metadata: dict[str, Any] = field(default_factory=dict)
    artefacts: dict[str, bytes] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes an .npz file without pickle, whole or not at all."""
        files: dict[str, Any] = {
            name: np.frombuffer(data, dtype=np.uint8) for name, data in self.artefacts.items()
        }
        arrays = {name: getattr(self, name) for name in ARRAYS}
        with whole_file(path) as file:
            np.savez(file, metadata=np.array(json.dumps(self.metadata)), **arrays, **files)

    @classmethod
    def load(cls, path: Path) -> D4rlFile:
        """Reads an .npz file of this form, gems-gym's or another's: metadata and artefacts may be missing.

        Raises:
            FileNotFoundError: No such file.
            ValueError: A file that is no .npz, or lacks an array; it names the array.
        """
        arrays = read_npz(path, name="file", needed=ARRAYS, optional=("metadata", *ARTEFACTS))
        return cls(
            **{name: arrays[name] for name in ARRAYS},
            metadata=_metadata(arrays, path),
            artefacts={name: arrays[name].tobytes() for name in ARTEFACTS if name in arrays},
        )

    def check(self, observation_size: int | None, action_size: int | None, session_length: int) -> None:
        """Checks every array before anything is made of it.

        Args:
            observation_size: Numbers in an observation; as many as the file has if None.
            action_size: Likewise for actions.
            session_length: Steps in a session.

        Raises:
            ValueError: A wrong shape or dtype, a number that is not finite or out of [-1, 1], a terminal, a timeout
                too many or missing, a next observation that is not the next row's observation; it names array, row
                and value.
        """
        num_rows = len(self.rewards) if self.rewards.ndim else 0
        sizes = {"observations": observation_size, "actions": action_size}
        sizes["next_observations"] = observation_size
        if observation_size is None and self.observations.ndim == 2:
            sizes["next_observations"] = self.observations.shape[1]
        for name in ARRAYS:
            _check_form(name, getattr(self, name), num_rows, sizes.get(name))
        if num_rows == 0:
            raise ValueError("rewards holds no transitions")
        for name in (*_VECTORS, "rewards"):
            _check_numbers(name, getattr(self, name), in_box=name != "rewards")
        self._check_ends(session_length)
        self._check_next()

    def _check_ends(self, length: int) -> None:
        if self.terminals.any():
            row = int(self.terminals.argmax())
            raise ValueError(
                f"terminals[{row}] is True: sessions of gems-gym never terminate, they end by time; a time limit "
                "belongs into timeouts, so that learning bootstraps through it"
            )
        ends = np.arange(1, len(self.timeouts) + 1) % length == 0  # (N,)
        wrong = np.flatnonzero(self.timeouts != ends)
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"timeouts[{row}] is {self.timeouts[row]}, must be {ends[row]}: a session of this environment has "
                f"{length} steps, so that rows {length - 1}, {2 * length - 1}, … are the last of theirs"
            )
        if not ends[-1]:
            raise ValueError(
                f"timeouts[{len(ends) - 1}], the last row, is False: the last session has {len(ends) % length} of "
                f"{length} steps"
            )

    def _check_next(self) -> None:
        inside = ~self.timeouts[:-1]  # (N - 1,)
        differs = (self.next_observations[:-1] != self.observations[1:]).any(axis=1) & inside
        if differs.any():
            row = int(differs.argmax())
            column = int((self.next_observations[row] != self.observations[row + 1]).argmax())
            raise ValueError(
                f"next_observations[{row}, {column}] is {self.next_observations[row, column]}, but "
                f"observations[{row + 1}, {column}], which comes next in this session, is "
                f"{self.observations[row + 1, column]}"
            )


def _metadata(arrays: dict[str, NDArray[Any]], path: Path) -> dict[str, Any]:
    if "metadata" not in arrays:
        return {}
    try:
        metadata = json.loads(str(arrays["metadata"]))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: metadata is no JSON ({error})") from error
    if not isinstance(metadata, dict):
        raise ValueError(f"{path}: metadata must be a JSON object, got {shown(metadata)}")
    return metadata


def _check_form(name: str, values: NDArray[Any], num_rows: int, size: int | None) -> None:
    expected = np.dtype(np.bool_ if name in _FLAGS else np.float32)
    if values.dtype != expected:
        raise ValueError(f"{name} has dtype {values.dtype}, must be {expected}")
    if name not in _VECTORS:
        if values.shape != (num_rows,):
            raise ValueError(
                f"{name} has shape {values.shape}, must be ({num_rows or 'N'},), a number for each transition"
            )
    elif values.ndim != 2 or len(values) != num_rows or size not in (None, values.shape[1]):
        raise ValueError(
            f"{name} has shape {values.shape}, must be ({num_rows}, {size or 'numbers in a vector'})"
        )


def _check_numbers(name: str, values: NDArray[np.float32], in_box: bool) -> None:
    # not (size <= limit) is true for NaN as well
    wrong = ~(np.abs(values) <= 1.0) if in_box else ~np.isfinite(values)
    if wrong.any():
        where = tuple(int(index) for index in np.unravel_index(int(wrong.argmax()), values.shape))
        must = "lie in [-1, 1]" if in_box else "be finite"
        raise ValueError(f"{name}{list(where)} is {values[where]}, must {must}")
