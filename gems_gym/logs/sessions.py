"""Sessions of a dataset, as models are fitted to them and scored on them: slates and clicks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.progress import track
from gems_gym.datasets import sessions
from gems_gym.datasets.reader import (
    dataset_ranker,
    dataset_world,
    environment_of,
    is_log,
    open_sessions,
    read_episodes,
)
from gems_gym.envs.recorded_spec import world_config
from gems_gym.pretraining.session_log import SessionLog

if TYPE_CHECKING:
    import minari

    from gems_gym.datasets.reader import Dataset

LONGEST = 100
"""Slates of a session that are read, as many as a session of our worlds has: robots have thousands."""

_READ = ("slate", "clicks", "mask", "time")
"""Arrays of a log's session that are read; how it ends is known."""

LARGEST_LOG = 2**27
"""Slots in a log that trainers get, those that fill up short sessions included: 640 MiB."""


@dataclass(frozen=True)
class ShownSlates:
    """Slates and the clicks on them: what click models learn from.

    Attributes:
        slates: int32 ``(num_slates, slate_size)``, -1 where nothing is known to have been shown.
        clicks: int8, same shape, 0 or 1.
        num_items: Items in the catalogue.
    """

    slates: NDArray[np.int32]
    clicks: NDArray[np.int8]
    num_items: int

    @property
    def shown(self) -> NDArray[np.bool_]:
        """Where an item was shown, bool ``(num_slates, slate_size)``."""
        found: NDArray[np.bool_] = self.slates >= 0
        return found

    def at(self, rows: Any) -> ShownSlates:
        """Some of the slates."""
        return ShownSlates(self.slates[rows], self.clicks[rows], self.num_items)


