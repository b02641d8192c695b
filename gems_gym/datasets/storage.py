"""Minari's HDF5 storage for files that others made: each session is checked before it is read.

An HDF5 file can name other files to read (external links, external storage, virtual datasets), and promise arrays of
any size without holding them. Our own readers take sessions through :meth:`CheckedStorage.read_sessions`, which opens
each array once, to check it and to read it: nearly all of what a session costs, and Minari opens each again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import h5py
import numpy as np
from h5py.h5d import DatasetID
from h5py.h5g import GroupID
from h5py.h5t import TypeID
from minari.dataset._storages.hdf5_storage import HDF5Storage
from numpy.typing import NDArray

from gems_gym.datasets.sessions import NO_SEED

LARGEST_RATIO = 20
"""How many times a file's size its numbers may take in memory; Minari's files are not compressed, and take 1."""

_CHUNK = 256
"""Sessions checked, then read, at once."""

_DEEPEST = 4
"""Groups in groups of a session; Minari's writer makes two for our infos."""

_LARGEST_ATTRIBUTE = 2**16

_GROUPS = {"observations", "infos"}
"""Parts of a session that may hold several arrays."""

_PARTS = {"observations", "actions", "rewards", "terminations", "truncations"}
"""Parts that every session has."""

_NUMBERS = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.ENUM)  # truth values are an enumeration


