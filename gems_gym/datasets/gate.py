"""The gate that every dataset comes through, whoever made it: nothing in its files can run code.

``minari.load_dataset`` makes the environment that a file names if the file names no spaces, and
``dataset.recover_environment()`` makes it in any case. Here the metadata are read and checked before Minari reads them,
the environment is rebuilt from what is registered (:mod:`gems_gym.envs.recorded_spec`), and sessions are checked
before they are read (:mod:`gems_gym.datasets.storage`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np

from gems_gym.common.dataset_folders import dataset_file, read_metadata
from gems_gym.datasets.sessions import DATA_FILE
from gems_gym.envs.recorded_spec import rebuilt_spec
from gems_gym.errors import require

if TYPE_CHECKING:
    from gems_gym.datasets.storage import CheckedStorage

LARGEST_SPACE = 10**6
"""Numbers in one observation or action."""

_SPACES = ("observation_space", "action_space")
_REQUIRED: dict[str, type] = {
    "dataset_id": str,
    "minari_version": str,
    "data_format": str,
    "total_episodes": int,
    "total_steps": int,
    **dict.fromkeys(_SPACES, str),
}
_NAMES = {str: "a text", int: "an integer"}
_SPECS = ("env_spec", "eval_env_spec")


def checked_storage(data: Path, owner: str) -> CheckedStorage:
    """The storage of a dataset whose metadata and sizes were checked, and whose environments are registered ones.

    Args:
        data: The folder of its files.
        owner: What to call it in messages.

    Raises:
        ValueError: See :func:`~gems_gym.datasets.open_dataset`.
    """
    from gems_gym.datasets.storage import CheckedStorage

    metadata = read_metadata(data)
    _check_entries(metadata, owner)
    observation_space, action_space = (
        _space(metadata[name], f"{owner}: {name} in its metadata") for name in _SPACES
    )
    specs = {
        name: rebuilt_spec(_parsed(metadata[name], f"{owner}: {name}"), owner).to_json()
        for name in _SPECS
        if metadata.get(name) is not None
    }
    step_bytes = 1 + _bytes_of(observation_space) + _bytes_of(action_space)
    _check_sizes(metadata, dataset_file(data, DATA_FILE), step_bytes, owner)
    jpeg_encoding = bool(metadata.get("jpeg_encoding", True))
    return CheckedStorage(data, observation_space, action_space, jpeg_encoding, specs)


def _check_entries(metadata: Mapping[str, Any], owner: str) -> None:
    for name, kind in _REQUIRED.items():
        value = metadata.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(
                f"{owner}: {name} in its metadata must be {_NAMES[kind]}, got {value!r:.200}; without it the dataset "
                "can't be read, and no environment is made to find it out"
            )
    if metadata["data_format"] != "hdf5":
        raise ValueError(f"{owner} has the format {metadata['data_format']!r:.200}; only 'hdf5' is read")


def _parsed(text: Any, what: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON ({error}), got {text!r:.200}") from error


def _space(text: str, what: str) -> gymnasium.Space[Any]:
    described = _parsed(text, what)
    try:
        _check_space(described)
        space: gymnasium.Space[Any] = require("minari.serialization").deserialize_space(described)
        return space
    except Exception as error:  # Minari's reader has any kind of error for what is no space
        raise ValueError(
            f"{what} can't be read ({type(error).__name__}: {error}), got {text!r:.200}"
        ) from error


def _check_space(described: Any) -> None:
    """Checks what a space would allocate; whether it is one is Minari's to find out."""
    if not isinstance(described, dict):
        raise ValueError("a space must be a JSON object")
    parts = described.get("subspaces", ())
    for part in parts.values() if isinstance(parts, dict) else parts:
        _check_space(part)
    for name in ("shape", "n"):
        sizes = described.get(name, [])
        if isinstance(sizes, list) and math.prod(sizes) > LARGEST_SPACE:
            raise ValueError(f"{name} {sizes} has more than {LARGEST_SPACE:,} numbers")
    if described.get("type") == "MultiBinary" and isinstance(described["n"], int):
        _check_space({"shape": [described["n"]]})
    dtype = described.get("dtype", "int64")
    if not isinstance(dtype, str) or len(dtype) > 16 or np.dtype(dtype).kind not in "biuf":
        raise ValueError(f"dtype must be one of numbers, got {dtype!r:.200}")


def _bytes_of(space: gymnasium.Space[Any]) -> int:
    """Bytes that a value takes in the file, at least."""
    if isinstance(space, gymnasium.spaces.Dict):
        return sum(map(_bytes_of, space.spaces.values()))
    if isinstance(space, gymnasium.spaces.Tuple):
        return sum(map(_bytes_of, space.spaces))
    if space.shape is None or space.dtype is None:
        return 1
    return math.prod(space.shape) * space.dtype.itemsize


def _check_sizes(metadata: Mapping[str, Any], file: Path, step_bytes: int, owner: str) -> None:
    """Checks numbers of sessions and steps, by which readers allocate memory, against the file."""
    from gems_gym.datasets.storage import LARGEST_RATIO

    size, episodes, steps = file.stat().st_size, metadata["total_episodes"], metadata["total_steps"]
    try:
        with require("h5py").File(file) as opened:
            found = len(opened)
    except OSError as error:
        raise ValueError(f"{owner}: {file} is no complete HDF5 file ({error})") from error
    if episodes != found:
        raise ValueError(
            f"{owner}: total_episodes in its metadata is {episodes:,}, but {file} holds {found:,}"
        )
    if not 0 <= steps * step_bytes <= LARGEST_RATIO * size:
        raise ValueError(
            f"{owner}: total_steps in its metadata is {steps:,}, of {step_bytes:,} bytes each, but {file} has "
            f"{size:,} bytes in all"
        )
