"""Minari's HDF5 storage for files that others made: each session is checked before it is read.

An HDF5 file can name other files to read (external links, external storage, virtual datasets), and promise arrays of
any size without holding them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium
import h5py
from h5py.h5d import DatasetID
from h5py.h5g import GroupID
from minari.dataset._storages.hdf5_storage import HDF5Storage

LARGEST_RATIO = 20
"""How many times a file's size its numbers may take in memory; Minari's files are not compressed, and take 1."""

_CHUNK = 256
"""Sessions checked, then read, at once."""

_DEEPEST = 4
"""Groups in groups of a session; Minari's writer makes two for our infos."""

_LARGEST_ATTRIBUTE = 2**16

_NUMBERS = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM)  # truth values are an enumeration


class CheckedStorage(HDF5Storage):  # type: ignore[misc]  # the library has no types
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
            ValueError: If a session's arrays are missing, not in this file or no numbers, or would take more than
                :data:`LARGEST_RATIO` times the file's size.
        """
        for chunk in _chunks(episode_indices):
            with h5py.File(self._file_path) as file:
                total = sum(self._bytes_in(file.id, f"episode_{index}") for index in dict.fromkeys(chunk))
            if total > self._limit:
                raise ValueError(
                    f"{self._file_path} promises {total:,} bytes of numbers in {len(chunk)} episodes, more than "
                    f"{LARGEST_RATIO} times its own size"
                )
            with self._naming_damage():
                yield from super().get_episodes(chunk)

    def get_episode_metadata(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Reads what is said of sessions: id, seed, number of steps; see Minari.

        Raises:
            ValueError: If an entry is not in this file, larger than 64 KiB, or no seed where there should be one.
        """
        for chunk in _chunks(episode_indices):
            with h5py.File(self._file_path) as file:
                for index in chunk:
                    self._check_attributes(file, f"episode_{index}")
            with self._naming_damage():
                yield from super().get_episode_metadata(chunk)

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Raises a ValueError that names the file for whatever Minari and h5py raise for what they do not expect."""
        try:
            yield
        except (KeyError, AssertionError, TypeError) as error:
            reason = " ".join(map(str, error.args)) or "an array is not of the kind of its space"
            raise ValueError(f"an episode in {self._file_path} is damaged: {reason}") from error

    def _bytes_in(self, parent: GroupID, where: str, depth: int = 0) -> int:
        """Bytes that an array, or all arrays of a group, take in memory; all of them are numbers in this file."""
        member = self._member(parent, where)
        if isinstance(member, GroupID) and depth < _DEEPEST:
            return sum(self._bytes_in(member, f"{where}/{name.decode()}", depth + 1) for name in member)
        if not isinstance(member, DatasetID):
            raise ValueError(f"{self._file_path}: {where} is no array of a session")
        created = member.get_create_plist()
        if created.get_external_count() or created.get_layout() == h5py.h5d.VIRTUAL:
            raise ValueError(
                f"{self._file_path}: the numbers of {where} lie in other files: only what lies in the file itself is "
                "read"
            )
        kind = member.get_type()
        if kind.get_class() not in _NUMBERS:
            raise ValueError(f"{self._file_path}: {where} holds no numbers, but {kind.dtype}")
        return int(member.get_space().get_simple_extent_npoints()) * int(kind.get_size())

    def _member(self, parent: GroupID, where: str) -> Any:
        """A member that is linked to directly: other links may lead to other files."""
        name = where.rpartition("/")[2].encode()
        try:
            link = parent.links.get_info(name)
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{self._file_path} has no {where}") from error
        if link.type != h5py.h5l.TYPE_HARD:
            raise ValueError(
                f"{self._file_path}: {where} is a link to elsewhere: only what lies in the file itself is read"
            )
        return h5py.h5o.open(parent, name)

    def _check_attributes(self, file: h5py.File, where: str) -> None:
        self._member(file.id, where)
        attributes = file[where].attrs
        for name in attributes:
            attribute = attributes.get_id(name)
            if attribute.get_storage_size() > _LARGEST_ATTRIBUTE or (
                attribute.dtype.kind == "O" and attribute.shape
            ):
                raise ValueError(f"{self._file_path}: the attribute {name} of {where} is too large")


def _chunks(indices: Iterable[int]) -> Iterator[list[int]]:
    given = [int(index) for index in indices]
    for start in range(0, len(given), _CHUNK):
        yield given[start : start + _CHUNK]
