"""Finished sessions in files, chunk by chunk: what lets a collection that was killed go on where it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.common.array_files import read_npz
from gems_gym.common.files import read_json, whole_file, write_json
from gems_gym.common.folders import remove_folder
from gems_gym.common.progress import stderr
from gems_gym.datasets.sessions import Sessions

REQUEST = "request.json"
"""File among them that says what they are chunks of."""


@dataclass(frozen=True)
class Chunks:
    """The sessions of a dataset, cut into files that are whole or not there.

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
            request: What is collected; JSON values.
            overwrite: Removes chunks of another request.

        Raises:
            ValueError: If they are of another one; it names what differs.
        """
        file = self.directory / REQUEST
        before = _request_in(file)
        if before is None:
            self.discard()
        elif differing := _differences(before, dict(request)):
            if not overwrite:
                raise ValueError(
                    f"an unfinished collection of this dataset's id was begun with other arguments: {differing}; give "
                    "the same again to go on with it, or --overwrite (overwrite=True) to begin anew"
                )
            self.discard()
        write_json(file, dict(request))

    def discard(self) -> None:
        """Removes all chunks."""
        remove_folder(self.directory)

    def _file(self, index: int) -> Path:
        start = index * self.size
        return self.directory / f"{start:07d}-{start + len(self.users(index)):07d}.npz"


def _request_in(file: Path) -> dict[str, Any] | None:
    """What a file says its neighbours are chunks of; None if there is none, or it can't be read."""
    if not file.is_file():
        return None
    try:
        request = read_json(file)
    except ValueError as error:
        request = error
    if isinstance(request, dict):
        return request
    stderr.print(f"{file} is damaged: the sessions beside it are not kept", highlight=False, markup=False)
    return None


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return ", ".join(f"{name} was {before.get(name)!r}, is {now.get(name)!r}" for name in names)
