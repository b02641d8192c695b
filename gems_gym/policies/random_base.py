"""The base of policies that draw at random."""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.policies.base import SlatePolicy
from gems_gym.simulator.users import DrawnAhead


@dataclass
class Drawn:
    """The state of a policy that draws.

    Attributes:
        draws: The slates to come.
        steps: How many steps each user has taken, int64 ``(num_users,)``.
    """

    draws: DrawnAhead
    steps: NDArray[np.int64]


class DrawingPolicy(SlatePolicy):
    """A policy whose slates are drawn ahead, from one generator per user.

    Args:
        env: A slate environment, single or vector.
    """

    def __init__(self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        self._rows = np.arange(self.simulator.num_users)

    def start(self, rngs: Sequence[np.random.Generator]) -> Any:
        """Begin drawing from one generator a user."""
        draws = DrawnAhead(len(rngs), self.simulator.config.episode_length, self.draw)
        draws.start(rngs, self._rows)
        return Drawn(draws, np.zeros(len(rngs), np.int64))

    def slates(self, state: Any, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        return self.next_drawn(state)

    def next_drawn(self, state: "Drawn") -> NDArray[Any]:
        """What was drawn for every user, ``(num_users, slate_size)``; the next call gives the next step's."""
        drawn = state.draws.next(state.steps, self._rows)
        state.steps += 1
        return drawn

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[Any]:
        """Draw what decides one user's slates in the steps to come, ``(steps, slate_size)``."""
