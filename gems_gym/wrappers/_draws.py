"""Random numbers for rankers that draw slates: one stream a user, seeded with the user's session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from gems_gym.rankers.base import Ranker, SamplingRanker

_STREAM = 0x51A7E
"""Tells this stream apart from others that are seeded with the same number."""


class SlateDraws:
    """Ranks for a fixed number of users, each with a random stream of its own if the ranker draws.

    A user's stream starts anew where a reset gives the user a seed, and continues where it gives none, as environments'
    own random numbers do. So a user's slates do not depend on how many others are stepped together.

    Args:
        ranker: any ranker.
        num_users: rows of the latents that it will be given.
    """

    def __init__(self, ranker: Ranker, num_users: int) -> None:
        self._ranker = ranker
        self._draws = isinstance(ranker, SamplingRanker) and ranker.sample
        self._generators = [np.random.default_rng() for _ in range(num_users)]

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Starts the streams of the users that have a seed; one entry a user."""
        for user, seed in enumerate(seeds):
            if seed is not None:
                self._generators[user] = np.random.default_rng([_STREAM, seed])

    def rank(self, latents: np.ndarray, idle: np.ndarray | None = None) -> np.ndarray:
        """Slates for latents ``(num_users, action_size)``; users in the mask ``idle`` leave their stream alone."""
        if not self._draws:
            return self._ranker.rank(latents)
        generators = list(self._generators)
        if idle is not None:
            for user in np.flatnonzero(idle):
                generators[user] = np.random.default_rng(_STREAM)  # the slate is not shown
        return cast(SamplingRanker, self._ranker).rank(latents, generators)
