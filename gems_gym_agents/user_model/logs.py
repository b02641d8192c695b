"""Sessions of logging users, as an agent sees them: slates go in, slates and clicks come out.

Infos, where environments hand out what they know of users, are never looked at, nor is anything else about the
environment but the number of users, the catalogue's size and the slate's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled
from gems_gym.common.progress import track
from gems_gym.user_splits import user_seeds

MakeUsers = Callable[[int], VectorEnv[Any, Any, Any]]
"""Makes a slate vector environment without autoreset for a number of users."""

_REPEAT, _NEAR = 0.3, 0.4
"""Share of an exploring slate that was clicked lately, and that is like what was; the rest is random."""
_MEMORY, _NEIGHBOURS = 30, 60
_TOGETHER = 4096
"""Users that see slates at the same time; logs depend on it, as slates are drawn for all of them together."""


@dataclass(frozen=True)
class Log:
    """Sessions: the first slate, which the agent did not choose, at index 0; then one slate a step.

    Attributes:
        slates: Item ids, int16 or int32 ``(num_sessions, length + 1, slate_size)``.
        clicks: int8, same shape, 0 or 1.
    """

    slates: NDArray[np.signedinteger]
    clicks: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.slates)

    def __getitem__(self, sessions: slice | NDArray[np.int64]) -> "Log":
        return Log(self.slates[sessions], self.clicks[sessions])

    @property
    def chosen(self) -> "Log":
        """The log without first slates, which are the same in every session."""
        return Log(self.slates[:, 1:], self.clicks[:, 1:])


class SlateUsers:
    """Users of a world, met through nothing but slates and clicks.

    Args:
        make_users: Makes the environment.
        num_users: Users that see slates at the same time.

    Attributes:
        num_users: What was given.
        num_items: Items in the catalogue.
        slate_size: Positions of a slate.
        spec_id: Name of the environment, None if it has none.
    """

    def __init__(self, make_users: MakeUsers, num_users: int) -> None:
        self._env = make_users(num_users)
        items: Any = self._env.single_action_space
        self.spec_id = None if self._env.spec is None else self._env.spec.id
        self.num_users, self.num_items, self.slate_size = num_users, int(items.nvec[0]), len(items.nvec)

    def open(self, seeds: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Begin new sessions; returns the first slates and the clicks on them, as an observation."""
        observations, _ = self._env.reset(seed=list(seeds))  # type: ignore[arg-type]
        return _slates_and_clicks(observations)

    def show(self, slates: NDArray[np.int64]) -> tuple[dict[str, NDArray[Any]], NDArray[Any], bool]:
        """Show each user a slate; returns slates and clicks, the numbers of clicks, and whether all sessions end."""
        observations, rewards, _, truncated, _ = self._env.step(slates)
        return _slates_and_clicks(observations), rewards, bool(truncated.all())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._env.close()


def _slates_and_clicks(observations: Any) -> dict[str, NDArray[Any]]:
    return {"slate": observations["slate"], "clicks": observations["clicks"]}


class _Random:
    """Shows random slates.

    Args:
        rng: Draws them.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def open(self, users: SlateUsers) -> None:
        """Begin new sessions."""
        self._num_items, self._shape = users.num_items, (users.num_users, users.slate_size)

    def choose(self, observations: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Each user's next slate."""
        return self._rng.integers(self._num_items, size=self._shape)


