"""A privileged planner that keeps every topic short of boredom: 100 of the normalised score."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.compilation import compiled
from gems_gym.policies.base import SlatePolicy
from gems_gym.simulator.kernels import Dynamics, Users, next_scores


class BoredomAwareOracle(SlatePolicy):
    """Fills the slate by score, but gives every topic a budget of clicks that boredom does not see.

    Positions are filled in the order of their propensities with the best-scored item of a topic that still has
    budget: at most ``max_per_topic`` items of it, and its entries among the ``newest_clicks`` newest of the
    recent-click log plus the clicks to expect on its items here (their propensities) at most ``click_budget``.
    Where no topic has budget left, the best item of the topic that exceeds it least is shown.

    Args:
        env: A slate environment, single or vector.
        max_per_topic: Items of one topic in a slate; one less than ``diversity_threshold`` if None.
        click_budget: Clicks a topic may have; two less than ``boredom_threshold`` if None.
        newest_clicks: Newest entries of the recent-click log that count; half of it if None, since about as
            many clicks as the other half holds are expected on the slate itself and push the rest out.
    """

    privileged: ClassVar[bool] = True

    def __init__(
        self,
        env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
        max_per_topic: int | None = None,
        click_budget: float | None = None,
        newest_clicks: int | None = None,
    ) -> None:
        super().__init__(env)
        config = self.simulator.config
        self.max_per_topic = (
            max(1, config.diversity_threshold - 1) if max_per_topic is None else max_per_topic
        )
        self.click_budget = max(1.0, config.boredom_threshold - 2.0) if click_budget is None else click_budget
        self.newest_clicks = config.recent_items_maxlen // 2 if newest_clicks is None else newest_clicks
        # stable: equal propensities from the top
        self._order = np.argsort(-config.position_propensities(), kind="stable")

    def slates(self, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        slates = np.empty((self.simulator.num_users, self.simulator.config.slate_size), np.int64)
        _plan(
            self.simulator.dynamics, self.simulator.users, self._order,
            self.max_per_topic, self.click_budget, self.newest_clicks, slates,
        )  # fmt: skip
        return slates


@compiled
def _plan(
    dynamics: Dynamics,
    users: Users,
    order: NDArray[np.int64],
    max_per_topic: int,
    click_budget: float,
    newest_clicks: int,
    slates: NDArray[np.int64],
) -> None:
    scores = np.empty(dynamics.items.shape[0])
    for u in range(slates.shape[0]):
        next_scores(dynamics, users, u, scores)
        expected = np.zeros(dynamics.num_topics)  # clicks: newest in the log, and to come on this slate
        in_slate = np.zeros(dynamics.num_topics, np.int64)
        for entry in range(max(0, users.num_recent_topics[u] - newest_clicks), users.num_recent_topics[u]):
            expected[users.recent_topics[u, entry]] += 1.0
        for position in order:
            propensity = dynamics.propensities[position]
            item = _best_item_in_budget(
                dynamics, scores, expected, in_slate, propensity, max_per_topic, click_budget
            )
            topic = dynamics.item_topics[item]
            expected[topic] += propensity
            in_slate[topic] += 1
            scores[item] = -np.inf  # no duplicates
            slates[u, position] = item


@compiled
def _best_item_in_budget(
    dynamics: Dynamics,
    scores: NDArray[np.float64],
    expected: NDArray[np.float64],
    in_slate: NDArray[np.int64],
    propensity: float,
    max_per_topic: int,
    click_budget: float,
) -> int:
    """The best-scored item whose topic has budget; without one, the best of the least overdrawn topic."""
    best = -1
    best_excess = np.inf
    for item in range(scores.shape[0]):
        if scores[item] == -np.inf:
            continue
        topic = dynamics.item_topics[item]
        excess = max(0.0, expected[topic] + propensity - click_budget)
        excess += 1e6 * max(0, in_slate[topic] + 1 - max_per_topic)
        if excess < best_excess or (excess == best_excess and scores[item] > scores[best]):
            best = item
            best_excess = excess
    return best
