"""The hidden folder that a dataset is written in, beside the datasets and on the same file system.

One process at a time writes a dataset. The finished one is moved into its place in one step; an older one there is
exchanged for it, so that one of the two is there at every instant. Where the system can't exchange folders
(:func:`gems_gym.common.files.exchange`), the older one is moved aside first; if the process is killed before the
new one is in its place, the next one that writes any dataset in the same datasets folder moves the older one back.

A collection keeps its finished sessions there, chunk by chunk, so that one that was killed can be resumed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.common.array_files import read_npz
from gems_gym.common.files import (
    exchange,
    is_own_folder,
    read_json_object,
    refuse_link,
    remove_folder,
    whole_file,
    write_json,
)
from gems_gym.common.locks import LOCK_FILE, InUseError, locked, locked_folder
from gems_gym.datasets.sessions import Sessions

DATASET_ID = re.compile(r"(?:[-_A-Za-z0-9]{2,}/)*[-_A-Za-z0-9]+-v\d+")
"""Ids of datasets that gems-gym writes; none holds a '+'."""

NEW = "dataset"
"""In the hidden folder: the dataset that is being written, and the older one once the two are exchanged."""

CHUNKS = "chunks"
"""In the hidden folder: the finished sessions of a collection, which a later call resumes with."""

REQUEST = "request.json"
"""File among these that says what they are sessions of."""

_PREFIX = ".unfinished-"  # Minari lists no hidden folders
_REPLACED = "replaced"
_PLAYED = "played"
"""In the hidden folder: chunks while their dataset is moved."""


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
            for name in (NEW, _REPLACED, _PLAYED, CHUNKS):
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
    """Moves the finished dataset out of its hidden folder, and puts aside all else in there that is of its writing.

    Args:
        folder: The hidden folder.
        target: The dataset's place.
        overwrite: Replaces a dataset that is there.

    Raises:
        OSError: If there is one that is not to be replaced, or it can't be moved; finished sessions stay where they
            are then.
    """
    # aside first, so that a process killed after the move leaves nothing that looks unfinished
    if (folder / CHUNKS).is_dir():
        (folder / CHUNKS).rename(folder / _PLAYED)
    try:
        if overwrite and target.exists():
            if exchange(folder / NEW, target):
                return
            target.rename(folder / _REPLACED)
        (folder / NEW).rename(target)
    except OSError:
        if (folder / _PLAYED).is_dir():
            (folder / _PLAYED).rename(folder / CHUNKS)
        raise


def clear_killed_writers(root: Path) -> None:
    """Removes what processes that were killed left of the datasets that they were writing.

    Finished sessions of collections stay, for resuming; so do the folders of other users and of running
    processes, and symbolic links.

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
    # without a target, the process was killed before the new one was in its place
    if (folder / _PLAYED).is_dir() and not (folder / CHUNKS).exists() and not os.path.lexists(target):
        (folder / _PLAYED).rename(folder / CHUNKS)
    if (folder / _REPLACED).is_dir() and not os.path.lexists(target):
        (folder / _REPLACED).rename(target)
    for name in (NEW, _REPLACED, _PLAYED):
        remove_folder(folder / name)


@dataclass(frozen=True)
class Chunks:
    """The finished sessions of a collection, cut into files that are complete or not there.

    A chunk's sessions depend on its users alone, so it does not matter which process plays it, when, or how many users
    at once. Files are named by their range of sessions: one that was cut for another number of sessions is not taken
    for its neighbour.

    Attributes:
        directory: Where the files are.
        seeds: The users of all sessions, in their order.
        size: Sessions in a chunk; the last one may hold fewer.
    """

    directory: Path
    seeds: list[int]
    size: int

    def __len__(self) -> int:
        """Number of chunks."""
        return -(-len(self.seeds) // self.size)

    def users(self, index: int) -> list[int]:
        """The users of one chunk."""
        return self.seeds[index * self.size : (index + 1) * self.size]

    def kept(self) -> list[int]:
        """Which chunks are there."""
        return [index for index in range(len(self)) if self._file(index).is_file()]

    def missing(self) -> list[int]:
        """Which chunks are not there."""
        return [index for index in range(len(self)) if not self._file(index).is_file()]

    def num_kept_sessions(self) -> int:
        """Sessions in the chunks that are there."""
        return sum(len(self.users(index)) for index in self.kept())

    def save(self, index: int, sessions: Sessions) -> None:
        """Writes a chunk.

        Raises:
            OSError: If it can't be written, e.g. on a full disk; it names the file.
        """
        with whole_file(self._file(index)) as file:
            np.savez(file, allow_pickle=False, **sessions.arrays())

    def load(self, index: int) -> Sessions:
        """Reads a chunk.

        Raises:
            OSError: If the file is damaged; it is removed, so that the chunk is played again next time.
        """
        file = self._file(index)
        try:
            sessions = Sessions.of_arrays(read_npz(file, name="finished sessions"))
            if sessions.seeds != self.users(index):
                raise ValueError("it holds other users")
        except (ValueError, KeyError) as error:
            file.unlink(missing_ok=True)
            raise OSError(
                f"{file} was damaged ({error}) and is removed: the same command plays it again"
            ) from error
        return sessions

    def prepare(self, request: Mapping[str, Any], *, overwrite: bool) -> None:
        """Makes sure that the chunks that are there, if any, are of the same request.

        Args:
            request: What is collected; what JSON can hold.
            overwrite: Removes chunks of another request.

        Raises:
            ValueError: If they are of another one; it names what differs.
        """
        request = json.loads(json.dumps(request))  # as it is read again
        file = self.directory / REQUEST
        before = read_json_object(file) or {}
        names = [name for name in {**before, **request} if before.get(name) != request.get(name)]
        if before and names and not overwrite:
            differences = ", ".join(
                f"{name} was {before.get(name)!r}, is {request.get(name)!r}" for name in names
            )
            raise ValueError(
                f"an unfinished collection of this dataset's id was begun with other arguments: {differences}; give "
                "the same arguments again to resume it, or --overwrite (overwrite=True) to begin anew"
            )
        if names:
            self.discard()
        write_json(file, request)

    def discard(self) -> None:
        """Removes all chunks."""
        remove_folder(self.directory)

    def _file(self, index: int) -> Path:
        start = index * self.size
        return self.directory / f"{start:07d}-{start + len(self.users(index)):07d}.npz"
