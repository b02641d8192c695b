"""Sessions of logging users, as an agent sees them: slates go in, slates and clicks come out.

Infos, where environments hand out what they know of users, are never looked at, nor is anything else about the
environment but the number of users, the catalogue's size and the slate's, and whether users leave.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.spaces import MultiDiscrete
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled
from gems_gym.common.progress import track
from gems_gym.rollouts import user_batches
from gems_gym.user_splits import USERS_PER_SEED, user_seeds
from gems_gym.world_config import WorldConfig

Seen = dict[str, NDArray[Any]]
"""``slate`` and ``clicks``, each ``(num_users, slate_size)``: what was shown and clicked last."""

_REPEAT, _NEAR = 0.3, 0.4
"""Share of an exploring slate that was clicked lately, and that is like what was; the rest is random."""
_MEMORY, _NEIGHBOURS = 30, 60
_BLOCK = 1024
"""Sessions that are drawn for together, however many users see slates at the same time."""


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
        env: A slate vector environment, whatever its autoreset mode: all sessions are opened by ``reset``.

    Attributes:
        num_users: Users that see slates at the same time.
        num_items: Items in the catalogue.
        slate_size: Positions of a slate.

    Raises:
        TypeError: An environment whose actions are no slates.
        ValueError: One whose users leave: all sessions of a log have one length.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any]) -> None:
        slates = getattr(env, "single_action_space", None)
        if not isinstance(slates, MultiDiscrete) or len(set(slates.nvec.tolist())) != 1:
            raise TypeError(f"env must be a slate vector environment, whose actions are item ids; got {env}")
        config = getattr(env.unwrapped, "config", None)
        if isinstance(config, WorldConfig) and config.without_leaving() != config:
            raise ValueError(
                "env is a world whose users leave (leave_probability > 0), from which no user model is learned: make "
                "it with leave_probability=0; the planner that is learned there can act in the other"
            )
        self._env = env
        self.num_users, self.num_items, self.slate_size = env.num_envs, int(slates.nvec[0]), len(slates.nvec)

    def open(self, seeds: Sequence[int]) -> Seen:
        """Begin new sessions; returns the first slates and the clicks on them."""
        observations, _ = self._env.reset(seed=list(seeds))  # type: ignore[arg-type]
        return _slates_and_clicks(observations)

    def show(self, slates: NDArray[np.int64]) -> tuple[Seen, NDArray[Any], bool]:
        """Show each user a slate.

        Returns:
            What was shown and clicked, or any other observation if the sessions end; how many clicks; whether they end.

        Raises:
            ValueError: Some sessions end, and others do not.
        """
        observations, rewards, terminated, truncated, _ = self._env.step(slates)
        ended = terminated | truncated
        if ended.any() and not ended.all():
            raise ValueError(
                f"env ends {np.count_nonzero(ended)} of {len(ended)} sessions before the others: a user model is "
                "learned from sessions of one length"
            )
        return _slates_and_clicks(observations), rewards, bool(ended.all())


def _slates_and_clicks(observations: Any) -> Seen:
    return {"slate": observations["slate"], "clicks": observations["clicks"]}


class _Random:
    """Shows random slates.

    Args:
        seed: Decides them, block of sessions by block, so they do not depend on how many users see them together.
        users: To whom.
        length: Steps of a session, at most.
    """

    def __init__(self, seed: np.random.SeedSequence, users: SlateUsers, length: int) -> None:
        self._seed, self._shape = seed, (_BLOCK, length, users.slate_size)
        self._num_items = users.num_items

    def open(self, first: int, count: int) -> None:
        """Begin sessions, ``count`` of them from number ``first`` on."""
        blocks = range(first // _BLOCK, (first + count - 1) // _BLOCK + 1)
        rows = slice(first - blocks[0] * _BLOCK, first - blocks[0] * _BLOCK + count)
        drawn = zip(*(self._drawn(self._rng(block)) for block in blocks), strict=True)
        self._draws = [np.concatenate(arrays)[rows] for arrays in drawn]  # (count, length, slate_size) each

    def choose(self, step: int, seen: Seen) -> NDArray[np.int64]:
        """Each user's slate at a step, from 0."""
        return self._draws[0][:, step]

    def _rng(self, block: int) -> np.random.Generator:
        return np.random.default_rng(
            np.random.SeedSequence(self._seed.entropy, spawn_key=(*self._seed.spawn_key, block))
        )

    def _drawn(self, rng: np.random.Generator) -> list[NDArray[Any]]:
        return [rng.integers(self._num_items, size=self._shape)]