class _Exploring(_Random):
    """Shows what was clicked, what is like it, and random items.

    Args:
        rng: Draws them.
        neighbours: Items like each item, int64 ``(num_items, num_neighbours)``.
    """

    def __init__(self, rng: np.random.Generator, neighbours: NDArray[np.int64]) -> None:
        super().__init__(rng)
        self._neighbours = neighbours

    def open(self, users: SlateUsers) -> None:
        """Begin new sessions."""
        super().open(users)
        self._clicked = np.zeros((users.num_users, _MEMORY), np.int64)
        self._num_clicked = np.zeros(users.num_users, np.int64)

    def choose(self, observations: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Each user's next slate."""
        _remember(self._clicked, self._num_clicked, observations["slate"], observations["clicks"])
        slates = super().choose(observations)  # random items, in place of which the others come
        kinds = self._rng.random(self._shape, dtype=np.float32)
        picks = self._rng.integers(2**62, size=self._shape)
        _explore(self._clicked, self._num_clicked, self._neighbours, kinds, picks, slates)
        return slates


@compiled
def _remember(
    clicked: NDArray[np.int64],
    num_clicked: NDArray[np.int64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int8],
) -> None:
    for u in range(slates.shape[0]):
        for s in range(slates.shape[1]):
            if clicks[u, s]:
                clicked[u, num_clicked[u] % clicked.shape[1]] = slates[u, s]
                num_clicked[u] += 1


@compiled
def _explore(
    clicked: NDArray[np.int64],
    num_clicked: NDArray[np.int64],
    neighbours: NDArray[np.int64],
    kinds: NDArray[np.float32],
    picks: NDArray[np.int64],
    slates: NDArray[np.int64],
) -> None:
    """Replace random items by clicked ones and by neighbours of these, but for those that the slate has already."""
    for u in range(slates.shape[0]):
        remembered = min(num_clicked[u], clicked.shape[1])
        for s in range(slates.shape[1]):
            if remembered == 0 or kinds[u, s] >= _REPEAT + _NEAR:
                continue
            item = clicked[u, picks[u, s] % remembered]
            if kinds[u, s] < _NEAR:
                item = neighbours[item, (picks[u, s] // remembered) % neighbours.shape[1]]
            if (slates[u, :s] != item).all():
                slates[u, s] = item


def random_log(
    make_users: MakeUsers, rng: np.random.Generator, seed: int, num_sessions: int, length: int, progress: bool
) -> Log:
    """Sessions of random slates: what item embeddings come from.

    Args:
        make_users: Makes the environment.
        rng: Draws the slates.
        seed: Block of logging users; its first ones are met.
        num_sessions: Sessions, ≥ 1.
        length: Steps of a session, fewer where the environment ends it earlier.
        progress: Whether to show a progress bar on stderr.
    """
    return _collected(make_users, _Random(rng), (seed, 0, num_sessions), length, "random slates", progress)


def exploration_log(
    make_users: MakeUsers,
    rng: np.random.Generator,
    seed: int,
    embeddings: NDArray[np.floating],
    start: int,
    num_sessions: int,
    length: int,
    progress: bool,
) -> Log:
    """Sessions with many clicks, which say much of users: some items they clicked, some like these, some random.

    Args:
        make_users: Makes the environment.
        rng: Draws the slates.
        seed: Block of logging users.
        embeddings: Says which items are alike, ``(num_items, size)``.
        start: Users of the block to pass over.
        num_sessions: Sessions, ≥ 1.
        length: Steps of a session, fewer where the environment ends it earlier.
        progress: Whether to show a progress bar on stderr.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    count = min(_NEIGHBOURS, len(unit) - 1)
    neighbours = np.argsort(-(unit @ unit.T), axis=1, kind="stable")[:, 1 : count + 1].astype(np.int64)
    explorer = _Exploring(rng, neighbours)
    return _collected(make_users, explorer, (seed, start, num_sessions), length, "exploring slates", progress)


def _collected(
    make_users: MakeUsers,
    policy: _Random,
    block: tuple[int, int, int],
    length: int,
    what: str,
    progress: bool,
) -> Log:
    """Sessions of the logging users of a block (seed, start, count)."""
    seed, start, count = block
    together = min(_TOGETHER, count)
    slates: list[NDArray[Any]] = []  # (together, length + 1, slate_size) each
    clicks: list[NDArray[np.int8]] = []
    with SlateUsers(make_users, together) as users, track(what, count, progress) as advance:
        few_items = users.num_items <= 2**15
        for first in range(0, count, together):
            shown = users.open(user_seeds("logging", seed, together, start + first))
            policy.open(users)
            moments, ended = [shown], False
            while not ended and len(moments) <= length:
                shown, _, ended = users.show(policy.choose(shown))
                moments.append(shown)
            slates.append(
                np.stack([one["slate"] for one in moments], axis=1).astype(
                    np.int16 if few_items else np.int32
                )
            )
            clicks.append(np.stack([one["clicks"] for one in moments], axis=1).astype(np.int8))
            advance(min(together, count - first))
    return Log(np.concatenate(slates)[:count], np.concatenate(clicks)[:count])
