"""The planner: a policy that shows the slates of highest value under a learned user model.

The value of a slate is the number of clicks expected now, plus the value of the state that the clicks lead to. The
value of a state is assumed to be linear in the user's vector, with weights w, minus a cost for each topic, which
depends on how many clicks on the topic are in the user's memory (too many bore the user). With this form the expected
value needs no sum over all combinations of clicks: an item that is clicked with probability p adds p · (1 + w · item),
minus the expected increase of its topic's cost.

Slates are filled greedily: the position of highest propensity first, each with the item that adds most.

A *plan* is a vector of the numbers in that value: costs, a shift of relevance, and w. It is found by
:mod:`gems_gym_agents.user_model.search`.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import best_items
from gems_gym.common.compilation import compiled_with, inlined
from gems_gym.common.threads import one_thread
from gems_gym_agents.user_model.belief import BeliefState, ParticleBelief
from gems_gym_agents.user_model.dynamics import THRESHOLD
from gems_gym_agents.user_model.model import UserModel
from gems_gym_agents.user_model.particles import Schedule
from gems_gym_agents.user_model.plans_policy import NUM_COSTS, PlansPolicy

KIND = "policy/planner"
_SHIFT_UNIT = 0.01
"""Unit of the next number, the shift of the score at which an item is relevant with probability ½."""
_SMALLEST_WEIGHT = 1e-4
"""Particles of a smaller weight are left out of the average."""
_HALF_WIDTH = 3.3
"""Relevance, logistic with slope k, is approximated by a cubic step of half width 3.3 / k, without an exponential."""


class Catalogue(NamedTuple):
    """The items sorted by topic, laid out for the kernel."""

    ids: NDArray[np.int64]  # (num_items,)
    vectors: NDArray[np.float32]  # (size, num_items)
    starts: NDArray[np.int64]  # (num_topics + 1,), topic t has items starts[t] to starts[t + 1] - 1
    topic_size: int
    most: int  # items of one topic in a slate, at most


class Worths(NamedTuple):
    """Plans, one per row, laid out for the kernel."""

    bonus: NDArray[np.float32]  # (num_plans, num_items), w · item
    costs: NDArray[np.float64]  # (num_plans, num_counts), a topic's cost by its number of clicks in memory
    # (num_plans,), score at which an item counts as relevant with probability ½
    threshold: NDArray[np.float64]


class PlannerPolicy(PlansPolicy[UserModel]):
    """Shows each user the slate of highest value under a learned user model.

    Args:
        model: A learned user model (grey-box, see :mod:`gems_gym_agents.user_model.model`).
        plans: See :class:`~gems_gym_agents.user_model.plans_policy.PlansPolicy`. The costs say by how much the cost of
            a topic increases when its clicks in memory reach the boredom threshold minus 2, minus 1, plus 0, and plus
            1; the click after these costs as much as the last of them, any later one nothing. The shift of relevance
            is in hundredths of a score.
        schedule: How many particles the belief has, see :data:`~gems_gym_agents.user_model.particles.Schedule`.
    """

    kind = KIND
    model_class = UserModel
    acting = ((0, 256), (8, 64), (24, 24), (48, 8))
    searching = ((0, 48), (8, 16), (20, 6), (36, 2))
    first_costs = (0.0, 1.2, 2.6, 0.6, 0.0)
    first_spread = (0.2, 0.4, 0.6, 0.4, 0.3, 0.2)

    @one_thread()
    def __init__(
        self, model: UserModel, plans: NDArray[np.float64], schedule: Schedule | None = None
    ) -> None:
        super().__init__(model, plans, schedule)
        self._catalogue = _catalogue(model)
        self._worths = _worths(model, self.plans, self._catalogue.ids)
        self._order = np.argsort(-model.propensities, kind="stable")
        # The next slate's clicks push the oldest ones out of memory; counted are those that stay, were all its items
        # relevant.
        self._newest = max(model.rules.memory - round(float(model.propensities.sum())), 0)

    @staticmethod
    def _follows(model: UserModel, schedule: Schedule) -> ParticleBelief:
        return ParticleBelief(model, schedule, np.random.default_rng(0))

    @property
    def verdict(self) -> str | None:
        """What the check of the model's form says; None if it was never checked."""
        misfit = self.model.misfit
        return None if misfit is None else misfit.text

    @property
    def caution(self) -> str | None:
        """What is wrong with the model; None if nothing is known to be."""
        misfit = self.model.misfit
        return misfit.text if misfit is not None and misfit.found else None

    def _fill(self, belief: BeliefState, plans: NDArray[np.int64], slates: NDArray[np.int64]) -> None:
        _fill_slates(
            self._catalogue,
            self._worths,
            self.model.slope,
            self.model.propensities,
            self._order,
            self._newest,
            plans,
            belief,
            slates,
        )

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """The numbers that the policy computes with: in half precision those that it holds exactly.

        See :func:`in_half_precision`.
        """
        tensors, header = super().to_parts()
        halves = [
            name for name in ("items", "prior") if np.array_equal(tensors[name], _halved(tensors[name]))
        ]
        tensors |= {name: tensors[name].astype(np.float32) for name in halves}
        return tensors, header | ({"float16": halves} if halves else {})


