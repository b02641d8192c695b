"""The planner: slates of highest value by one-step lookahead in a learned world model.

The value of a slate is the number of clicks expected now, plus the value of the state that the clicks lead to. The
value of a state is taken to be additive: what the items that were clicked are worth beyond their clicks (the user's
state moves towards them), minus a cost for each group of items, which depends on how tired of it the user will be. That
is asked of the world model: how tired after this slate, and after the next one if it gets 1, 2 or 3 more clicks on the
group. With this form the expectation over clicks is exact without a sum over all combinations: an item that is clicked
with probability p adds p · (1 + w · item), minus the expected increase of its group's cost.

Slates are filled greedily: the position of highest examination first, each with the item that adds most.

A *plan* is a vector of the numbers in that value: four costs, a shift of all logits, and w. It is found by
:mod:`gems_gym_agents.user_model.search`.
"""

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import best_items, copy_into
from gems_gym.common.compilation import compiled_with, inlined
from gems_gym.common.threads import one_thread
from gems_gym_agents.user_model.particles import Schedule
from gems_gym_agents.user_model.plans_policy import NUM_COSTS, PlansPolicy
from gems_gym_agents.world_model.belief import BeliefState, ParticleBelief
from gems_gym_agents.world_model.dynamics import Numbers, ask, query_of_user
from gems_gym_agents.world_model.model import WorldModel

KIND = "policy/world_model_planner"
_MOST_CLICKS = 5
"""Clicks on one group in a slate that are told apart, at most."""
_MOST_ITEMS = 5
"""Of one group in a slate, unless there are too few groups."""
_NEGLIGIBLE = 0.03
"""Groups whose best item is worth less than this share of the best item of all are given no cost: they are
hardly ever shown."""
_SMALLEST_WEIGHT = 1e-4
"""Particles of a smaller weight are left out of the average."""


class Groups(NamedTuple):
    """The items sorted by group, laid out for the kernel."""

    ids: NDArray[np.int64]  # (num_items,)
    starts: NDArray[np.int64]  # (num_groups + 1,), group g has ids starts[g] to starts[g + 1] - 1
    most: int  # items of one group in a slate, at most


class Worths(NamedTuple):
    """Plans, one per row, laid out for the kernel."""

    bonus: NDArray[np.float32]  # (num_plans, num_items), w · item
    costs: NDArray[np.float64]  # (num_plans, 4)
    shift: NDArray[np.float64]  # (num_plans,)


class WorldModelPolicy(PlansPolicy[WorldModel]):
    """Shows each user the slate of highest value under a learned world model.

    Args:
        model: A learned world model.
        plans: See :class:`~gems_gym_agents.user_model.plans_policy.PlansPolicy`. The costs say what it costs if the
            user is tired of a group: after this slate, and after the next one if that gets 1, 2 and 3 clicks on the
            group. The shift is one of logits.
        schedule: How many particles the belief has, see :data:`~gems_gym_agents.user_model.particles.Schedule`.
    """

    kind = KIND
    model_class = WorldModel
    acting = ((0, 256), (8, 64), (24, 24), (48, 8), (100, 1))
    searching = ((0, 48), (8, 16), (20, 6), (36, 2), (60, 1))
    first_costs = (3.0, 4.5, 2.0, 0.8, 0.5)
    first_spread = (0.6, 0.6, 0.5, 0.3, 0.5, 0.1)

    @one_thread()
    def __init__(
        self, model: WorldModel, plans: NDArray[np.float64], schedule: Schedule | None = None
    ) -> None:
        super().__init__(model, plans, schedule)
        self._numbers = cast(ParticleBelief, self._belief).numbers
        self._groups = _groups(model)
        self._worths = Worths(
            np.ascontiguousarray(self.plans[:, NUM_COSTS + 1 :] @ model.items.T, dtype=np.float32),
            np.maximum(self.plans[:, :NUM_COSTS], 0.0),
            self.plans[:, NUM_COSTS].copy(),
        )
        self._order = np.argsort(-model.examination, kind="stable")

    @staticmethod
    def _follows(model: WorldModel, schedule: Schedule) -> ParticleBelief:
        return ParticleBelief(model, schedule)

    def _fill(self, belief: BeliefState, plans: NDArray[np.int64], slates: NDArray[np.int64]) -> None:
        _fill_slates(self._numbers, self._groups, self._worths, self._order, plans, belief, slates)


