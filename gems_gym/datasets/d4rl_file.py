"""The form of D4RL as an .npz file: flat arrays, a row for each transition, and what they are in JSON.

Files of other programs may need decisions before they are of this form: :mod:`gems_gym.datasets.d4rl_adapt`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.array_files import read_npz
from gems_gym.common.check_messages import shown
from gems_gym.common.files import whole_file
from gems_gym.datasets.sessions import first_of
from gems_gym.errors import require

ARRAYS = ("observations", "actions", "rewards", "next_observations", "terminals", "timeouts")
ARTEFACTS = ("ranker", "belief")

VECTORS = ("observations", "actions", "next_observations")
FLAGS = ("terminals", "timeouts")

_NEEDED = ARRAYS[:-1]
"""Arrays without which a file is refused at once; where sessions end can be given otherwise."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MOST_COMPRESSED = 1100
"""More than deflate can pack into a byte, 1,032."""


@dataclass(frozen=True)
class D4rlFile:
    """Sessions as D4RL has them, one after the other.

    Attributes:
        observations: float32 ``(N, observation_size)``, what was seen before each action.
        actions: float32 ``(N, action_size)``.
        rewards: float32 ``(N,)``.
        next_observations: float32 ``(N, observation_size)``, what each action led to: the next row's observation,
            but in the last row of a session.
        terminals: bool ``(N,)``, True in the last row of each session that its user left; False in worlds where users
            stay, whose sessions are cut off by time.
        timeouts: bool ``(N,)``, True in the last row of each other session.
        metadata: What else is known, JSON-able.
        artefacts: "ranker" and "belief" -> the bytes of their files, where they are known.
        lacks: "timeouts", if the file that this was read from had none; all are False then.
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    terminals: NDArray[np.bool_]
    timeouts: NDArray[np.bool_]
    metadata: dict[str, Any] = field(default_factory=dict)
    artefacts: dict[str, bytes] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()

    @property
    def ends(self) -> NDArray[np.bool_]:
        """Which rows are the last of a session, bool ``(N,)``."""
        return self.terminals | self.timeouts

    def save(self, path: Path) -> None:
        """Writes an .npz file without pickle, complete or not at all."""
        files = {name: np.frombuffer(data, dtype=np.uint8) for name, data in self.artefacts.items()}
        arrays = {name: getattr(self, name) for name in ARRAYS}
        with whole_file(path) as file:
            np.savez(
                file, allow_pickle=False, metadata=np.array(json.dumps(self.metadata)), **arrays, **files
            )

    @classmethod
    def load(cls, path: Path) -> D4rlFile:
        """Reads an .npz file of this form, or an HDF5 file of D4RL's own.

        Metadata, artefacts and timeouts may be missing.

        Raises:
            FileNotFoundError: No such file.
            ValueError: A file that is neither, or lacks another array; it names the array.
        """
        if _is_hdf5(path):
            try:
                arrays = _read_hdf5(path)
            except (ValueError, OSError) as error:
                raise ValueError(f"{path} is no HDF5 file of D4RL's form: {error}") from error
        else:
            arrays = read_npz(
                path, name="file", needed=_NEEDED, optional=("timeouts", "metadata", *ARTEFACTS)
            )
        lacks = tuple(name for name in ARRAYS if name not in arrays)
        none = np.zeros(arrays["rewards"].shape[:1], dtype=np.bool_)
        return cls(
            **{name: arrays.get(name, none) for name in ARRAYS},
            metadata=_metadata(arrays, path),
            artefacts={name: arrays[name].tobytes() for name in ARTEFACTS if name in arrays},
            lacks=lacks,
        )

    def check(
        self,
        observation_size: int | None,
        action_size: int | None,
        session_length: int,
        *,
        users_leave: bool = False,
    ) -> None:
        """Checks every array before anything is made of it.

        Args:
            observation_size: Numbers in an observation; as many as the file has if None.
            action_size: Likewise for actions.
            session_length: Steps in a session.
            users_leave: Whether terminals may end sessions before.

        Raises:
            ValueError: A wrong shape or dtype, a number that is not finite or out of [-1, 1], a terminal, a timeout
                too many or missing, a next observation that is not the next row's observation; it names array, row
                and value.
        """
        self.check_forms(observation_size, action_size)
        for name in (*VECTORS, "rewards"):
            _check_numbers(name, getattr(self, name), in_box=name != "rewards")
        self._check_ends(session_length, users_leave)
        self._check_next()

    def check_forms(self, observation_size: int | None = None, action_size: int | None = None) -> None:
        """Checks shapes and dtypes alone; arguments and errors as of :meth:`check`."""
        num_rows = len(self.rewards) if self.rewards.ndim else 0
        if observation_size is None and self.observations.ndim == 2:
            observation_size = self.observations.shape[1]
        sizes = {
            "observations": observation_size,
            "next_observations": observation_size,
            "actions": action_size,
        }
        for name in ARRAYS:
            _check_form(name, getattr(self, name), num_rows, sizes.get(name))
        if num_rows == 0:
            raise ValueError("rewards holds no transitions")

    def _check_ends(self, length: int, users_leave: bool) -> None:
        if self.terminals.any() and not users_leave:
            row = int(self.terminals.argmax())
            raise ValueError(
                f"terminals[{row}] is True: sessions of gems-gym never terminate, they end by time; a time limit "
                "belongs into timeouts, so that learning bootstraps through it: --terminals-are-timeouts "
                "(terminals_are_timeouts=True) takes it so"
            )
        if "timeouts" in self.lacks and not self.terminals.any():
            raise ValueError(
                "it has no timeouts, and no terminal is True, so that nothing marks where a session ends: "
                f"--episode-length {length} (episode_length={length}) cuts it into sessions of so many steps"
            )
        steps = _steps(self.ends)
        timeouts = (steps == length) & ~self.terminals
        wrong = self.timeouts != timeouts
        if wrong.any():
            row = int(wrong.argmax())
            unless = (
                " unless a terminal ends it"
                if users_leave
                else f", so that rows {length - 1}, {2 * length - 1}, … are the last of theirs{self._length_hint()}"
            )
            raise ValueError(
                f"timeouts[{row}] is {self.timeouts[row]}, must be {timeouts[row]}: a session of this environment has "
                f"{length} steps{unless}"
            )
        if not self.ends[-1]:
            raise ValueError(
                f"timeouts[{len(steps) - 1}], the last row, is False: the last session has {steps[-1]} of "
                f"{length} steps"
            )

    def _length_hint(self) -> str:
        """What would help if the file's sessions are of one length, but another than the environment's."""
        marked = np.flatnonzero(self.timeouts) + 1
        own = int(marked[0]) if len(marked) else 0
        if not np.array_equal(marked, np.arange(own, len(self.timeouts) + 1, own or 1)):
            return ""
        return f"; the file's have {own}: --episode-length {own} (episode_length={own}) makes the environment's so"

    def _check_next(self) -> None:
        inside = ~self.ends[:-1]  # (N - 1,)
        differs = (self.next_observations[:-1] != self.observations[1:]) & inside[:, None]  # (N - 1, size)
        if differs.any():
            row, column = first_of(differs)
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


def _is_hdf5(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_HDF5)) == _HDF5


def _read_hdf5(path: Path) -> dict[str, NDArray[Any]]:
    """Reads the arrays that stand in the file itself: HDF5 can point to other files, and declare what it lacks."""
    h5py = require("h5py")
    arrays, room = {}, _MOST_COMPRESSED * path.stat().st_size
    with h5py.File(path, "r") as file:
        if missing := [name for name in _NEEDED if name not in file]:
            raise ValueError(f"it lacks {', '.join(missing)}; it has {', '.join(file)}")
        for name in (one for one in ARRAYS if one in file):  # D4RL's own files have a group of metadata, too
            stored = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
            if not isinstance(stored, h5py.Dataset) or stored.external or stored.is_virtual:
                raise ValueError(f"{name} must be an array in the file itself")
            room -= stored.nbytes
            if room < 0:
                raise ValueError(f"{name} has shape {stored.shape}, for which the file is too small")
            arrays[name] = stored[()]
    return arrays


def _check_form(name: str, values: NDArray[Any], num_rows: int, size: int | None) -> None:
    expected = np.dtype(np.bool_ if name in FLAGS else np.float32)
    if values.dtype != expected:
        raise ValueError(f"{name} has dtype {values.dtype}, must be {expected}")
    if name not in VECTORS:
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
        where = first_of(wrong)
        must = "lie in [-1, 1]" if in_box else "be finite"
        if name == "actions" and np.isfinite(values).all():
            must += "; --rescale-actions (rescale_actions=True) brings actions there, and records the scale"
        raise ValueError(f"{name}{list(where)} is {values[where]}, must {must}")


def _steps(ends: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The number of each row in its session, from 1, ``(rows,)``, where these rows are the last of theirs."""
    numbers = np.arange(1, len(ends) + 1)
    # rows up to the last end, this row's own included
    before = np.maximum.accumulate(np.where(ends, numbers, 0))
    found: NDArray[np.int64] = numbers - np.concatenate([[0], before[:-1]])
    return found
