"""Impressions as the arrays of a dataset's sessions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gems_gym.datasets.sessions import CHUNK_BYTES

if TYPE_CHECKING:
    import polars


@dataclass(frozen=True)
class FlatLists:
    """Impressions without their lists: the slots of all behind one another.

    Attributes:
        lengths: Slots of each impression, int64 ``(impressions,)``.
        items: Numbers of the items, int64 ``(slots,)``; −1 where the log does not know what was shown.
        clicks: int8 ``(slots,)``, 0 or 1.
        propensities: float32 ``(slots,)``, NaN where there is none.
    """

    lengths: NDArray[np.int64]
    items: NDArray[np.int64]
    clicks: NDArray[np.int8]
    propensities: NDArray[np.float32]

    @classmethod
    def of(cls, impressions: polars.DataFrame) -> FlatLists:
        """Takes the lists apart.

        Args:
            impressions: As :func:`gems_gym.logs.impressions.in_sessions` returns them; no list of items is empty.
        """
        lengths = impressions["items"].list.len().to_numpy().astype(np.int64)
        total = int(lengths.sum())
        propensities = np.full(total, np.nan, np.float32)
        if impressions["propensity"].null_count() == 0:
            exploded = impressions["propensity"].explode()
            propensities = exploded.fill_null(float("nan")).to_numpy().astype(np.float32)
        items = impressions["items"].explode().cast(int).fill_null(-1)
        return cls(lengths, items.to_numpy(), impressions["clicks"].explode().to_numpy(), propensities)

    @property
    def slots(self) -> NDArray[np.int64]:
        """Each one's place in its slate, from 0, int64 ``(slots,)``."""
        starts = np.cumsum(self.lengths) - self.lengths
        return np.arange(len(self.items)) - np.repeat(starts, self.lengths)


def observation_space(num_items: int, slate_size: int) -> gymnasium.Space[Any]:
    """The slate shown last, what was clicked, and which of its slots are known to have shown something.

    It is ``slate`` int32, ``clicks`` int8 and ``mask`` int8, ``(slate_size,)`` each; where the mask is 0, the slate
    holds item 0.
    """
    return gymnasium.spaces.Dict(
        {
            "slate": action_space(num_items, slate_size),
            "clicks": gymnasium.spaces.MultiBinary(slate_size),
            "mask": gymnasium.spaces.MultiBinary(slate_size),
        }
    )


def action_space(num_items: int, slate_size: int) -> gymnasium.spaces.MultiDiscrete:
    """A slate: an item in each slot, int32 ``(slate_size,)``."""
    return gymnasium.spaces.MultiDiscrete([num_items] * slate_size, dtype=np.int32)  # type: ignore[arg-type]


@dataclass(frozen=True)
class EpisodeArrays:
    """The sessions of some impressions, ready to be written.

    Row 0 of each session is empty: before the first slate nothing was shown. Arrays of the sessions lie behind one
    another, ``(steps + sessions, ...)``; episodes are views into them.

    Attributes:
        users: Each session's user, ``(sessions,)``.
        starts: Each session's first row, and the end of the last, ``(sessions + 1,)``.
        rewards: What the slates earned, float32 ``(steps + sessions,)``.
        arrays: ``slate``, ``clicks``, ``mask``, ``time`` and, if the log has them, ``propensity``.
    """

    users: NDArray[np.int64]
    starts: NDArray[np.int64]
    rewards: NDArray[np.float32]
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def of(
        cls,
        impressions: polars.DataFrame,
        users: NDArray[np.int64],
        items: NDArray[np.int32],
        slate_size: int,
        *,
        propensities: bool,
        rewards: bool,
    ) -> EpisodeArrays:
        """Fills the arrays.

        Args:
            impressions: Whole sessions of them, as :func:`gems_gym.logs.impressions.in_sessions` returns them.
            users: What a user's number becomes.
            items: What an item's number becomes.
            slate_size: Slots of the dataset's slates.
            propensities: Whether the dataset has propensities.
            rewards: Whether the log has rewards; otherwise they are clicks.
        """  # fmt: skip
        flat, begins = FlatLists.of(impressions), impressions["begins"].to_numpy()
        rows = np.arange(len(begins)) + np.cumsum(begins)  # with an empty row before each session
        total = len(begins) + int(begins.sum())
        at, known = (np.repeat(rows, flat.lengths), flat.slots), flat.items >= 0
        shown = tuple(index[known] for index in at)
        arrays: dict[str, NDArray[Any]] = {
            "slate": np.zeros((total, slate_size), np.int32),
            "clicks": np.zeros((total, slate_size), np.int8),
            "mask": np.zeros((total, slate_size), np.int8),
            "time": np.zeros(total, np.int64),
        }
        arrays["slate"][shown] = items[flat.items[known]]
        arrays["clicks"][at] = flat.clicks
        arrays["mask"][shown] = 1
        times = impressions["time"].to_numpy()
        arrays["time"][rows] = times
        arrays["time"][rows[begins] - 1] = times[begins]
        if propensities:
            arrays["propensity"] = np.zeros((total, slate_size), np.float32)
            arrays["propensity"][shown] = flat.propensities[known]
        earned = arrays["clicks"].sum(axis=1, dtype=np.float32)
        if rewards:
            earned[rows] = impressions["reward"].to_numpy()
        starts = np.append(rows[begins] - 1, total)
        return cls(users[impressions["user"].to_numpy()[begins]], starts, earned, arrays)

    @property
    def nbytes(self) -> int:
        """Bytes of what is written."""
        rewards_and_ends = 6 * len(self.rewards)
        return (
            sum(one.nbytes for one in self.arrays.values()) + self.arrays["slate"].nbytes + rewards_and_ends
        )

    def episodes(self) -> Iterator[dict[str, Any]]:
        """Yields each session as :meth:`gems_gym.datasets.Sessions.episodes` does; all users leave."""
        infos = [name for name in ("time", "propensity") if name in self.arrays]
        for user, start, end in zip(self.users, self.starts, self.starts[1:], strict=False):
            one = {name: values[start:end] for name, values in self.arrays.items()}
            steps = end - start - 1
            yield {
                "seed": int(user),
                "observations": {name: one[name] for name in ("slate", "clicks", "mask")},
                "actions": one["slate"][1:],
                "rewards": self.rewards[start + 1 : end],
                "terminations": np.arange(1, steps + 1) == steps,
                "truncations": np.zeros(steps, np.bool_),
                "infos": {name: one[name] for name in infos},
            }


def chunks_of_sessions(impressions: polars.DataFrame, slate_size: int) -> Iterator[polars.DataFrame]:
    """Cuts impressions between sessions, so that the arrays of a part take no more than :data:`CHUNK_BYTES`.

    A single session may take more.
    """
    most = max(1, CHUNK_BYTES // (16 * slate_size))
    ends = np.append(np.flatnonzero(impressions["begins"].to_numpy())[1:], len(impressions))
    start = 0
    while start < len(impressions):
        fits, next_one = (np.searchsorted(ends, row, side="right") for row in (start + most, start))
        end = int(ends[max(fits - 1, next_one)])
        yield impressions[start:end]
        start = end
