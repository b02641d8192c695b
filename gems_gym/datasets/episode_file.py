"""Episodes written into a data file in Minari's layout, at a fifth of the time that Minari's own writer takes.

Minari makes every array so that it can grow, which finished sessions don't: that takes a chunk, an index and 3 kB for
each. Here small arrays lie in their object's header, and the others in one piece. Minari reads both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.errors import require

_COMPACT = 8000
"""Bytes of the arrays that lie in their object's header; HDF5 takes up to 64 kB."""


def append_episodes(file: Path, first: int, episodes: Iterable[Mapping[str, Any]]) -> None:
    """Write episodes behind those that a file holds.

    Args:
        file: Minari's data file.
        first: Number of the first of them: as many are there.
        episodes: Each as :meth:`gems_gym.datasets.sessions.Sessions.episodes` yields it.

    Raises:
        OSError: The file can't be written; h5py has other errors for it, too.
    """
    # the form of HDF5 1.8 (2008) takes a third less than the oldest one, which is the default
    with require("h5py").File(file, "a", track_order=True, libver=("v108", "v108")) as opened:
        writing = _Writing()
        for index, episode in enumerate(episodes, first):
            writing.episode(opened.id, index, episode)


class _Writing:
    """HDF5's types and forms of arrays, each made once: making them costs as much as writing an array."""

    def __init__(self) -> None:
        self._h5 = require("h5py")
        self._scalar = self._h5.h5s.create(self._h5.h5s.SCALAR)
        self._compact, self._contiguous = (self._layout(name) for name in ("COMPACT", "CONTIGUOUS"))
        self._types: dict[np.dtype[Any], Any] = {}
        self._shapes: dict[tuple[int, ...], Any] = {}

    def episode(self, file: Any, index: int, episode: Mapping[str, Any]) -> None:
        group = self._h5.h5g.create(file, f"episode_{index}".encode())
        for name, value in (
            ("id", index),
            ("seed", episode["seed"]),
            ("total_steps", len(episode["rewards"])),
        ):
            attribute = self._h5.h5a.create(
                group, name.encode(), self._type(np.dtype(np.int64)), self._scalar
            )
            attribute.write(np.array(value, np.int64))
        for name in ("observations", "actions", "rewards", "terminations", "truncations", "infos"):
            self._write(group, name, episode[name])

    def _write(self, parent: Any, name: str, values: Any) -> None:
        if isinstance(values, Mapping):
            group = self._h5.h5g.create(parent, name.encode())
            for key, one in values.items():
                self._write(group, key, one)
            return
        array = np.ascontiguousarray(values)
        kind, everything = self._type(array.dtype), self._h5.h5s.ALL
        layout = self._compact if array.nbytes <= _COMPACT else self._contiguous
        self._h5.h5d.create(parent, name.encode(), kind, self._shape(array.shape), layout).write(
            everything, everything, array, kind
        )

    def _layout(self, name: str) -> Any:
        layout = self._h5.h5p.create(self._h5.h5p.DATASET_CREATE)
        layout.set_layout(getattr(self._h5.h5d, name))
        layout.set_obj_track_times(False)
        return layout

    def _type(self, dtype: np.dtype[Any]) -> Any:
        if dtype not in self._types:
            self._types[dtype] = self._h5.h5t.py_create(dtype, logical=True)
        return self._types[dtype]

    def _shape(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._shapes:
            self._shapes[shape] = self._h5.h5s.create_simple(shape)
        return self._shapes[shape]
