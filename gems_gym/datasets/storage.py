"""Minari's HDF5 storage for files that others made: each session is checked before it is read.

An HDF5 file can name other files to read (external links, external storage, virtual datasets), and promise arrays of
any size without holding them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import h5py
from minari.dataset._storages.hdf5_storage import HDF5Storage

DATA_FILE = "main_data.hdf5"
"""Minari's name for the file with all sessions."""

LARGEST_RATIO = 20
"""How many times a file's size its numbers may take in memory; Minari's files are not compressed, and take 1."""

_CHUNK = 256
"""Sessions checked, then read, at once."""

_DEEPEST = 4
"""Groups in groups of a session; Minari's writer makes two for our infos."""

_LARGEST_ATTRIBUTE = 2**16


class CheckedStorage(HDF5Storage):
    """A dataset's data file whose environment is not the file's to choose.

    Args:
        data_path: The dataset's folder.
        observation_space: Space of one observation.
        action_space: Space of one action.
        jpeg_encoding: Whether pictures are stored as JPEG.
        specs: What stands in the metadata in place of the file's: ``env_spec`` and ``eval_env_spec``, as JSON text.
    """

    def __init__(
        self,
        data_path: Path,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        jpeg_encoding: bool,
        specs: Mapping[str, str],
    ) -> None:
        super().__init__(data_path, observation_space, action_space, jpeg_encoding)
        self._specs = dict(specs)
        self._limit = LARGEST_RATIO * self._file_path.stat().st_size

    @property
    def metadata(self) -> dict[str, Any]:
        """The dataset's metadata, with environments as they were rebuilt."""
        return {**super().metadata, **self._specs}

    def get_episodes(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Reads sessions; see Minari.

        Raises:
            ValueError: If a session's arrays are not in this file, are no numbers, or would take more than
                :data:`LARGEST_RATIO` times the file's size.
        """
        for chunk in _chunks(episode_indices):
            with h5py.File(self._file_path) as file:
                total = sum(self._checked_bytes(file, index) for index in dict.fromkeys(chunk))
            if total > self._limit:
                raise ValueError(
                    f"{self._file_path} promises {total:,} bytes of numbers in {len(chunk)} episodes, more than "
                    f"{LARGEST_RATIO} times its own size"
                )
            yield from super().get_episodes(chunk)

    def get_episode_metadata(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Reads what is said of sessions: id, seed, number of steps; see Minari.

        Raises:
            ValueError: If an entry is not in this file, or larger than 64 KiB.
        """
        for chunk in _chunks(episode_indices):
            with h5py.File(self._file_path) as file:
                for index in chunk:
                    self._check_attributes(self._member(file, f"episode_{index}"))
            yield from super().get_episode_metadata(chunk)

    def _checked_bytes(self, file: h5py.File, index: int) -> int:
        """Bytes that a session's arrays take in memory, all of which are numbers in this file."""
        group = self._member(file, f"episode_{index}")
        if not isinstance(group, h5py.Group):
            raise ValueError(f"{self._file_path}: episode_{index} must be a group of arrays")
        return self._bytes_in(group, depth=1)

    def _bytes_in(self, group: h5py.Group, depth: int) -> int:
        if depth > _DEEPEST:
            raise ValueError(f"{self._file_path}: {group.name} lies deeper than sessions' arrays do")
        total = 0
        for name in group:
            member = self._member(group, name)
            if isinstance(member, h5py.Group):
                total += self._bytes_in(member, depth + 1)
            else:
                self._check_array(member)
                total += member.nbytes
        return total

    def _member(self, group: h5py.Group, name: str) -> Any:
        """A member that is linked to directly: other links may lead to other files."""
        if name not in group:
            raise ValueError(f"{self._file_path} has no {group.name.rstrip('/')}/{name}")
        if group.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise ValueError(
                f"{self._file_path}: {group.name.rstrip('/')}/{name} is a link to elsewhere: only what lies in the "
                "file itself is read"
            )
        return group[name]

    def _check_array(self, array: Any) -> None:
        if not isinstance(array, h5py.Dataset):
            raise ValueError(f"{self._file_path}: {array.name} is no array")
        created = array.id.get_create_plist()
        if created.get_external_count() or created.get_layout() == h5py.h5d.VIRTUAL:
            raise ValueError(
                f"{self._file_path}: the numbers of {array.name} lie in other files: only what lies in the file itself "
                "is read"
            )
        if array.dtype.kind not in "biufS" or array.shape is None:
            raise ValueError(f"{self._file_path}: {array.name} holds no numbers, but {array.dtype}")

    def _check_attributes(self, group: Any) -> None:
        for name in group.attrs:
            attribute = group.attrs.get_id(name)
            size = attribute.dtype.itemsize * attribute.get_space().get_simple_extent_npoints()
            if size > _LARGEST_ATTRIBUTE or (attribute.dtype.kind == "O" and attribute.shape):
                raise ValueError(f"{self._file_path}: the attribute {name} of {group.name} is too large")


def _chunks(indices: Iterable[int]) -> Iterator[list[int]]:
    given = [int(index) for index in indices]
    for start in range(0, len(given), _CHUNK):
        yield given[start : start + _CHUNK]