class _Array(NamedTuple):
    """An array of a session, open and checked but not read.

    Attributes:
        path: Names of the parts of the session that it lies in, and its own.
        opened: What reads it.
        shape: Its shape.
        kind: The type of its numbers in the file.
        dtype: The same as numpy has it.
    """

    path: tuple[str, ...]
    opened: DatasetID
    shape: tuple[int, ...]
    kind: TypeID
    dtype: np.dtype[Any]

    def read(self) -> NDArray[Any]:
        """The numbers."""
        values = np.empty(self.shape, self.dtype)
        self.opened.read(h5py.h5s.ALL, h5py.h5s.ALL, values, self.kind)
        return values


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
        self._dtypes: dict[bytes, np.dtype[Any]] = {}  # making one costs as much as reading an array

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
                total = 0
                for index in dict.fromkeys(chunk):
                    session, where = self._session(file, index)
                    for array in self._arrays(session, where):
                        total = self._added(total, array)
            with self._naming_damage():
                yield from super().get_episodes(chunk)

    def read_sessions(
        self, indices: Iterable[int], names: Collection[str] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Reads sessions as :meth:`get_episodes` does, in a third of the time; in less if not all is asked for.

        Args:
            indices: Numbers of the sessions.
            names: Arrays that are read, such as ``"slate"``, observed or an info; observations that are one array are
                read in any case. None: everything.

        Yields:
            ``id``, ``seed`` (:data:`NO_SEED` if the user is not known), ``observations``, ``infos`` and, unless
            ``names`` leave them out, ``actions``, ``rewards``, ``terminations`` and ``truncations``.

        Raises:
            ValueError: As of :meth:`get_episodes`, and if a seed is no integer.
        """
        wanted = None if names is None else _GROUPS.union(names)
        for chunk in _chunks(indices):
            with h5py.File(self._file_path) as file, self._naming_damage():
                total = 0
                for index in chunk:
                    session, where = self._session(file, index)
                    found: dict[str, Any] = {"observations": {}, "infos": {}}
                    for array in self._arrays(session, where, wanted):
                        total = self._added(total, array)
                        *within, name = array.path
                        part = found
                        for one in within:
                            part = part.setdefault(one, {})
                        part[name] = array.read()
                    self._check_form(found, where, wanted)
                    yield {**found, "id": index, "seed": self._seed(session, where)}

    def get_episode_metadata(self, episode_indices: Iterable[int]) -> Iterator[dict[str, Any]]:
        """Reads what is said of sessions: id, seed, number of steps; see Minari.

        Raises:
            ValueError: If an entry is not in this file, larger than 64 KiB, or no seed where there should be one.
        """
        for chunk in _chunks(episode_indices):
            with h5py.File(self._file_path) as file:
                for index in chunk:
                    self._check_attributes(file, self._session(file, index)[1])
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

    def _session(self, file: h5py.File, index: int) -> tuple[GroupID, str]:
        """A session and its name."""
        where = f"episode_{index}"
        try:
            link = file.id.links.get_info(where.encode())
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"{self._file_path} has no {where}") from error
        group = self._member(file.id, where, link.type)
        if not isinstance(group, GroupID):
            raise ValueError(f"{self._file_path}: {where} is no session")
        return group, where

    def _arrays(self, group: GroupID, where: str, wanted: set[str] | None = None) -> Iterator[_Array]:
        """Opens the arrays of a session, or of a part of it, all of them numbers in this file.

        Args:
            group: The session.
            where: Its name; those of its parts stand behind it.
            wanted: Names of the arrays, and of what they lie in; all if None.
        """
        links: list[tuple[str, int]] = []  # h5py gives the same object for all links
        group.links.iterate(lambda name, link: links.append((name.decode(), link.type)), info=True)
        for name, link in links:
            if wanted is not None and name not in wanted:
                continue
            member = self._member(group, place := f"{where}/{name}", link)
            if isinstance(member, GroupID) and place.count("/") < _DEEPEST:
                yield from self._arrays(member, place, wanted)
            else:
                yield self._array(member, place)

    def _array(self, member: Any, where: str) -> _Array:
        """Checks that something is an array of numbers that lie in this file."""
        if not isinstance(member, DatasetID):
            raise ValueError(f"{self._file_path}: {where} is no array of a session")
        created = member.get_create_plist()
        if created.get_external_count() or created.get_layout() == h5py.h5d.VIRTUAL:
            raise ValueError(
                f"{self._file_path}: the numbers of {where} lie in other files: only what lies in the file itself is "
                "read"
            )
        kind = member.get_type()
        if (code := kind.encode()) not in self._dtypes:
            if kind.get_class() not in _NUMBERS:
                raise ValueError(f"{self._file_path}: {where} holds no numbers, but {kind.dtype}")
            self._dtypes[code] = kind.dtype
        return _Array(tuple(where.split("/")[1:]), member, member.shape, kind, self._dtypes[code])

    def _added(self, total: int, array: _Array) -> int:
        """The bytes of some arrays and one more, which may not be too many."""
        total += math.prod(array.shape) * array.dtype.itemsize
        if total > self._limit:
            raise ValueError(
                f"{self._file_path} promises {total:,} bytes of numbers in at most {_CHUNK} episodes, more than "
                f"{LARGEST_RATIO} times its own size"
            )
        return total

    def _member(self, parent: GroupID, where: str, link: int) -> Any:
        """A member that is linked to directly: other kinds of links may lead to other files."""
        if link != h5py.h5l.TYPE_HARD:
            raise ValueError(
                f"{self._file_path}: {where} is a link to elsewhere: only what lies in the file itself is read"
            )
        return h5py.h5o.open(parent, where.rpartition("/")[2].encode())

    def _seed(self, session: GroupID, where: str) -> int:
        if not h5py.h5a.exists(session, b"seed"):
            return NO_SEED
        seed = h5py.h5a.open(session, b"seed")
        if seed.shape != () or seed.get_type().get_class() != h5py.h5t.INTEGER:
            raise ValueError(f"{self._file_path}: the seed of {where} is no integer")
        value = np.empty((), np.int64)
        seed.read(value, h5py.h5t.NATIVE_INT64)
        return int(value)

    def _check_form(self, session: Mapping[str, Any], where: str, wanted: set[str] | None) -> None:
        """Checks that the parts of a session that were asked for are there, each an array or several ones."""
        spaces = {"observations": self.observation_space, "actions": self.action_space}
        for part in _PARTS if wanted is None else _PARTS & wanted:
            several = isinstance(spaces.get(part), gymnasium.spaces.Dict | gymnasium.spaces.Tuple)
            if not isinstance(session.get(part), dict if several else np.ndarray):
                raise ValueError(
                    f"an episode in {self._file_path} is damaged: {where}/{part} must be "
                    f"{'several arrays' if several else 'an array'}"
                )

    def _check_attributes(self, file: h5py.File, where: str) -> None:
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
