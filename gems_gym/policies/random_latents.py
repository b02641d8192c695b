"""Latents at random."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Units, checked
from gems_gym.policies.base import Observed, Shown, policy_rng


class RandomLatents:
    """Every latent drawn uniformly from the box [-1, 1], each user's from a generator of its own.

    Args:
        action_size: Numbers in a latent.
    """

    observes: Observed = "beliefs"
    actions: Shown = "latents"

    def __init__(self, action_size: int) -> None:
        self.action_size = checked("action_size", action_size, Units)

    def open(self, seeds: Sequence[int]) -> list[np.random.Generator]:
        """Begin new sessions; see :class:`~gems_gym.policies.Policy`."""
        return [policy_rng(seed) for seed in seeds]

    def act(
        self, state: list[np.random.Generator], observations: Any
    ) -> tuple[NDArray[np.float32], list[np.random.Generator]]:
        """Draw every user's latent, float32 ``(num_users, action_size)``."""
        latents = np.empty((len(state), self.action_size), np.float32)
        for rng, latent in zip(state, latents, strict=True):
            rng.random(out=latent, dtype=np.float32)
        return 2 * latents - 1, state