@dataclass(frozen=True)
class LoggedSessions(ShownSlates):
    """Sessions with their slates behind one another.

    Attributes:
        starts: Where each session begins, and the end of the last, int64 ``(num_sessions + 1,)``.
        catalog_hash: The catalogue that the item ids belong to; of a log the sha256 of its map of items.
        left: Whose last slate is the last that the user saw, bool ``(num_sessions,)``; the other sessions were cut, or
            their world's ended them.
        timed: Whether the order is that of time; otherwise it is the file's.
        cut: Slates that were left out since their session had :data:`LONGEST` before.
    """

    starts: NDArray[np.int64]
    catalog_hash: str
    left: NDArray[np.bool_]  # (num_sessions,)
    timed: bool = False
    cut: int = 0

    @classmethod
    def read(cls, dataset: Dataset, *, progress: bool = True) -> LoggedSessions:
        """Read all sessions of a dataset, the earliest first, imported from a log or recorded in a world.

        Args:
            dataset: The dataset, a part of it that Minari made, or the id of a local one.
            progress: Whether to show a progress bar on stderr.

        Raises:
            ValueError: As :func:`~gems_gym.datasets.reader.open_sessions`, or the dataset holds no slates, an unknown
                item, or a click that is neither 0 nor 1 or lies where nothing was shown.
        """
        opened = open_sessions(dataset)
        parts, times, left, cut = [], [], [], 0
        of_log = is_log(opened)
        for episode in tracked_episodes(opened, _READ if of_log else (*_READ, "terminations"), progress):
            slates, clicks = shown_in(episode, opened.id)
            rows = (slates >= 0).any(axis=1)  # the first of a log is empty
            slates, clicks = slates[rows], clicks[rows]
            if len(slates):
                parts.append((slates[:LONGEST], clicks[:LONGEST]))
                times.append(int(episode["infos"]["time"][0]) if "time" in episode["infos"] else 0)
                user_left = of_log or bool(episode["terminations"].any())
                left.append(user_left and len(slates) <= LONGEST)
            cut += max(0, len(slates) - LONGEST)
        if not parts:
            raise ValueError(f"dataset {opened.id!r} has no slate with a known item")
        # sessions of equal times stay in the file's order
        order = np.argsort(times, kind="stable")
        ordered = [parts[index] for index in order]
        found = cls.of_parts(ordered, np.array(left)[order], opened.id, *catalogue_of(opened))
        return replace(found, timed=any(times), cut=cut)

    @classmethod
    def of_parts(
        cls,
        parts: Sequence[tuple[NDArray[Any], NDArray[Any]]],
        left: NDArray[np.bool_],
        name: str,
        num_items: int,
        catalog_hash: str,
    ) -> LoggedSessions:
        """Put sessions behind one another.

        Args:
            parts: Slates and clicks of each, as :func:`shown_in` returns them; at least one.
            left: See the attribute.
            name: The dataset's, for errors.
            num_items: Items in the catalogue.
            catalog_hash: See the attribute.

        Raises:
            ValueError: An unknown item, or a click that is neither 0 nor 1 or lies where nothing was shown.
        """
        slates, clicks = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        _check(slates, clicks, num_items, name)  # before a conversion makes others of wrong numbers
        return cls(
            slates.astype(np.int32, copy=False),
            clicks.astype(np.int8, copy=False),
            num_items,
            np.concatenate([[0], np.cumsum([len(slates) for slates, _ in parts])]),
            catalog_hash,
            left,
        )

    def __len__(self) -> int:
        """Number of sessions."""
        return len(self.starts) - 1

    def __getitem__(self, sessions: slice) -> LoggedSessions:
        """Some of the sessions that follow one another; arrays are shared, not copied."""
        first, end, _ = sessions.indices(len(self))
        starts = self.starts[first : max(first, end) + 1]
        rows = slice(starts[0], starts[-1])
        return replace(
            self,
            slates=self.slates[rows],
            clicks=self.clicks[rows],
            starts=starts - starts[0],
            left=self.left[first : max(first, end)],
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Slates of each session, ``(num_sessions,)``, at least 1."""
        return np.diff(self.starts)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Each slate's number in its session, from 1, ``(num_slates,)``."""
        return np.arange(1, len(self.slates) + 1) - np.repeat(self.starts[:-1], self.lengths)

    def totals(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """The sums over each session, ``(num_sessions, ...)``, of numbers of each slate, ``(num_slates, ...)``."""
        return np.add.reduceat(values.astype(np.float64), self.starts[:-1], axis=0)

    def split(self, held_out: float) -> tuple[LoggedSessions, LoggedSessions]:
        """The earlier sessions, and the later ones: that share of all, at least one."""
        cut = sessions.num_earlier(len(self), held_out)
        return self[:cut], self[cut:]

    def padded(self, array: NDArray[Any], fill: int) -> NDArray[Any]:
        """Rows of an array by session, ``(num_sessions, longest, ...)``, filled up behind each session's end."""
        lengths = self.lengths
        found = np.full((len(self), lengths.max(), *array.shape[1:]), fill, array.dtype)
        found[np.arange(found.shape[1]) < lengths[:, None]] = array
        return found

    def session_log(self) -> SessionLog:
        """The latest sessions, as many as fit into :data:`LARGEST_LOG`, as trainers take them."""
        most = max(2, LARGEST_LOG // (int(self.lengths.max()) * self.slates.shape[1]))
        latest = self[max(0, len(self) - most) :]
        return SessionLog(
            slates=latest.padded(latest.slates, -1),
            clicks=latest.padded(latest.clicks, 0).astype(np.uint8),
            click_probabilities=None,
            policy=np.zeros(len(latest), np.uint8),
            policy_names=("log",),
            catalog_hash=self.catalog_hash,
        )


def _check(slates: NDArray[Any], clicks: NDArray[Any], num_items: int, name: str) -> None:
    if slates.dtype.kind not in "iu" or clicks.dtype.kind not in "iub":
        raise ValueError(
            f"dataset {name!r} holds slates of {slates.dtype} and clicks of {clicks.dtype}; integers were expected"
        )
    low, high = int(slates.min()), int(slates.max())
    if not -1 <= low <= high < num_items:
        raise ValueError(
            f"dataset {name!r} holds the items {low} … {high}; 0 … {num_items - 1} were expected"
        )
    if not np.isin(clicks, (0, 1)).all() or clicks[slates < 0].any():
        raise ValueError(f"dataset {name!r}: clicks must be 0 or 1, and 0 where the mask is 0")


def tracked_episodes(
    dataset: minari.MinariDataset, names: Collection[str], progress: bool
) -> Iterator[dict[str, Any]]:
    """Read arrays of these names of an opened dataset's episodes, with a progress bar on stderr if wanted."""
    with track(f"reading {dataset.id}", len(dataset.episode_indices), shown=progress) as advance:
        for episode in read_episodes(dataset.storage, dataset.episode_indices, names):
            yield episode
            advance(1)


def shown_in(episode: Mapping[str, Any], name: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The slates of an episode and the clicks on them: what there was before each step and after the last.

    Args:
        episode: As :func:`~gems_gym.datasets.reader.read_episodes` or
            :meth:`~gems_gym.datasets.sessions.Sessions.episodes` yields it.
        name: The dataset's, for errors.

    Returns:
        Slates, -1 where nothing is known to have been shown, and clicks, ``(steps + 1, slate_size)`` each.

    Raises:
        ValueError: The episode holds neither.
    """
    known = sessions.shown_in(episode["observations"], episode["infos"])
    if len(known) < 2:
        raise ValueError(f"dataset {name!r} holds no slates and clicks: they are neither observed nor infos")
    return known["slate"], known["clicks"]


def catalogue_of(dataset: minari.MinariDataset) -> tuple[int, str]:
    """Number of items of an opened dataset, and what their ids belong to."""
    metadata = dataset.storage.metadata
    if is_log(dataset):
        latent = metadata.get("ranker_sha256") is not None
        items = dataset_ranker(dataset).num_items if latent else dataset.observation_space["slate"].nvec[0]
        if "items_sha256" not in metadata:
            raise ValueError(f"dataset {dataset.id!r} is no whole log: its metadata lack items_sha256")
        return int(items), str(metadata["items_sha256"])
    # none if recorded without us
    recorded = metadata.get("catalog_hash") or dataset_world(dataset).catalog.hash
    return world_config(environment_of(dataset)).num_items, str(recorded)
