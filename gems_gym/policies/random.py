"""Slates at random."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.compilation import compiled
from gems_gym.policies.base import SlatePolicy
from gems_gym.simulator.users import DrawnAhead


class RandomPolicy(SlatePolicy):
    """Every slate drawn uniformly from the slates without duplicates: 0 of the normalised score.

    Args:
        env: A slate environment, single or vector.
    """

    def __init__(self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        config = self.simulator.config
        self._draws = DrawnAhead(self.simulator.num_users, config.episode_length, self._draw_slates)
        self._step = np.zeros(self.simulator.num_users, np.int64)
        self._rows = np.arange(self.simulator.num_users)

    def start(self, rngs: Sequence[np.random.Generator]) -> None:
        """Take over one generator a user."""
        self._draws.start(rngs, self._rows)
        self._step[:] = 0

    def slates(self, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        slates = self._draws.next(self._step, self._rows)
        self._step += 1
        return slates

    def _draw_slates(self, rng: np.random.Generator, steps: int) -> NDArray[np.int64]:
        config = self.simulator.config
        # position s chooses among the items that are left once s of them are taken
        choices = rng.integers(
            config.num_items - np.arange(config.slate_size), size=(steps, config.slate_size)
        )
        _without_replacement(choices)
        return choices


class RandomConstantSlate(RandomPolicy):
    """A slate drawn for every session and shown at its every step: a logging policy for beliefs.

    Args:
        env: A slate environment, single or vector.
    """

    def slates(self, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        return self._draws.next(self._step, self._rows)  # the step never advances


@compiled
def _without_replacement(choices: NDArray[np.int64]) -> None:
    """Turn "the k-th item that is left" into item ids, in place; rows are slates."""
    size = choices.shape[1]
    taken = np.empty(size, np.int64)  # of this slate, ascending
    for row in range(choices.shape[0]):
        for s in range(size):
            item = choices[row, s]
            position = 0
            while position < s and item >= taken[position]:
                item += 1
                position += 1
            for later in range(s, position, -1):
                taken[later] = taken[later - 1]
            taken[position] = item
            choices[row, s] = item
