"""Datasets read back: opened so that nothing in their files can run code, their sessions, and what goes with them.

``minari.load_dataset`` makes the environment that a file names if the file names no spaces, and
``dataset.recover_environment()`` makes it in any case. Here the metadata are read and checked before Minari reads them,
the environment is rebuilt from what is registered (:mod:`gems_gym.envs.recorded_spec`), and sessions are checked
before they are read (:mod:`gems_gym.datasets.storage`). Every dataset is opened this way, whoever made it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts import Artifact, load_artifact
from gems_gym.artifacts.recorded import recorded_copy
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.check_messages import shown
from gems_gym.common.checks import checked
from gems_gym.common.dataset_folders import ARTIFACTS, data_folder, dataset_file, read_metadata
from gems_gym.common.progress import track
from gems_gym.datasets.sessions import (
    CHUNK_SESSIONS,
    DATA_FILE,
    ContentHash,
    SessionEnds,
    Sessions,
    check_end,
    sessions_at_once,
)
from gems_gym.datasets.world import recorded_world
from gems_gym.envs import SlateEnv
from gems_gym.envs.recorded_spec import PARTS, rebuilt_spec, world_config
from gems_gym.errors import require, unknown_name
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import Ranker, load_ranker

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.storage import CheckedStorage

    Dataset: TypeAlias = minari.MinariDataset | str

LARGEST_SPACE = 10**6
"""Numbers in one observation or action."""

LOG = "log"
"""Entry of the metadata that says what a dataset was imported from, a dict; others have none."""

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

OF_ONE_FILE = {
    "content_hash", "total_episodes", "total_steps", "data_format", "jpeg_encoding", "observation_space",
    "action_space", "env_spec", "dataset_id", "minari_version", "dataset_size", "combined_datasets", "command",
}  # fmt: skip
"""Metadata that describe one file, and are made anew for a dataset that is made of it."""


def open_dataset(dataset: Dataset) -> minari.MinariDataset:
    """Opens a Minari dataset without running anything that its files name.

    Args:
        dataset: The id of a local dataset, or one that was opened already, by this function or by Minari.

    Returns:
        The dataset, with the sessions that were chosen if it was opened already. Its ``env_spec`` is the registered
        environment's with the recorded keywords, so that ``recover_environment()`` makes nothing else; it is None if
        none was recorded.

    Raises:
        ValueError: If the id is malformed, a file leads out of its folder, the metadata lack a space or another
            required entry, the format is not HDF5, the environment is none of gems-gym's that is registered here, or
            the sizes are not those of the file.
        TypeError: If it is neither.
        UnknownDatasetError: If there is no such dataset; it is a ``ValueError`` and a ``FileNotFoundError``.
        ImportError: If Minari is not installed; it names the extra.

    Examples:
        >>> dataset = open_dataset("gems-slate/diffuse_topdown/medium-v0")  # doctest: +SKIP
    """
    minari = require("minari")
    if isinstance(dataset, str):
        return open_folder(data_folder(dataset), f"dataset {dataset!r}")
    if not isinstance(dataset, minari.MinariDataset):
        raise TypeError(f"dataset must be a MinariDataset or the id of a local one, got {dataset!r:.200}")
    from gems_gym.datasets.storage import CheckedStorage

    if isinstance(dataset.storage, CheckedStorage):
        return dataset
    storage = _checked_storage(Path(dataset.storage.data_path), f"dataset {dataset.id!r}")
    return minari.MinariDataset(storage, episode_indices=dataset.episode_indices)


def open_folder(data: Path, owner: str) -> minari.MinariDataset:
    """Opens a dataset that is not, or not yet, in its place; errors as of :func:`open_dataset`.

    Args:
        data: The folder of its files.
        owner: What to call it in messages.
    """
    return require("minari").MinariDataset(_checked_storage(data, owner))


def environment_of(dataset: minari.MinariDataset) -> EnvSpec:
    """Returns the environment that an opened dataset was recorded in.

    Raises:
        ValueError: If it names none.
    """
    spec: EnvSpec | None = dataset.env_spec
    if spec is None:
        raise ValueError(f"dataset {dataset.id!r} names no environment: its metadata have no env_spec")
    return spec


def is_log(dataset: minari.MinariDataset) -> bool:
    """Whether an opened dataset was imported from a log of another recommender: it has no environment."""
    return isinstance(dataset.storage.metadata.get(LOG), dict) and dataset.env_spec is None


def open_sessions(dataset: Dataset) -> minari.MinariDataset:
    """Opens a dataset of sessions: recorded in a world, by whatever program, or imported from a log.

    Args:
        dataset: The dataset, or the id of a local one.

    Raises:
        ValueError: As :func:`~gems_gym.datasets.open_dataset`, and if it names no environment, or holds no sessions.
    """
    opened = open_dataset(dataset)
    if not is_log(opened):
        environment_of(opened)
    if opened.total_episodes == 0:
        raise ValueError(f"dataset {opened.id!r} holds no sessions")
    return opened


def open_recording(dataset: Dataset) -> minari.MinariDataset:
    """Opens a dataset whose sessions were recorded in a world of gems-gym.

    Args:
        dataset: The dataset, or the id of a local one.

    Raises:
        ValueError: As :func:`open_sessions`, and if it was imported from a log.
    """
    opened = open_sessions(dataset)
    if is_log(opened):
        raise ValueError(
            f"dataset {opened.id!r} was imported from a log of another recommender: it has no environment, which "
            "this requires"
        )
    return opened


def session_ends(dataset: minari.MinariDataset) -> SessionEnds:
    """How long the sessions of a dataset are and how they end.

    Raises:
        ValueError: The metadata of a log do not say it, or more steps than the dataset has.
    """
    if not is_log(dataset):
        return SessionEnds.of_world(world_config(environment_of(dataset)))
    metadata = dataset.storage.metadata
    longest, most = metadata[LOG].get("longest_session"), metadata["total_steps"]
    if not isinstance(longest, int) or not 1 <= longest <= most:
        raise ValueError(
            f"dataset {dataset.id!r}: longest_session of the log in its metadata must be an integer from 1 to {most}, "
            f"got {longest!r:.200}"
        )
    return SessionEnds(longest, users_leave=True)


def read_sessions(dataset: minari.MinariDataset, task: str, *, progress: bool) -> Iterator[Sessions]:
    """Reads a dataset chunk by chunk.

    Args:
        dataset: The dataset, or a part of it that Minari made (``filter_episodes``, ``split_dataset``).
        task: What the progress bar says.
        progress: Draws a progress bar on stderr.

    Yields:
        Sessions in their order, at most :data:`CHUNK_SESSIONS` at once, fewer if they are long.

    Raises:
        ValueError: If a session does not end as those of its world do.
    """
    storage, indices = dataset.storage, dataset.episode_indices
    ends = session_ends(dataset)

    def read(some: Any) -> Sessions:
        episodes = list(read_episodes(storage, some))
        for episode in episodes:
            try:
                check_end(episode, ends)
            except ValueError as error:
                raise ValueError(f"dataset {dataset.id!r}, episode {episode['id']}: {error}") from error
        return Sessions.of_episodes(episodes, ends.longest)

    at_once = sessions_at_once(read(indices[:1]).nbytes, CHUNK_SESSIONS)
    with track(task, len(indices), shown=progress) as advance:
        for start in range(0, len(indices), at_once):
            sessions = read(indices[start : start + at_once])
            yield sessions
            advance(len(sessions))


def read_episodes(
    storage: CheckedStorage, indices: Iterable[int], names: Collection[str] | None = None
) -> Iterator[dict[str, Any]]:
    """Reads episodes; see :meth:`~gems_gym.datasets.storage.CheckedStorage.read_sessions`."""
    return storage.read_sessions(indices, names)


def check_is_dataset(dataset: Any, name: str = "dataset") -> None:
    """Raise a TypeError unless something is a Minari dataset or a text, which may be the id of one."""
    if not isinstance(dataset, str) and not hasattr(dataset, "storage"):
        raise TypeError(
            f"{name} must be a Minari dataset or the id of a local one, got {shown(dataset)} of type "
            f"{type(dataset).__name__}"
        )


def dataset_ranker(dataset: Dataset) -> Ranker:
    """Loads the ranker that a latent dataset was recorded with, from the copy stored with it.

    Args:
        dataset: The dataset, or the id of a local one.

    Raises:
        ValueError: If the dataset has no ranker (it is a slate dataset).
        ArtifactError: If the copy is missing, or is not the file whose sha256 the metadata hold.
    """
    return load_ranker(recorded_copy(_folder_of(dataset), "ranker"))


def dataset_belief(dataset: Dataset) -> BeliefEncoder:
    """Loads the belief encoder of a latent dataset; arguments and errors as :func:`dataset_ranker`."""
    return load_belief(recorded_copy(_folder_of(dataset), "belief"))


def artifact_file(dataset: Dataset, name: str) -> Path:
    """Returns where a dataset's copy of ``"ranker"`` or ``"belief"`` lies; whether it does is not checked."""
    if checked("name", name, str) not in PARTS:
        raise unknown_name("name of a dataset's copy", name, PARTS)
    return _folder_of(dataset) / ARTIFACTS / f"{name}.safetensors"