class _Exploring(_Random):
    """Shows what was clicked, what is like it, and random items.

    Args:
        seed: See :class:`_Random`.
        users: Likewise.
        length: Likewise.
        neighbours: Items like each item, int64 ``(num_items, num_neighbours)``.
    """

    def __init__(
        self, seed: np.random.SeedSequence, users: SlateUsers, length: int, neighbours: NDArray[np.int64]
    ) -> None:
        super().__init__(seed, users, length)
        self._neighbours = neighbours

    def open(self, first: int, count: int) -> None:
        """Begin sessions; see :class:`_Random`."""
        super().open(first, count)
        self._clicked = np.zeros((count, _MEMORY), np.int64)
        self._num_clicked = np.zeros(count, np.int64)

    def choose(self, step: int, seen: Seen) -> NDArray[np.int64]:
        """Each user's slate at a step."""
        _remember(self._clicked, self._num_clicked, seen["slate"], seen["clicks"])
        slates, kinds, picks = (array[:, step] for array in self._draws)
        _explore(self._clicked, self._num_clicked, self._neighbours, kinds, picks, slates)
        return slates

    def _drawn(self, rng: np.random.Generator) -> list[NDArray[Any]]:
        return [
            *super()._drawn(rng), rng.random(self._shape, dtype=np.float32), rng.integers(2**62, size=self._shape)
        ]  # fmt: skip


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
    users: SlateUsers,
    random_seed: np.random.SeedSequence,
    seed: int,
    num_sessions: int,
    length: int,
    progress: bool = True,
) -> Log:
    """Sessions of random slates: what item embeddings come from.

    Args:
        users: Users of the world.
        random_seed: Decides the slates.
        seed: Block of logging users; its first ones are met.
        num_sessions: Sessions, ≥ 1.
        length: Steps of a session, ≥ 1.
        progress: Whether to show a progress bar on stderr.

    Returns:
        The log; sessions that the environment ends before are logged without their last step.
    """
    policy = _Random(random_seed, users, length)
    return _collected(
        users, policy, user_seeds("logging", seed, num_sessions), length, "random slates", progress
    )


def exploration_log(
    users: SlateUsers,
    random_seed: np.random.SeedSequence,
    seed: int,
    num_sessions: int,
    length: int,
    embeddings: NDArray[np.floating],
    progress: bool = True,
) -> Log:
    """Sessions with many clicks, which say much of users: some items they clicked, some like these, some random.

    Args:
        users: Users of the world.
        random_seed: See :func:`random_log`.
        seed: Block of logging users; its second half is met.
        num_sessions: See :func:`random_log`.
        length: Likewise.
        embeddings: Says which items are alike, ``(num_items, size)``.
        progress: See :func:`random_log`.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-9)
    count = min(_NEIGHBOURS, len(unit) - 1)
    neighbours = np.argsort(-(unit @ unit.T), axis=1, kind="stable")[:, 1 : count + 1].astype(np.int64)
    policy = _Exploring(random_seed, users, length, neighbours)
    seeds = user_seeds("logging", seed, num_sessions, start=USERS_PER_SEED // 2)
    return _collected(users, policy, seeds, length, "exploring slates", progress)


def session_length(users: SlateUsers, log: Log, longest: int) -> int:
    """Steps of a session: those of a log whose sessions were to have at most ``longest``, if they ended before."""
    steps = int(log.slates.shape[1])
    if steps <= longest:
        return steps
    users.open(user_seeds("logging", 0, users.num_users))
    slates = np.tile(np.arange(users.slate_size), (users.num_users, 1))
    steps, ended = 0, False
    while not ended:
        _, _, ended = users.show(slates)
        steps += 1
    return steps


def _collected(
    users: SlateUsers, policy: _Random, seeds: list[int], length: int, what: str, progress: bool
) -> Log:
    """Sessions of some users, one each."""
    slates: list[NDArray[Any]] = []  # (count, length + 1, slate_size) each
    clicks: list[NDArray[Any]] = []
    item = np.int16 if users.num_items <= 2**15 else np.int32
    with track(what, len(seeds), progress) as advance:
        first = 0
        for batch, count in user_batches(seeds, users.num_users):
            policy.open(first, len(batch))
            seen = list(_session(users, policy, batch, length))
            slates.append(
                np.stack([one["slate"][:count] for one in seen], axis=1, dtype=item, casting="same_kind")
            )
            clicks.append(np.stack([one["clicks"][:count] for one in seen], axis=1, dtype=np.int8))
            first += count
            advance(count)
    return Log(np.concatenate(slates), np.concatenate(clicks))


def _session(users: SlateUsers, policy: _Random, seeds: list[int], length: int) -> Iterator[Seen]:
    """What some users are shown and click, from the first slate on."""
    seen = users.open(seeds)
    yield seen
    for step in range(length):
        seen, _, ended = users.show(policy.choose(step, seen))
        if ended:  # with autoreset this is the next session's first slate already
            break
        yield seen
