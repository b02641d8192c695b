"""The logging policy of GeMS: the greedy oracle with random items mixed in."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.checks import Probability, checked_arguments
from gems_gym.policies.base import SlatePolicy
from gems_gym.policies.boredom_aware_oracle import BoredomAwareOracle
from gems_gym.policies.propensities import SlatePropensities, independent_propensities
from gems_gym.policies.random_base import DrawingPolicy, Drawn
from gems_gym.policies.short_term_oracle import ShortTermOracle

_KEEP = -1


class _EpsGreedy(DrawingPolicy):
    """Another policy's slates, each position replaced by a random item with probability ε."""

    privileged: ClassVar[bool] = True
    _greedy: ClassVar[type[SlatePolicy]]

    @checked_arguments
    def __init__(
        self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any], epsilon: Probability = 0.5
    ) -> None:
        super().__init__(env)
        self.epsilon = epsilon
        self._policy = self._greedy(env)

    def slates(self, state: Drawn, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        replacements = self.next_drawn(state)
        return np.where(replacements == _KEEP, self._policy.slates(None, observations), replacements)

    def propensities(
        self, state: Drawn, observations: Mapping[str, NDArray[Any]], slates: NDArray[np.int64]
    ) -> SlatePropensities:
        """See :class:`~gems_gym.policies.propensities.KnowsPropensities`."""
        greedy = self._policy.slates(None, observations)
        return independent_propensities(greedy, slates, self.epsilon, self.simulator.config.num_items)

    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.int64]:
        """Draw random items, and −1 for positions that stay the other policy's, int64 ``(steps, slate_size)``."""
        config = self.simulator.config
        shape = (steps, config.slate_size)
        items = rng.integers(config.num_items, size=shape)
        return np.where(rng.random(shape, dtype=np.float32) < self.epsilon, items, _KEEP)


class EpsGreedyOracle(_EpsGreedy):
    """The short-term oracle with each position independently random with probability ε.

    The logging policy of arXiv 2301.08632, Section 5.1 (ε = 0.5); random items may repeat.

    Args:
        env: A slate environment, single or vector.
        epsilon: Probability of a random item, in [0, 1].
    """

    _greedy = ShortTermOracle


class EpsBoredomAwareOracle(_EpsGreedy):
    """The boredom-aware oracle with each position independently random with probability ε: a logging policy.

    Args:
        env: A slate environment, single or vector.
        epsilon: Probability of a random item, in [0, 1].
    """

    _greedy = BoredomAwareOracle
