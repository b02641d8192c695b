"""A finished dataset read back: its sessions in chunks, its world, and what goes along into datasets made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from gems_gym.common.progress import track
from gems_gym.datasets.opening import open_dataset
from gems_gym.datasets.reader import artifact_file, dataset_belief, dataset_ranker
from gems_gym.datasets.sessions import Sessions, sessions_at_once
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE
from gems_gym.registration import slate_spec

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset

CHUNK_SESSIONS = 256
"""Sessions held in memory at once; of 100 steps and 10 items, with their infos, about 10 MB."""

NO_SEED = -1
"""Stands for the seed of a session whose user is not known; no environment takes it."""

OF_ONE_FILE = {
    "content_hash", "total_episodes", "total_steps", "data_format", "jpeg_encoding", "observation_space",
    "action_space", "env_spec", "dataset_id", "minari_version", "dataset_size", "combined_datasets", "command",
}  # fmt: skip
"""Metadata that describe one file, and are made anew for a dataset that is made of it."""


def open_recording(dataset: Dataset) -> minari.MinariDataset:
    """Opens a dataset that gems-gym wrote.

    Args:
        dataset: The dataset, or the id of a local one.

    Raises:
        ValueError: As :func:`~gems_gym.datasets.open_dataset`, and if it is not gems-gym's, or holds no sessions.
    """
    opened = open_dataset(dataset)
    if "catalog_hash" not in opened.storage.metadata or opened.env_spec is None:
        raise ValueError(
            f"dataset {opened.id!r} is not gems-gym's: its metadata name no catalogue; 'gems-gym collect' makes one"
        )
    if opened.total_episodes == 0:
        raise ValueError(f"dataset {opened.id!r} holds no sessions")
    return opened


def read_sessions(dataset: minari.MinariDataset, task: str, *, progress: bool) -> Iterator[Sessions]:
    """Reads a dataset chunk by chunk.

    Args:
        dataset: The dataset, or a part of it that Minari made (``filter_episodes``, ``split_dataset``).
        task: What the progress bar says.
        progress: Draws a progress bar on stderr.

    Yields:
        Sessions in their order, at most :data:`CHUNK_SESSIONS` at once, fewer if they are long.

    Raises:
        ValueError: If a session is not as long as the first, or does not end truncated.
    """
    indices = dataset.episode_indices
    first = next(iter(dataset.storage.get_episodes(indices[:1])))
    length = len(first["rewards"])
    at_once = sessions_at_once(stacked([first], [NO_SEED]).nbytes, CHUNK_SESSIONS)
    with track(task, len(indices), shown=progress) as advance:
        for start in range(0, len(indices), at_once):
            chunk = indices[start : start + at_once]
            episodes = list(dataset.storage.get_episodes(chunk))
            for episode in episodes:
                _check_whole(dataset.id, episode, length)
            seeds = [one.get("seed", NO_SEED) for one in dataset.storage.get_episode_metadata(chunk)]
            yield stacked(episodes, seeds)
            advance(len(chunk))


def slate_world(spec: EnvSpec, catalog_hash: str | None, owner: str) -> gymnasium.Env[Any, Any]:
    """Makes the slate environment that sessions were played in.

    Args:
        spec: The environment's spec, as it was rebuilt; of a latent one the slate environment inside is taken.
        catalog_hash: The catalogue that the sessions' item ids belong to; not checked if None.
        owner: What holds the sessions, for the message.

    Raises:
        ValueError: If the environment has another catalogue, for instance since a file of item embeddings changed.
    """
    env = gymnasium.make(slate_spec(spec))
    found = env.unwrapped.catalog.hash  # type: ignore[attr-defined]
    if catalog_hash is not None and found != catalog_hash:
        raise ValueError(
            f"{owner} was recorded with the catalogue {catalog_hash}, but {spec.id} with its keywords has {found}: "
            "item ids mean other items there; use the environment, and the item_embeddings, of the recording"
        )
    return env


def dataset_world(dataset: minari.MinariDataset) -> gymnasium.Env[Any, Any]:
    """Makes the slate environment that a dataset was recorded in; errors as :func:`slate_world`."""
    recorded = dataset.storage.metadata["catalog_hash"]
    return slate_world(dataset.env_spec, recorded, f"dataset {dataset.id!r}")


def own_artefacts(dataset: minari.MinariDataset) -> dict[str, Path]:
    """A dataset's copies of ranker and belief, by file name, checked; none for a slate dataset.

    Raises:
        ArtifactError: If a copy is missing or altered.
    """
    metadata, found = dataset.storage.metadata, {}
    for part, name, load in (
        ("ranker", RANKER_FILE, dataset_ranker),
        ("belief", BELIEF_FILE, dataset_belief),
    ):
        if metadata.get(f"{part}_sha256") is not None:
            load(dataset)
            found[name] = artifact_file(dataset, part)
    return found


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


def require_infos(sessions: Sessions, names: tuple[str, ...], dataset_id: str, purpose: str) -> None:
    """Raises a ValueError if sessions lack infos, as those that came from an npz file do."""
    missing = [name for name in names if name not in sessions.infos]
    if missing:
        raise ValueError(
            f"dataset {dataset_id!r} has no infos {missing}, which {purpose} requires: an npz file holds none; take "
            "the dataset that it was exported from, or collect it again"
        )


def _check_whole(dataset_id: str, episode: dict[str, Any], length: int) -> None:
    found, owner = len(episode["rewards"]), f"dataset {dataset_id!r}, episode {episode['id']}"
    if found != length:
        raise ValueError(
            f"{owner} has {found} steps, the first has {length}: sessions of one world are of one length"
        )
    if episode["terminations"].any() or not episode["truncations"][-1] or episode["truncations"][:-1].any():
        raise ValueError(f"{owner} does not end truncated at its last step, as sessions of gems-gym do")


def stacked(episodes: list[dict[str, Any]], seeds: list[int]) -> Sessions:
    """Puts episodes of the same arrays and lengths together.

    Args:
        episodes: At least one, as Minari's storage reads them.
        seeds: Their users.
    """
    first = episodes[0]

    def stack(name: str, key: str | None = None) -> np.ndarray:
        return np.stack([one[name] if key is None else one[name][key] for one in episodes])

    observations = first["observations"]
    return Sessions(
        seeds=seeds,
        observations=(
            {key: stack("observations", key) for key in observations}
            if isinstance(observations, dict)
            else stack("observations")
        ),
        actions=stack("actions"),
        rewards=stack("rewards"),
        infos={key: stack("infos", key) for key in first["infos"] or {}},
    )