def recover_latent_environment(dataset: Dataset, **kwargs: Any) -> gymnasium.Env[Any, Any]:
    """Rebuilds the environment of a latent dataset, beliefs in and latents out.

    It acts through the dataset's own copies of ranker and belief. ``dataset.recover_environment()`` makes a latent
    environment too, but where they are shipped ones, with those that are installed under their names now.

    Args:
        dataset: The dataset, or the id of a local one.
        **kwargs: Handed to ``gymnasium.make``.

    Returns:
        An environment whose spaces are the dataset's.

    Raises:
        ValueError: If it is a slate dataset, and as :func:`open_dataset`.
        ArtifactError: As :func:`dataset_ranker`.
    """
    opened = open_dataset(dataset)
    ranker, belief = dataset_ranker(opened), dataset_belief(opened)
    return LatentWorld(environment_of(opened), ranker, belief).env(**kwargs)


def compute_content_hash(dataset: Dataset) -> str:
    """Hashes a dataset's numbers as they are on disk now.

    Returns:
        64 hexadecimal digits: ``dataset.storage.metadata["content_hash"]`` if nothing was changed.
    """
    storage, content = open_dataset(dataset).storage, ContentHash()
    for episode in read_episodes(storage, range(storage.total_episodes)):
        content.add(episode)
    return content.hexdigest()


