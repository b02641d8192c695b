"""Datasets from one machine to another: what is pulled is checked as any dataset of others is, before it has its id."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gems_gym.common.checks import checked_arguments
from gems_gym.common.dataset_folders import data_folder
from gems_gym.common.remotes import open_remote
from gems_gym.common.sharing import Package, files_of, pull, push
from gems_gym.datasets.card import CARD
from gems_gym.datasets.hidden_folder import NEW, move_into_place, unfinished_folder
from gems_gym.datasets.reader import open_dataset, open_folder
from gems_gym.datasets.verify import verify_dataset
from gems_gym.datasets.writer import check_new_dataset_id, make_namespace
from gems_gym.errors import require

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset

KIND = "dataset"


@checked_arguments
def push_dataset(dataset_id: str, remote: str, *, progress: bool = True) -> Package:
    """Put a local dataset, its copies of ranker and belief, and its card where others can pull them.

    Args:
        dataset_id: The dataset's id, there as here.
        remote: A folder, ``hf://USER`` or ``gcp://BUCKET`` (:func:`gems_gym.common.remotes.open_remote`).
        progress: Whether to show progress bars on stderr.

    Returns:
        What is there now.

    Raises:
        ValueError: There is no such dataset, it fails a check of :func:`~gems_gym.datasets.verify_dataset`, or the
            remote has one of this id.
        OSError: The remote can't be written to.
        ImportError: Minari, or the client of a cloud, is not installed.
    """
    data = data_folder(dataset_id)
    open_remote(remote)  # an address that can't be used is told before the dataset is read
    _check(dataset_id, dataset_id, progress)
    files = {f"{data.name}/{place}": file for place, file in files_of(data).items()}
    if (card := data.with_name(CARD)).is_file():
        files[CARD] = card
    return push(KIND, dataset_id, files, remote, progress=progress)


@checked_arguments
def pull_dataset(dataset_id: str, remote: str, *, progress: bool = True) -> minari.MinariDataset:
    """Fetch a dataset that was pushed; it appears under its id when it has passed every check.

    Nothing that its files name is run (:func:`~gems_gym.datasets.open_dataset`), its files have the sha256 that they
    were pushed with, and :func:`~gems_gym.datasets.verify_dataset` finds nothing wrong. Interrupted, it leaves nothing.

    Args:
        dataset_id: Its id, there as here.
        remote: The remote of :func:`push_dataset`, or the address of a web server.
        progress: Whether to tell its size, and to show progress bars, on stderr.

    Returns:
        The dataset.

    Raises:
        ValueError: A malformed id or one that is in use, or a dataset that fails a check; the message says which.
        FileNotFoundError: The remote has no such dataset.
        OSError: The remote can't be read, or the disk has too little room.
        ImportError: Minari, or the client of a cloud, is not installed.
    """
    path = check_new_dataset_id(dataset_id, overwrite=True)
    if path.exists():
        raise ValueError(
            f"dataset {dataset_id!r} is here already; remove it with: minari delete {dataset_id}"
        )
    root: Path = require("minari.storage").get_dataset_path()
    with unfinished_folder(root, dataset_id) as folder:
        (folder / NEW).mkdir()
        pull((KIND,), dataset_id, remote, folder / NEW, progress=progress)
        _check(
            open_folder(folder / NEW / "data", f"dataset {dataset_id!r} of {remote}"), dataset_id, progress
        )
        make_namespace(dataset_id)
        move_into_place(folder, path, overwrite=False)
    return open_dataset(dataset_id)


def _check(dataset: Dataset, dataset_id: str, progress: bool) -> None:
    found = verify_dataset(dataset, progress=progress)
    if not found.passed:
        raise ValueError(f"dataset {dataset_id!r} fails checks of verify: {'; '.join(found.failures)}")
    if found.dataset_id != dataset_id:
        raise ValueError(
            f"the dataset under the name {dataset_id!r} says that its id is {found.dataset_id!r}"
        )
