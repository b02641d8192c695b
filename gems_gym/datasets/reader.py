"""Datasets read back: opened so that nothing in their files can run code, their sessions, and what goes with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts import Artifact, load_artifact
from gems_gym.artifacts.recorded import recorded_copy
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.check_messages import shown
from gems_gym.common.checks import checked
from gems_gym.common.dataset_folders import ARTIFACTS, data_folder
from gems_gym.common.progress import track
from gems_gym.datasets.gate import checked_storage
from gems_gym.datasets.sessions import (
    CHUNK_SESSIONS,
    ContentHash,
    SessionEnds,
    Sessions,
    check_end,
    of_bounded_size,
)
from gems_gym.datasets.world import recorded_world
from gems_gym.envs import SlateEnv
from gems_gym.envs.recorded_spec import PARTS, world_config
from gems_gym.errors import require, unknown_name
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import Ranker, load_ranker

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.storage import CheckedStorage

    Dataset: TypeAlias = minari.MinariDataset | str

LOG = "log"
"""Entry of the metadata that says what a dataset was imported from, a dict; others have none."""

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
    storage = checked_storage(Path(dataset.storage.data_path), f"dataset {dataset.id!r}")
    return minari.MinariDataset(storage, episode_indices=dataset.episode_indices)


def open_folder(data: Path, owner: str) -> minari.MinariDataset:
    """Opens a dataset that is not, or not yet, in its place; errors as of :func:`open_dataset`.

    Args:
        data: The folder of its files.
        owner: What to call it in messages.
    """
    return require("minari").MinariDataset(checked_storage(data, owner))


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
        Sessions in their order, at most :data:`CHUNK_SESSIONS` at once, fewer if they are long. Those of a log are as
        long as the longest that is yielded with them: a robot's may be thousands of times as long as the others.

    Raises:
        ValueError: If a session does not end as those of its world do.
    """
    indices, ends = dataset.episode_indices, session_ends(dataset)
    num_steps = None if is_log(dataset) else ends.longest

    def checked_episodes() -> Iterator[dict[str, Any]]:
        for episode in read_episodes(dataset.storage, indices):
            try:
                check_end(episode, ends)
            except ValueError as error:
                raise ValueError(f"dataset {dataset.id!r}, episode {episode['id']}: {error}") from error
            yield episode

    with track(task, len(indices), shown=progress) as advance:
        for chunk in of_bounded_size(checked_episodes(), num_steps, CHUNK_SESSIONS):
            yield Sessions.of_episodes(chunk, num_steps)
            advance(len(chunk))


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


def content_hash_of(dataset: minari.MinariDataset) -> str:
    """The content hash that a dataset records; one that records none is read for it."""
    recorded = dataset.storage.metadata.get("content_hash")
    return compute_content_hash(dataset) if recorded is None else str(recorded)


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
