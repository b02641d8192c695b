"""Slates at random."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled
from gems_gym.policies.propensities import SlatePropensities, uniform_propensities
from gems_gym.policies.random_base import DrawingPolicy, Drawn


class _RandomSlates(DrawingPolicy):
    """Draws uniformly from the slates without duplicates."""

    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.int64]:
        """Draw slates, int64 ``(steps, slate_size)``."""
        config = self.simulator.config
        # position s chooses among the items that are left once s of them are taken
        choices = rng.integers(
            config.num_items - np.arange(config.slate_size), size=(steps, config.slate_size)
        )
        _without_replacement(choices)
        return choices


class RandomPolicy(_RandomSlates):
    """Every slate drawn uniformly from the slates without duplicates: 0 of the normalised score.

    Args:
        env: A slate environment, single or vector.
    """

    def propensities(
        self, state: Drawn, observations: Mapping[str, NDArray[Any]], slates: NDArray[np.int64]
    ) -> SlatePropensities:
        """See :class:`~gems_gym.policies.propensities.KnowsPropensities`."""
        return uniform_propensities(slates, self.simulator.config.num_items)


class RandomConstantSlate(_RandomSlates):
    """A slate drawn for every session and shown at its every step: a logging policy for beliefs.

    Args:
        env: A slate environment, single or vector.
    """

    def slates(self, state: Drawn, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        return state.draws.next(state.steps, self._rows)  # the step never advances


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
