"""How the model's user goes from one slate to the next: compiled parts that the fit and the belief share.

The form is assumed (see :mod:`gems_gym_agents.user_model.model`); all numbers in it are learned from clicks. Users are
computed row by row in a fixed order, so a user's numbers have the same bits whoever stands beside them.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import inlined
from gems_gym.simulator.kernels import drop_oldest, next_boredom, push

THRESHOLD = 0.28
"""Score at which an item is relevant with probability ½. It is the unit of scores: items are scaled against it."""


class Dynamics(NamedTuple):
    """The model's numbers as the kernels read them, but for the items' vectors."""

    topics: NDArray[np.int64]  # (num_items,), in [0, num_topics)
    num_topics: int
    topic_size: int
    propensities: NDArray[np.float64]  # (slate_size,)
    slope: float
    omega: float
    boredom_threshold: int
    memory: int
    window: int
    timeout: int
    diversity_threshold: int
    diversity_penalty: float
    first_clicks_dated: bool


class Sessions(NamedTuple):
    """What follows from slates and clicks with certainty once the model is given, one row a user."""

    bored: NDArray[np.bool_]  # (num_users, num_topics), in the step to come
    time_left: NDArray[np.int64]  # (num_users, num_topics), steps that a topic would stay boring
    recent_topics: NDArray[np.int64]  # (num_users, memory), of clicks, oldest first
    num_recent: NDArray[np.int64]  # (num_users,)
    recent_steps: NDArray[np.int64]  # (num_users, memory), of clicks after the first slate, oldest first
    num_steps: NDArray[np.int64]  # (num_users,), entries of recent_steps


@inlined
def empty_sessions(dynamics: Dynamics, num_users: int) -> Sessions:
    """Sessions before the first slate."""
    return Sessions(
        np.zeros((num_users, dynamics.num_topics), np.bool_),
        np.full((num_users, dynamics.num_topics), dynamics.timeout),
        np.zeros((num_users, dynamics.memory), np.int64),
        np.zeros(num_users, np.int64),
        np.zeros((num_users, dynamics.memory), np.int64),
        np.zeros(num_users, np.int64),
    )


@inlined
def forget_session(dynamics: Dynamics, sessions: Sessions, u: int) -> None:
    """Put user ``u`` before the first slate."""
    sessions.num_recent[u] = 0
    sessions.num_steps[u] = 0
    for topic in range(dynamics.num_topics):
        sessions.bored[u, topic] = False
        sessions.time_left[u, topic] = dynamics.timeout


@inlined
def advance_boredom(dynamics: Dynamics, sessions: Sessions, u: int, counts: NDArray[np.int64]) -> None:
    """Let boredom wear off and set in, as it will be while user ``u`` looks at the next slate."""
    counts[:] = 0
    for entry in range(sessions.num_recent[u]):
        counts[sessions.recent_topics[u, entry]] += 1
    for topic in range(dynamics.num_topics):
        sessions.bored[u, topic], sessions.time_left[u, topic] = next_boredom(
            sessions.bored[u, topic], sessions.time_left[u, topic], counts[topic],
            dynamics.boredom_threshold, dynamics.timeout,
        )  # fmt: skip


@inlined
def log_clicks(
    dynamics: Dynamics,
    sessions: Sessions,
    u: int,
    step: int,
    slate: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Remember user ``u``'s clicks on a slate, the first one at step 0, and forget old ones."""
    for s in range(slate.shape[0]):
        if clicks[s]:
            push(sessions.recent_topics, sessions.num_recent, u, dynamics.topics[slate[s]])
            if step > 0 or dynamics.first_clicks_dated:
                push(sessions.recent_steps, sessions.num_steps, u, step)
    while sessions.num_steps[u] > 0 and sessions.recent_steps[u, 0] < step - dynamics.window:
        drop_oldest(sessions.recent_topics, sessions.num_recent, u)
        drop_oldest(sessions.recent_steps, sessions.num_steps, u)


@inlined
def penalty_of(dynamics: Dynamics, slate: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """What divides the click probabilities of a slate: more than 1 where a topic fills too much of it."""
    counts[:] = 0
    penalty = 1.0
    for s in range(slate.shape[0]):
        if slate[s] < 0:
            continue
        topic = dynamics.topics[slate[s]]
        counts[topic] += 1
        if counts[topic] >= dynamics.diversity_threshold:
            penalty = dynamics.diversity_penalty
    return penalty


@inlined
def normalise(preference: NDArray[np.float64], topic_size: int) -> None:
    """Divide a preference by the sum of its block norms."""
    total = 0.0
    for start in range(0, preference.shape[0], topic_size):
        squares = 0.0
        for d in range(start, start + topic_size):
            squares += preference[d] * preference[d]
        total += np.sqrt(squares)
    if total > 0.0:
        for d in range(preference.shape[0]):
            preference[d] /= total


@inlined
def drift(
    omega: float,
    topic_size: int,
    preference: NDArray[np.float64],
    items: NDArray[np.float64],
    slate: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Move a preference towards the clicked items, one after the other."""
    for s in range(slate.shape[0]):
        if clicks[s]:
            item = slate[s]
            for d in range(preference.shape[0]):
                preference[d] = omega * preference[d] + (1.0 - omega) * items[item, d]
            normalise(preference, topic_size)


@inlined
def logistic(score: float, slope: float) -> float:
    """Probability that an item of a score is relevant."""
    relevance: float = 1.0 / (1.0 + np.exp(-(score - THRESHOLD) * slope))
    return relevance
