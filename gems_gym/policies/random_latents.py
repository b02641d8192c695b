"""Latents at random."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Units, checked
from gems_gym.policies.base import policy_rng


class RandomLatents:
    """Every latent drawn uniformly from the box [-1, 1], each user's from a generator of its own.

    Args:
        action_size: Numbers in a latent.
    """

    def __init__(self, action_size: int) -> None:
        self.action_size = checked("action_size", action_size, Units)
        self._rngs: list[np.random.Generator] = []

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        self._rngs = [policy_rng(seed) for seed in seeds]

    def act(self, observations: Any) -> NDArray[np.float32]:
        """Draw every user's latent, float32 ``(num_users, action_size)``."""
        latents = np.empty((len(self._rngs), self.action_size), np.float32)
        for rng, latent in zip(self._rngs, latents, strict=True):
            rng.random(out=latent, dtype=np.float32)
        return 2 * latents - 1