def dataset_world(dataset: minari.MinariDataset) -> SlateEnv:
    """Makes the slate environment that a dataset was recorded in; errors as of :func:`recorded_world`."""
    return recorded_world(
        dataset.env_spec, dataset.storage.metadata.get("catalog_hash"), f"dataset {dataset.id!r}"
    )


def own_artifacts(dataset: minari.MinariDataset) -> dict[str, Artifact]:
    """A dataset's copies of ranker and belief, by file name, checked; none for a slate dataset.

    Raises:
        ArtifactError: If a copy is missing or altered.
    """
    folder, metadata = _folder_of(dataset), dataset.storage.metadata
    return {
        f"{part}.safetensors": load_artifact(recorded_copy(folder, part), part)
        for part in PARTS
        if metadata.get(f"{part}_sha256") is not None
    }


def carried_metadata(dataset: minari.MinariDataset) -> dict[str, Any]:
    """What a dataset's metadata say about its sessions, and stays true of a dataset made of them."""
    return {
        name: sorted(value) if isinstance(value, set) else value  # Minari's authors; JSON has no sets
        for name, value in dataset.storage.metadata.items()
        if name not in OF_ONE_FILE
    }


def origin(dataset: minari.MinariDataset) -> dict[str, Any]:
    """Names a dataset that another one is made of: its id, its numbers, who played whom, and its own origin."""
    metadata = dataset.storage.metadata
    named = (
        "content_hash", "total_episodes", "policy", "policy_sha256", "exploration_noise", "user_split", "user_seed",
        "derived_from",
    )  # fmt: skip
    return {"dataset_id": dataset.id} | {name: metadata[name] for name in named if name in metadata}


def _folder_of(dataset: Dataset) -> Path:
    return Path(open_dataset(dataset).storage.data_path)


def _checked_storage(data: Path, owner: str) -> Any:
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
