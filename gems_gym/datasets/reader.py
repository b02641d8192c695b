"""What a dataset of gems-gym carries beside its numbers: the ranker and the belief encoder it was recorded with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import gymnasium

from gems_gym.artifacts.recorded import recorded_copy
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.check_words import shown
from gems_gym.common.checks import checked
from gems_gym.common.dataset_folders import ARTIFACTS
from gems_gym.datasets.opening import environment_of, open_dataset
from gems_gym.datasets.sessions import ContentHash
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE
from gems_gym.errors import unknown_name
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import Ranker, load_ranker

if TYPE_CHECKING:
    import minari

    Dataset: TypeAlias = minari.MinariDataset | str


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
    found: Ranker = _load(dataset, "ranker", load_ranker)
    return found


def dataset_belief(dataset: Dataset) -> BeliefEncoder:
    """Loads the belief encoder of a latent dataset; arguments and errors as :func:`dataset_ranker`."""
    found: BeliefEncoder = _load(dataset, "belief", load_belief)
    return found


def artifact_file(dataset: Dataset, name: str) -> Path:
    """Returns where a dataset's copy of ``"ranker"`` or ``"belief"`` lies; whether it does is not checked."""
    files = {"ranker": RANKER_FILE, "belief": BELIEF_FILE}
    if checked("name", name, str) not in files:
        raise unknown_name("name of a dataset's copy", name, files)
    return Path(open_dataset(dataset).storage.data_path) / ARTIFACTS / files[name]


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
    storage = open_dataset(dataset).storage
    content = ContentHash()
    indices = range(storage.total_episodes)
    for episode, metadata in zip(
        storage.get_episodes(indices), storage.get_episode_metadata(indices), strict=True
    ):
        content.add({**episode, "seed": metadata["seed"]})
    return content.hexdigest()


def _load(dataset: Dataset, part: str, load: Callable[[Path], Any]) -> Any:
    return load(recorded_copy(Path(open_dataset(dataset).storage.data_path), part))