def _groups(model: WorldModel) -> Groups:
    counts = np.bincount(model.groups, minlength=model.num_groups)
    most = min(_MOST_ITEMS, model.slate_size)
    while np.minimum(counts, most).sum() < model.slate_size:  # too few groups to fill a slate
        most += 1
    return Groups(np.argsort(model.groups, kind="stable"), np.concatenate([[0], counts.cumsum()]), most)


# relevance is a sum over particles and components, whose order does not matter
_fast = compiled_with(
    error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp", "nnan"}
)


@_fast
def _fill_slates(
    numbers: Numbers,
    groups: Groups,
    worths: Worths,
    order: NDArray[np.int64],
    plans: NDArray[np.int64],
    belief: BeliefState,
    slates: NDArray[np.int64],
) -> None:
    """Fill the slate of every user.

    Args:
        numbers: Numbers of the model.
        groups: All items.
        worths: All plans.
        order: Positions in falling order of examination, ``(slate_size,)``.
        plans: Which plan serves each user, ``(num_users,)``.
        belief: What is thought of the users.
        slates: The result is written here, ``(num_users, slate_size)``.
    """
    recent, ages, detected, tired = belief.memory
    num_users, num_groups = tired.shape
    num_items = numbers.items.shape[1]
    relevance = np.empty(num_items, np.float32)
    value = np.empty(num_items, np.float32)
    sorted_value = np.empty(num_items, np.float32)
    logits = np.empty(num_items, np.float32)
    best = np.empty((num_groups, groups.most), np.int64)  # items of each group, best first
    num_best = np.empty(num_groups, np.int64)
    taken = np.empty(num_groups, np.int64)
    worthless = np.empty(num_groups, np.bool_)  # groups without a good item
    costs = np.empty((num_groups, _MOST_CLICKS + 1))  # of a group by the number of clicks on it
    chances = np.empty((num_groups, _MOST_CLICKS + 1))  # of so many clicks on the slate so far
    increases = np.empty(num_groups)  # expected increase of a group's cost by one more click
    for u in range(num_users):
        plan, num_particles = plans[u], belief.counts[u]
        _expected_relevance(
            numbers,
            worths.shift[plan],
            belief.particles[u, :num_particles],
            belief.log_weights[u, :num_particles],
            tired[u],
            logits,
            relevance,
        )
        for i in range(num_items):
            value[i] = relevance[i] * (np.float32(1.0) + worths.bonus[plan, i])
        largest = _best_of_groups(groups, value, sorted_value, best, num_best)
        for group in range(num_groups):
            worthless[group] = num_best[group] == 0 or value[best[group, 0]] < _NEGLIGIBLE * largest
        _costs_of_clicks(numbers, worths.costs[plan], recent[u], ages[u], detected[u], worthless, costs)
        chances[:] = 0.0
        chances[:, 0] = 1.0
        for group in range(num_groups):
            increases[group] = costs[group, 1] - costs[group, 0]
        taken[:] = 0
        total = 0.0  # value of the slate so far, uncrowded
        for s in order:
            chosen = -1
            largest_gain = -np.inf
            for group in range(num_groups):
                if taken[group] < num_best[group]:
                    i = best[group, taken[group]]
                    worth = numbers.examination[s] * (value[i] - relevance[i] * increases[group])
                    crowding = numbers.crowding[taken[group] + 1] - numbers.crowding[taken[group]]
                    gain = np.exp(-crowding) * (total + worth) - total
                    if gain > largest_gain:
                        chosen, largest_gain = group, gain
            i = best[chosen, taken[chosen]]
            slates[u, s] = i
            total += numbers.examination[s] * (value[i] - relevance[i] * increases[chosen])
            taken[chosen] += 1
            _count_click(chances[chosen], numbers.examination[s] * relevance[i])
            increases[chosen] = 0.0
            for count in range(_MOST_CLICKS):
                increases[chosen] += chances[chosen, count] * (
                    costs[chosen, count + 1] - costs[chosen, count]
                )


