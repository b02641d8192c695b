"""The base of policies that draw at random."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.policies.base import SlatePolicy
from gems_gym.simulator.users import DrawnAhead


class DrawingPolicy(SlatePolicy):
    """A policy whose slates are drawn ahead, from one generator per user.

    Args:
        env: A slate environment, single or vector.
    """

    def __init__(self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        num_users = self.simulator.num_users
        self._draws = DrawnAhead(num_users, self.simulator.config.episode_length, self.draw)
        self._rows = np.arange(num_users)
        self._step = np.zeros(num_users, np.int64)

    def start(self, rngs: Sequence[np.random.Generator]) -> None:
        """Take over one generator a user."""
        self._draws.start(rngs, self._rows)
        self._step[:] = 0

    def slates(self, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        drawn = self._draws.next(self._step, self._rows)
        self._step += 1
        return drawn

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.int64]:
        """Draw what one user is shown in the steps to come, int64 ``(steps, slate_size)``."""
