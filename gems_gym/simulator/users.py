"""Every user's own randomness: what is drawn from a user's generator, in which order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.config import SlateConfig

_BLOCK_STEPS = 128
"""Steps of click randomness drawn from a user's generator at a time: bounds memory for long sessions."""


class UserDraws(NamedTuple):
    """What new users are made of, one row each."""

    normals: NDArray[np.float64]  # (n, embedding_size)
    topic_uniforms: NDArray[np.float64]  # (n, num_topics)
    topics: NDArray[np.int64]  # (n,), short-term topics of users that click nothing on the first slate
    click_uniforms: NDArray[np.float32]  # (n, slate_size), for the first slate


def draw_users(rngs: Sequence[np.random.Generator], config: SlateConfig) -> UserDraws:
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


class ClickRandomness:
    """The uniform numbers that decide clicks, drawn ahead from every user's generator.

    Drawing a block of steps at once keeps Python out of the step; a block is drawn when the one before is used
    up, so the numbers a user meets depend on that user's generator alone.

    Args:
        num_users: Users simulated together.
        episode_length: Steps of a session.
        slate_size: Numbers needed a step.
    """

    def __init__(self, num_users: int, episode_length: int, slate_size: int) -> None:
        self._several_blocks = episode_length > _BLOCK_STEPS
        self._block = np.empty((num_users, min(episode_length, _BLOCK_STEPS), slate_size), np.float32)
        self._rngs: list[np.random.Generator | None] = [None] * num_users

    def start(self, rngs: Sequence[np.random.Generator], rows: NDArray[np.int64]) -> None:
        """Take over the generators of new users and draw their first block."""
        for row, rng in zip(rows.tolist(), rngs, strict=True):
            self._rngs[row] = rng
            rng.random(dtype=np.float32, out=self._block[row])

    def next(self, steps: NDArray[np.int64]) -> NDArray[np.float32]:
        """The numbers of every user's step to come.

        Args:
            steps: Steps that every user has taken, ``(num_users,)``.

        Returns:
            float32 ``(num_users, slate_size)``, uniform in [0, 1).
        """
        in_block = steps
        if self._several_blocks:
            in_block = steps % self._block.shape[1]
            for row in np.flatnonzero((in_block == 0) & (steps > 0)).tolist():
                rng = self._rngs[row]
                assert rng is not None  # sessions are opened before they are stepped
                rng.random(dtype=np.float32, out=self._block[row])
        return self._block[np.arange(len(steps)), in_block]