@inlined
def _best_of_groups(
    groups: Groups,
    value: NDArray[np.float32],
    sorted_value: NDArray[np.float32],
    best: NDArray[np.int64],
    num_best: NDArray[np.int64],
) -> float:
    """Write the items of highest value of each group, best first, and how many; ``sorted_value`` is scratch space.

    Returns:
        The highest value of all, at least 0.
    """
    largest = 0.0
    for j in range(value.shape[0]):
        sorted_value[j] = value[groups.ids[j]]
    for group in range(best.shape[0]):
        start = groups.starts[group]
        num_best[group] = best_items(sorted_value[start : groups.starts[group + 1]], best[group])
        for place in range(num_best[group]):
            best[group, place] = groups.ids[start + best[group, place]]
        if num_best[group] > 0:
            largest = max(largest, value[best[group, 0]])
    return largest


@inlined
def _count_click(chances: NDArray[np.float64], clicked: float) -> None:
    """Add an item that is clicked with some probability to the distribution of the number of clicks."""
    last = chances.shape[0] - 1
    chances[last] += clicked * chances[last - 1]
    for count in range(last - 1, 0, -1):
        chances[count] += clicked * (chances[count - 1] - chances[count])
    chances[0] *= 1.0 - clicked


@inlined
def _expected_relevance(
    numbers: Numbers,
    shift: float,
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    tired: NDArray[np.float64],
    logits: NDArray[np.float32],
    relevance: NDArray[np.float32],
) -> None:
    """Write each item's probability of being relevant to one user, averaged over the particles.

    ``logits`` is scratch space.
    """
    size = particles.shape[1]
    query = np.empty((size + 1, size + 1))
    asked = np.empty(size + 1)
    query_of_user(numbers, tired, query)
    total = 0.0
    for p in range(particles.shape[0]):
        total += np.exp(log_weights[p])
    relevance[:] = np.float32(0.0)
    for p in range(particles.shape[0]):
        weight = np.exp(log_weights[p]) / total
        if weight >= _SMALLEST_WEIGHT:
            ask(query, particles[p], asked)
            asked[size] += shift
            for i in range(logits.shape[0]):
                logits[i] = -tired[numbers.groups[i]]
            _add_products(numbers.items, asked, logits)
            _add_logistic(logits, weight, relevance)


# The next two are functions of few arrays because only then their loops use vector instructions.


@_fast
def _add_products(
    items: NDArray[np.float32], asked: NDArray[np.float64], logits: NDArray[np.float32]
) -> None:
    """Add ``asked @ items`` to the logits."""
    for k in range(items.shape[0]):
        factor = np.float32(asked[k])
        for i in range(items.shape[1]):
            logits[i] += factor * items[k, i]


@_fast
def _add_logistic(logits: NDArray[np.float32], weight: float, relevance: NDArray[np.float32]) -> None:
    """Add a weight times the logistic function, with exp(x) as (1 + x / 256)^256: within 2 % for |x| < 3."""
    factor = np.float32(weight)
    one = np.float32(1.0)
    for i in range(logits.shape[0]):
        power = one - min(max(logits[i], np.float32(-12.0)), np.float32(20.0)) * np.float32(1.0 / 256.0)
        for _ in range(8):
            power *= power
        # the last term keeps the order of items that are hardly ever clicked
        relevance[i] += factor * (one / (one + power) + np.float32(1e-8) * logits[i])


