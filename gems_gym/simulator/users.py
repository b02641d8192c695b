"""Every user's own randomness: what is drawn from a user's generator, in which order."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.world_config import WorldConfig

_BLOCK_STEPS = 128
"""Steps of randomness drawn from a user's generator at a time: bounds memory for long sessions."""


class Openings(NamedTuple):
    """What sessions open with, one row each."""

    preferences: NDArray[np.float64]  # (n, embedding_size)
    uniforms: NDArray[np.float32]  # (n, 1, slate_size), that click probabilities must exceed
    short_term_topics: NDArray[np.int64]  # (n,), of users that click nothing
    first_slates: NDArray[np.int64]  # (n, slate_size)


class UserDraws(NamedTuple):
    """What new users are made of, one row each."""

    normals: NDArray[np.float64]  # (n, embedding_size)
    topic_uniforms: NDArray[np.float64]  # (n, num_topics)
    topics: NDArray[np.int64]  # (n,), short-term topics of users that click nothing on the first slate
    click_uniforms: NDArray[np.float32]  # (n, slate_size), for the first slate


def draw_users(rngs: Sequence[np.random.Generator], config: WorldConfig) -> UserDraws:
    """Draw new users, each from its own generator: the same numbers whoever else is drawn.

    Args:
        rngs: One generator a user.
        config: The world.
    """
    count = len(rngs)
    draws = UserDraws(
        normals=np.empty((count, config.embedding_size)),
        topic_uniforms=np.empty((count, config.num_topics)),
        topics=np.empty(count, np.int64),
        click_uniforms=np.empty((count, config.slate_size), np.float32),
    )
    for row, rng in enumerate(rngs):
        rng.standard_normal(out=draws.normals[row])
        rng.random(out=draws.topic_uniforms[row])
        draws.topics[row] = rng.integers(config.num_topics)
        rng.random(dtype=np.float32, out=draws.click_uniforms[row])
    return draws


def draw_uniforms(config: WorldConfig, rng: np.random.Generator, steps: int) -> NDArray[np.float32]:
    """Draw what decides a user's clicks in the steps to come and, where users leave, when this one does.

    Clicks come first: until they leave, users click as they would in a world where all stay, for as many steps as are
    drawn at a time.

    Returns:
        Uniforms in [0, 1), float32 ``(steps, uniforms_per_step)``.
    """
    clicks = rng.random((steps, config.slate_size), dtype=np.float32)
    more = config.uniforms_per_step - config.slate_size
    return np.hstack([clicks, rng.random((steps, more), dtype=np.float32)]) if more else clicks


def draw_session_uniforms(config: WorldConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """All that :class:`DrawnAhead` draws for a session by :func:`draw_uniforms`, ``(episode_length, ...)``."""
    steps = min(config.episode_length, _BLOCK_STEPS)
    blocks = [draw_uniforms(config, rng, steps) for _ in range(-(-config.episode_length // steps))]
    return np.concatenate(blocks)[: config.episode_length]


class DrawnAhead:
    """Random numbers for the steps to come, drawn in blocks from every user's own generator.

    Drawing a block of steps at once keeps Python out of the step; a block is drawn when the one before is used
    up, so the numbers a user meets depend on that user's generator alone.

    Args:
        num_users: Users stepped together.
        episode_length: Steps of a session; blocks are no longer than that.
        draw: Makes the numbers of ``steps`` steps from a user's generator, an array ``(steps, ...)``.
    """

    def __init__(
        self, num_users: int, episode_length: int, draw: Callable[[np.random.Generator, int], NDArray[Any]]
    ) -> None:
        self._num_users = num_users
        self._steps = min(episode_length, _BLOCK_STEPS)
        self._several_blocks = episode_length > _BLOCK_STEPS
        self._draw = draw
        self._rngs: list[np.random.Generator | None] = [None] * num_users
        self._block: NDArray[Any] | None = None  # (num_users, self._steps, ...)
        self._numbers = np.zeros(num_users, np.int64)  # which block of its session each user has
        self._given = np.zeros(num_users, np.bool_)  # users of sessions that have no generator
        self._some_given = False

    def start(self, rngs: Sequence[np.random.Generator], rows: NDArray[np.int64]) -> None:
        """Take over the generators of new users and draw their first block."""
        for row, rng in zip(rows.tolist(), rngs, strict=True):
            self._rngs[row], self._numbers[row] = rng, 0
            self._fill(row, rng)
        if self._some_given:
            self._given[rows] = False
            self._some_given = bool(self._given.any())

    def start_given(self, rows: NDArray[np.int64]) -> None:
        """Begin sessions of users who have no generator: numbers can't be drawn for them."""
        self._given[rows], self._some_given = True, True

    def block(self, steps: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
        """The numbers of all users' steps at hand: those of a user's step t + 1 are at ``[user, t % length]``.

        Args:
            steps: Steps that all users have taken in their session, ``(num_users,)``.
            rows: Who takes a step now, ``(n,)``; a new block is drawn for those who begin one.

        Returns:
            ``(num_users, length, ...)``.
        """
        if self._some_given and self._given[rows].any():
            raise RuntimeError("sessions that were opened with given users have no generator: give uniforms")
        if self._several_blocks:
            self._draw_next_blocks(steps, rows)
        assert self._block is not None  # sessions are opened before they are stepped
        return self._block

    def next(self, steps: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[Any]:
        """The numbers of users' step to come; arguments as of :meth:`block`, but ``steps`` may go on beyond a session.

        Returns:
            ``(n, ...)``.
        """
        self._draw_next_blocks(steps, rows)
        assert self._block is not None  # sessions are opened before they are stepped
        return self._block[rows, steps[rows] % self._steps]

    def _draw_next_blocks(self, steps: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        numbers = steps[rows] // self._steps
        # once, also if a step is refused and taken again
        for row in rows[numbers > self._numbers[rows]].tolist():
            self._fill(row, self._rngs[row])
        self._numbers[rows] = numbers

    def _fill(self, row: int, rng: np.random.Generator | None) -> None:
        assert rng is not None
        drawn = self._draw(rng, self._steps)
        if self._block is None:
            self._block = np.empty((self._num_users, *drawn.shape), drawn.dtype)
        self._block[row] = drawn
