"""Slates drawn by how much the user likes each item now: a logging policy that shows everything sometimes."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import gymnasium
import numpy as np
from annotated_types import Ge
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.arrays import drawn_by_weight, weigh_by_score
from gems_gym.common.checks import checked_arguments
from gems_gym.common.compilation import compiled
from gems_gym.policies.propensities import SlatePropensities
from gems_gym.policies.random_base import DrawingPolicy, Drawn
from gems_gym.simulator.kernels import next_scores
from gems_gym.simulator.state import Dynamics, Users


class SoftmaxOracle(DrawingPolicy):
    """Each slot's item drawn from the softmax of all scores under the user's present preference and boredom.

    Privileged: it reads the scores.

    Args:
        env: A slate environment, single or vector.
        temperature: What scores, which are at most 1, are divided by, at least 0.01; the lower, the greedier.
        repeats: Whether slots are filled independently, so that items may repeat. If not, each slot draws from the
            items that are left (Plackett-Luce), and a slot's own probabilities have no closed form.
    """

    privileged: ClassVar[bool] = True

    @checked_arguments
    def __init__(
        self,
        env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
        temperature: Annotated[float, Ge(0.01)] = 0.1,
        repeats: bool = True,
    ) -> None:
        super().__init__(env)
        self.temperature, self.repeats = temperature, repeats

    def slates(self, state: Drawn, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        return self._slates_and_probabilities(self.next_drawn(state), None)[0]

    def propensities(
        self, state: Drawn, observations: Mapping[str, NDArray[Any]], slates: NDArray[np.int64]
    ) -> SlatePropensities:
        """See :class:`~gems_gym.policies.propensities.KnowsPropensities`."""
        found = self._slates_and_probabilities(np.zeros(slates.shape), slates)[1]
        return SlatePropensities(found, found if self.repeats else None)

    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
        """Draw a number in [0, 1) for each slot, float64 ``(steps, slate_size)``."""
        return rng.random((steps, self.simulator.config.slate_size))

    def _slates_and_probabilities(
        self, uniforms: NDArray[np.float64], given: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Slates that are drawn, or given ones, and the probability of each item."""
        slates = np.full(uniforms.shape, -1) if given is None else given.astype(np.int64)
        probabilities = np.zeros(uniforms.shape)
        simulator = self.simulator
        _fill(
            simulator.dynamics,
            simulator.users,
            self.temperature,
            self.repeats,
            uniforms,
            slates,
            probabilities,
            given is None,
        )
        return slates, probabilities


@compiled
def _fill(
    dynamics: Dynamics,
    users: Users,
    temperature: float,
    repeats: bool,
    uniforms: NDArray[np.float64],
    slates: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    draws: bool,
) -> None:
    """Write the probability of each item given those above it, of slates that are given or drawn here.

    Nothing is known of given items that are −1.
    """
    scores, weights = np.empty(dynamics.items.shape[0]), np.empty(dynamics.items.shape[0])
    for u in range(slates.shape[0]):
        next_scores(dynamics, users, u, scores)
        weigh_by_score(scores, temperature, weights)
        for slot in range(slates.shape[1]):
            total = weights.sum()
            if total < 1e-200:  # all that is left is far below what was taken: relative to the best of it
                weigh_by_score(scores, temperature, weights)
                total = weights.sum()
            if draws:
                slates[u, slot] = drawn_by_weight(weights, uniforms[u, slot] * total)
            chosen = slates[u, slot]
            if chosen < 0:
                continue
            probabilities[u, slot] = weights[chosen] / total
            if not repeats:
                weights[chosen], scores[chosen] = 0.0, -np.inf