def in_half_precision(model: UserModel) -> UserModel:
    """The model with items and prior rounded to half precision, 11 significant bits: its file has a third of the size.

    Clicks tell the numbers far less precisely than that.
    """
    return replace(model, items=_halved(model.items), prior=_halved(model.prior))


def _halved(array: NDArray[np.float64]) -> NDArray[np.float64]:
    return array.astype(np.float16).astype(np.float64)


def _catalogue(model: UserModel) -> Catalogue:
    ids = np.argsort(model.topics, kind="stable")
    counts = np.bincount(model.topics, minlength=model.num_topics)
    most = model.rules.items_per_topic(model.slate_size)
    while np.minimum(counts, most).sum() < model.slate_size:  # too few topics to fill a slate
        most += 1
    return Catalogue(
        ids,
        np.ascontiguousarray(model.items[ids].T, dtype=np.float32),
        np.concatenate([[0], counts.cumsum()]),
        model.topic_size,
        most,
    )


def _worths(model: UserModel, plans: NDArray[np.float64], ids: NDArray[np.int64]) -> Worths:
    increases = np.maximum(plans[:, :NUM_COSTS], 0.0)
    steps = np.zeros((len(plans), 2))  # [:, c]: increase of the cost when clicks in memory reach c
    if model.rules.bores:
        threshold = model.rules.boredom_threshold
        steps = np.zeros((len(plans), threshold + 3))
        for place in range(max(3 - threshold, 0), NUM_COSTS):
            steps[:, threshold - 2 + place] = increases[:, place]
        steps[:, threshold + 2] = increases[:, -1]  # later clicks cost nothing more
    steering = plans[:, NUM_COSTS + 1 :]  # (num_plans, size)
    return Worths(
        np.ascontiguousarray(steering @ model.items[ids].T, dtype=np.float32),
        steps.cumsum(axis=1),
        THRESHOLD + _SHIFT_UNIT * plans[:, NUM_COSTS],
    )


