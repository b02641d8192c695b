"""A privileged planner that keeps every topic short of boredom: 100 of the normalised score."""

from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.checks import Count, NonNegative, WholeNumber, checked_arguments
from gems_gym.common.compilation import compiled
from gems_gym.policies.base import SlatePolicy
from gems_gym.simulator.kernels import next_scores
from gems_gym.simulator.state import Dynamics, Users

_TOO_MANY = 1e6  # more than any excess of clicks: an item over max_per_topic is the last resort


class BoredomAwareOracle(SlatePolicy):
    """Fills the slate by score, but gives every topic a budget of clicks that boredom does not see.

    Positions are filled in the order of their propensities with the best-scored item of a topic that still has
    budget: at most ``max_per_topic`` items of it, and its entries among the ``newest_clicks`` newest of the
    recent-click log plus the clicks to expect on its items here (their propensities) at most ``click_budget``.
    Where no topic has budget left, the best item of the topic that exceeds it least is shown.

    Args:
        env: A slate environment, single or vector.
        max_per_topic: Items of one topic in a slate; one less than ``diversity_threshold`` if None, or any number
            where neither boredom nor a penalty speaks against it.
        click_budget: Clicks a topic may have; two less than ``boredom_threshold`` if None.
        newest_clicks: Newest entries of the recent-click log that count; half of it if None, since about as
            many clicks as the other half holds are expected on the slate itself and push the rest out.
    """

    privileged: ClassVar[bool] = True

    @checked_arguments
    def __init__(
        self,
        env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
        max_per_topic: Count | None = None,
        click_budget: NonNegative | None = None,
        newest_clicks: WholeNumber | None = None,
    ) -> None:
        super().__init__(env)
        config = self.simulator.config
        if max_per_topic is None:
            never_bored = config.boredom_threshold > config.recent_items_maxlen
            harmless = never_bored and config.diversity_penalty <= 1.0
            max_per_topic = config.slate_size if harmless else max(1, config.diversity_threshold - 1)
        self.max_per_topic = max_per_topic
        self.click_budget = max(1.0, config.boredom_threshold - 2.0) if click_budget is None else click_budget
        self.newest_clicks = config.recent_items_maxlen // 2 if newest_clicks is None else newest_clicks
        # stable: equal propensities from the top
        self._order = np.argsort(-config.position_propensities(), kind="stable")

    def slates(self, state: None, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
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
    num_topics, slate_size = dynamics.num_topics, slates.shape[1]
    scores = np.empty(dynamics.items.shape[0])
    best_of_topic = np.empty((num_topics, slate_size), np.int64)  # items, best first
    num_of_topic = np.empty(num_topics, np.int64)
    for u in range(slates.shape[0]):
        next_scores(dynamics, users, u, scores)
        _rank_within_topics(dynamics, scores, best_of_topic, num_of_topic)
        expected = np.zeros(num_topics)  # clicks: newest in the log, and to come on this slate
        in_slate = np.zeros(num_topics, np.int64)
        for entry in range(max(0, users.num_recent_topics[u] - newest_clicks), users.num_recent_topics[u]):
            expected[users.recent_topics[u, entry]] += 1.0
        for position in order:
            propensity = dynamics.propensities[position]
            best, best_excess, best_score = -1, np.inf, -np.inf
            for topic in range(num_topics):
                if in_slate[topic] == num_of_topic[topic]:
                    continue  # no duplicates: the topic has no further item
                score = scores[best_of_topic[topic, in_slate[topic]]]
                excess = max(0.0, expected[topic] + propensity - click_budget)
                excess += _TOO_MANY * max(0, in_slate[topic] + 1 - max_per_topic)
                if excess < best_excess or (excess == best_excess and score > best_score):
                    best, best_excess, best_score = topic, excess, score
            slates[u, position] = best_of_topic[best, in_slate[best]]
            expected[best] += propensity
            in_slate[best] += 1


@compiled
def _rank_within_topics(
    dynamics: Dynamics,
    scores: NDArray[np.float64],
    best_of_topic: NDArray[np.int64],
    num_of_topic: NDArray[np.int64],
) -> None:
    """Write the best-scored items of every topic, best first, as many as a slate could hold, and their number."""
    num_of_topic[:] = 0
    for item in range(scores.shape[0]):
        topic = dynamics.item_topics[item]
        place = num_of_topic[topic]
        if place == best_of_topic.shape[1]:
            if scores[item] <= scores[best_of_topic[topic, place - 1]]:
                continue
            place -= 1
        else:
            num_of_topic[topic] += 1
        while place > 0 and scores[best_of_topic[topic, place - 1]] < scores[item]:
            best_of_topic[topic, place] = best_of_topic[topic, place - 1]
            place -= 1
        best_of_topic[topic, place] = item
