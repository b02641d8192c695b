"""The hidden folder that a dataset is written in, beside the datasets and on the same file system.

One process at a time writes a dataset. The finished one is moved into its place in one step; an older one there is
exchanged for it, so that one of the two is there at every instant. Where the system can't exchange folders
(:func:`gems_gym.common.folders.exchange`), the older one is moved aside first; if the process is killed before the
new one is in its place, the next one that writes any dataset in the same datasets folder moves the older one back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gems_gym.common.folders import exchange, is_own_folder, refuse_link, remove_folder
from gems_gym.common.locks import LOCK_FILE, InUseError, locked, locked_folder

DATASET_ID = re.compile(r"(?:[-_A-Za-z0-9]{2,}/)*[-_A-Za-z0-9]+-v\d+")
"""Ids of datasets that gems-gym writes; none holds a '+'."""

NEW = "dataset"
"""In the hidden folder: the dataset that is being written, and the older one once the two are exchanged."""

CHUNKS = "chunks"
"""In the hidden folder: the finished sessions of a collection, which a later call resumes with."""

_PREFIX = ".unfinished-"  # Minari lists no hidden folders
_REPLACED = "replaced"


@contextmanager
def unfinished_folder(root: Path, dataset_id: str) -> Iterator[Path]:
    """Locks the hidden folder of a dataset for the length of the block.

    What is left of the dataset itself at the end is removed, :data:`CHUNKS` and what others put there stay; the folder
    is removed if it is empty.

    Args:
        root: Minari's folder of datasets.
        dataset_id: The dataset's id.

    Raises:
        InUseError: If another process is writing this dataset.
        OSError: If the folder, or one of those in it, is a symbolic link.
    """
    folder = root / (_PREFIX + dataset_id.replace("/", "+"))
    refuse_link(folder)
    try:
        with locked_folder(folder, f"dataset_id {dataset_id!r}"):
            for name in (NEW, _REPLACED, CHUNKS):
                refuse_link(folder / name)
            _clear(folder, root / dataset_id)  # what a process that was killed left
            try:
                yield folder
            finally:
                with suppress(OSError):  # the error that ended the block is the one to report
                    _clear(folder, root / dataset_id)
    finally:
        with suppress(OSError):  # it isn't empty
            folder.rmdir()


def move_into_place(folder: Path, target: Path, *, overwrite: bool) -> None:
    """Moves the finished dataset out of its hidden folder; all else in there that is of its writing is removed first.

    Args:
        folder: The hidden folder.
        target: The dataset's place.
        overwrite: Replaces a dataset that is there.

    Raises:
        OSError: If there is one that is not to be replaced, or it can't be moved.
    """
    remove_folder(
        folder / CHUNKS
    )  # first, so that a process killed after the move leaves nothing that looks unfinished
    if overwrite and target.exists():
        if exchange(folder / NEW, target):
            return
        target.rename(folder / _REPLACED)
    (folder / NEW).rename(target)


def clear_killed_writers(root: Path) -> None:
    """Removes what processes that were killed left of the datasets that they were writing.

    Finished sessions of collections stay, for resuming; so do the folders of other users and of running processes, and
    symbolic links.

    Args:
        root: Minari's folder of datasets.
    """
    for folder in root.glob(_PREFIX + "*"):
        dataset_id = folder.name.removeprefix(_PREFIX).replace("+", "/")
        if DATASET_ID.fullmatch(dataset_id) and is_own_folder(folder):
            with suppress(OSError, InUseError):
                with locked(folder / LOCK_FILE, str(folder)):
                    _clear(folder, root / dataset_id)
                folder.rmdir()


def _clear(folder: Path, target: Path) -> None:
    if (folder / _REPLACED).is_dir() and not os.path.lexists(target):
        (folder / _REPLACED).rename(target)  # the process was killed before the new one was in its place
    for name in (NEW, _REPLACED):
        remove_folder(folder / name)