# fastmath: see likelihood.py
@compiled_with(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp", "nnan"})
def _fill_slates(
    catalogue: Catalogue,
    worths: Worths,
    slope: float,
    propensities: NDArray[np.float64],
    order: NDArray[np.int64],
    newest: int,
    plans: NDArray[np.int64],
    belief: BeliefState,
    slates: NDArray[np.int64],
) -> None:
    """Fill the slate of every user.

    Args:
        catalogue: All items.
        worths: All plans.
        slope: Steepness of the logistic relevance.
        propensities: ``(slate_size,)``.
        order: Positions in falling order of propensity, ``(slate_size,)``.
        newest: How many of the newest clicks in memory count.
        plans: Which plan serves each user, ``(num_users,)``.
        belief: What is thought of the users.
        slates: The result is written here, ``(num_users, slate_size)``.
    """
    num_users, num_items = slates.shape[0], catalogue.ids.shape[0]
    sessions = belief.sessions
    num_topics, num_counts = sessions.bored.shape[1], worths.costs.shape[1]
    scores = np.empty(num_items, np.float32)
    relevance = np.empty(num_items, np.float32)
    value = np.empty(num_items, np.float32)
    best = np.empty((num_topics, catalogue.most), np.int64)  # items of each topic, by place in it, best first
    num_best = np.empty(num_topics, np.int64)
    taken = np.empty(num_topics, np.int64)
    chances = np.empty((num_topics, num_counts))  # probability that a topic has 0, 1, ... clicks in memory
    increases = np.empty(num_topics)  # expected increase of a topic's cost by one more click
    for u in range(num_users):
        plan, num_particles = plans[u], belief.counts[u]
        _expected_relevance(
            catalogue,
            slope,
            worths.threshold[plan],
            sessions.bored[u],
            belief.particles[u, :num_particles],
            belief.log_weights[u, :num_particles],
            scores,
            relevance,
        )
        for i in range(num_items):
            value[i] = relevance[i] * (np.float32(1.0) + worths.bonus[plan, i])
        for topic in range(num_topics):
            start = catalogue.starts[topic]
            num_best[topic] = best_items(value[start : catalogue.starts[topic + 1]], best[topic])
        # the clicks in memory are known; those on the slate's items, added below, are expected
        chances[:] = 0.0
        taken[:] = 0
        for entry in range(max(0, sessions.num_recent[u] - newest), sessions.num_recent[u]):
            taken[sessions.recent_topics[u, entry]] += 1
        for topic in range(num_topics):
            chances[topic, min(taken[topic], num_counts - 1)] = 1.0
            increases[topic] = (
                0.0 if sessions.bored[u, topic] else _expected_increase(worths.costs[plan], chances[topic])
            )
        taken[:] = 0  # from here on: items of each topic in the slate
        for s in order:
            chosen = -1
            largest = -np.inf
            for topic in range(num_topics):
                if taken[topic] < num_best[topic]:
                    i = catalogue.starts[topic] + best[topic, taken[topic]]
                    worth = value[i] - relevance[i] * increases[topic]
                    if worth > largest:
                        chosen = topic
                        largest = worth
            i = catalogue.starts[chosen] + best[chosen, taken[chosen]]
            slates[u, s] = catalogue.ids[i]
            taken[chosen] += 1
            clicked = propensities[s] * relevance[i]
            chances[chosen, num_counts - 1] += clicked * chances[chosen, num_counts - 2]
            for count in range(num_counts - 2, 0, -1):
                chances[chosen, count] += clicked * (chances[chosen, count - 1] - chances[chosen, count])
            chances[chosen, 0] *= 1.0 - clicked
            if not sessions.bored[u, chosen]:
                increases[chosen] = _expected_increase(worths.costs[plan], chances[chosen])


@inlined
def _expected_relevance(
    catalogue: Catalogue,
    slope: float,
    threshold: float,
    bored: NDArray[np.bool_],
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    scores: NDArray[np.float32],
    relevance: NDArray[np.float32],
) -> None:
    """Write each item's probability of being relevant to one user, averaged over the particles.

    ``scores`` is scratch space. Components of topics that bore the user count as zero.
    """
    num_items = scores.shape[0]
    steepness, middle = np.float32(slope / _HALF_WIDTH), np.float32(threshold)
    vectors = catalogue.vectors
    numbers = np.zeros(particles.shape[1] + 4, np.float32)
    places = np.zeros(particles.shape[1] + 4, np.int64)
    used = 0  # components of topics that do not bore the user
    for d in range(particles.shape[1]):
        if not bored[d // catalogue.topic_size]:
            places[used] = d
            used += 1
    total = 0.0
    for p in range(particles.shape[0]):
        total += np.exp(log_weights[p])
    relevance[:] = np.float32(0.0)
    counted = np.float32(0.0)
    for p in range(particles.shape[0]):
        weight = np.float32(np.exp(log_weights[p]) / total)
        if weight < np.float32(_SMALLEST_WEIGHT):
            continue
        counted += weight
        for k in range(used):
            numbers[k] = particles[p, places[k]]
        scores[:] = np.float32(0.0)
        # four at a time, as memory is slower than arithmetic; those past the end are 0
        for k in range(0, used, 4):
            a, b, c, d = numbers[k], numbers[k + 1], numbers[k + 2], numbers[k + 3]
            first, second, third, fourth = (
                vectors[places[k]],
                vectors[places[k + 1]],
                vectors[places[k + 2]],
                vectors[places[k + 3]],
            )
            for i in range(num_items):
                scores[i] += a * first[i] + b * second[i] + c * third[i] + d * fourth[i]
        for i in range(num_items):
            y = min(max((scores[i] - middle) * steepness, np.float32(-1.0)), np.float32(1.0))
            relevance[i] += weight * (np.float32(0.5) + y * (np.float32(0.75) - np.float32(0.25) * y * y))
    for i in range(num_items):
        relevance[i] /= counted


@inlined
def _expected_increase(costs: NDArray[np.float64], chances: NDArray[np.float64]) -> float:
    """The expected increase of a topic's cost by one more click, given the probabilities of its clicks in memory."""
    increase = 0.0
    for count in range(costs.shape[0] - 1):
        increase += chances[count] * (costs[count + 1] - costs[count])
    return increase