@inlined
def _look_ahead(
    numbers: Numbers,
    group: int,
    recent: NDArray[np.int64],
    ages: NDArray[np.int64],
    pushed: int,
    one: NDArray[np.float64],
    two: NDArray[np.float64],
) -> None:
    """Write what detectors will see of a group's clicks so far, after one slate and after two, as logits."""
    num_recent, last_age = recent.shape[0], numbers.patterns.shape[1] - 1
    copy_into(one, numbers.detection)
    copy_into(two, numbers.detection)
    for n in range(num_recent):
        if recent[n] == group:
            one += numbers.patterns[min(n + pushed, num_recent), min(ages[n] + 1, last_age)]
            two += numbers.patterns[min(n + 2 * pushed, num_recent), min(ages[n] + 2, last_age)]


@inlined
def _costs_of_clicks(
    numbers: Numbers,
    prices: NDArray[np.float64],
    recent: NDArray[np.int64],
    ages: NDArray[np.int64],
    detected: NDArray[np.float64],
    worthless: NDArray[np.bool_],
    costs: NDArray[np.float64],
) -> None:
    """Write what each number of clicks on a group in the next slate costs by tiring the user.

    Args:
        numbers: Numbers of the model.
        prices: Prices of being tired, ``(4,)``: after the slate, and after one more with 1, 2 or 3 clicks on the group.
        recent: Groups of the newest clicks, newest first, ``(num_recent,)``.
        ages: In steps, same shape.
        detected: ``(num_steps, num_groups, num_detectors)``.
        worthless: Groups whose cost is left at 0, as they are hardly ever shown, ``(num_groups,)``.
        costs: The result is written here, ``(num_groups, _MOST_CLICKS + 1)``.
    """
    last_age, detectors = numbers.patterns.shape[1] - 1, numbers.patterns.shape[2]
    num_recent = recent.shape[0]
    # how far the clicks on a slate push those before back: as many as are expected if all items are relevant
    pushed = max(int(numbers.examination.sum() + 0.5), 1)
    soon, later = np.zeros(detectors), np.zeros(detectors)  # a click on the slate, one and two steps later
    for n in range(pushed):
        for c in range(detectors):
            soon[c] += numbers.patterns[min(n, num_recent), 0, c] / pushed
            later[c] += numbers.patterns[min(n + pushed, num_recent), min(1, last_age), c] / pushed
    # what one more click multiplies the odds against detection by
    factor, later_factor = np.exp(-soon), np.exp(-later)
    odds = np.empty((2, detectors))  # against detection after one and two steps
    for group in range(costs.shape[0]):
        if worthless[group]:
            costs[group] = 0.0
            continue
        _look_ahead(numbers, group, recent, ages, pushed, odds[0], odds[1])
        for c in range(detectors):
            odds[0, c], odds[1, c] = np.exp(-odds[0, c]), np.exp(-odds[1, c])
        tired_one = tired_two = 0.0  # by what was detected before
        for ago in range(detected.shape[0] - 1):
            for c in range(detectors):
                tired_one += numbers.span[c, ago + 1] * detected[ago, group, c]
                if ago + 2 < detected.shape[0]:
                    tired_two += numbers.span[c, ago + 2] * detected[ago, group, c]
        for clicks in range(costs.shape[1]):
            after_one, after_two = tired_one, tired_two
            once = twice = thrice = 0.0
            for c in range(detectors):
                found = 1.0 / (1.0 + odds[0, c])
                after_one += numbers.span[c, 0] * found
                after_two += numbers.span[c, 1] * found
                once += numbers.span[c, 0] / (1.0 + odds[1, c] * factor[c])
                twice += numbers.span[c, 0] / (1.0 + odds[1, c] * factor[c] ** 2)
                thrice += numbers.span[c, 0] / (1.0 + odds[1, c] * factor[c] ** 3)
                odds[0, c] *= factor[c]
                odds[1, c] *= later_factor[c]
            costs[group, clicks] = (
                prices[0] * (1.0 - np.exp(-after_one))
                + prices[1] * (1.0 - np.exp(-after_two - once))
                + prices[2] * (1.0 - np.exp(-after_two - twice))
                + prices[3] * (1.0 - np.exp(-after_two - thrice))
            )
