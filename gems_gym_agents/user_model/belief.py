"""What is thought of each user: particles, weighted by how well they explain the clicks.

The belief is a function of what was shown and clicked. The little noise that keeps particles apart comes from one
table, the same for all users, so a user's belief has the same bits whoever is served at the same time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled, compiled_with
from gems_gym_agents.user_model.dynamics import (
    Dynamics,
    Sessions,
    advance_boredom,
    drift,
    empty_sessions,
    log_clicks,
    logistic,
    normalise,
    penalty_of,
)
from gems_gym_agents.user_model.model import UserModel

Schedule = tuple[tuple[int, int], ...]
"""(step, particles): from this step on so many particles; steps rise from 0, particles fall."""

_LEAST = 0.02
"""Relevance is taken to be in [_LEAST, 1 − _LEAST], as the model is not quite right."""
_LASTING_NOISE, _FIRST_NOISE, _NOISE_STEPS = 0.03, 0.15, 8.0
_WITHIN_TOPICS = 0.7
"""Noise of single numbers, against that of whole topics."""
_NOISE_ROWS = 8192
_STRIDE = 7919
_SURPRISE = 6.0
"""What was thought of a user may be wrong if slates in a row without a click were less likely than e to the minus
this."""


class BeliefState(NamedTuple):
    """What is remembered of the sessions of many users, one row a user in every array."""

    sessions: Sessions
    particles: NDArray[
        np.float64
    ]  # (num_users, num_particles, size); the prior, (1, num_atoms, size), at first
    log_weights: NDArray[np.float64]  # (num_users, num_particles), the largest 0
    surprise: NDArray[np.float64]  # (num_users,), −log likelihood of the slates since the last click
    step: int  # slates seen, the first slate included


class ParticleBelief:
    """Follows users by a model.

    Args:
        model: What is known of users at large.
        schedule: How many particles; the more is known of a user, the fewer are needed. None: the prior's, which stay
            what they are and are weighed only.
        rng: Draws the table of noise.

    Attributes:
        model: What was given.
    """

    def __init__(self, model: UserModel, schedule: Schedule | None, rng: np.random.Generator) -> None:
        self.model = model
        self._schedule = schedule
        shape = (_NOISE_ROWS, model.num_topics)
        of_topics = np.repeat(rng.standard_normal(shape), model.topic_size, axis=1)
        within = rng.standard_normal((_NOISE_ROWS, model.items.shape[1]))
        self._noise = of_topics + _WITHIN_TOPICS * within  # (rows, size)

    def initial(self, num_users: int) -> BeliefState:
        """What is thought of users before the first slate: the prior."""
        prior = self.model.prior
        sessions = empty_sessions(self.model.dynamics, num_users)
        log_weights = np.zeros((num_users, len(prior)))
        return BeliefState(sessions, prior[None], log_weights, np.zeros(num_users), 0)

    def update(self, state: BeliefState, slates: NDArray[np.int64], clicks: NDArray[np.int64]) -> BeliefState:
        """What is thought after one more slate, and how the users will look at the next.

        Args:
            state: Left alone.
            slates: ``(num_users, slate_size)``.
            clicks: Same shape, 0 or 1.
        """
        sessions = Sessions._make(array.copy() for array in state.sessions)
        particles, log_weights = state.particles.copy(), state.log_weights.copy()
        items, dynamics, step = self.model.items, self.model.dynamics, state.step
        if self._schedule is None and step == 1:
            particles = np.repeat(particles, len(slates), axis=0)  # resampling would have done it
        evidence = _weigh(items, dynamics, sessions, step, particles, log_weights, slates, clicks)
        surprise = np.where(clicks.any(axis=1), 0.0, state.surprise - evidence)
        if self._schedule is None:
            return BeliefState(sessions, particles, log_weights, surprise, step + 1)
        count = next(number for start, number in reversed(self._schedule) if start <= step)
        count = min(count, particles.shape[1])
        scale = _LASTING_NOISE + _FIRST_NOISE * np.exp(-step / _NOISE_STEPS)
        noise = self._noise[(_STRIDE * step + np.arange(count)) % _NOISE_ROWS]
        factors = np.exp(scale * noise)
        particles, log_weights = _resample(particles, log_weights, factors, self.model.topic_size)
        lost = np.flatnonzero(surprise > _SURPRISE)
        # Few particles that are all wrong never become right by a little noise, so the less likely half is replaced.
        replaced = lost[:, None], np.argsort(log_weights[lost], axis=1, kind="stable")[:, : count // 2]
        particles[replaced] = self.model.prior[(count * step + np.arange(count // 2)) % len(self.model.prior)]
        log_weights[replaced] = 0.0
        surprise[lost] = 0.0
        return BeliefState(sessions, particles, log_weights, surprise, step + 1)


# fastmath: see likelihood.py
@compiled_with(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _weigh(
    items: NDArray[np.float64],
    dynamics: Dynamics,
    sessions: Sessions,
    step: int,
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Weigh particles by the clicks, let them drift, and bring the users' boredom to the next slate.

    Returns:
        Log likelihood of each user's clicks by what was thought before, ``(num_users,)``.
    """
    num_users, slate_size = slates.shape
    num_particles, size = particles.shape[1:]
    counts = np.zeros(dynamics.num_topics, np.int64)
    seen = np.empty((slate_size, size))  # items with boring topics at zero
    evidence = np.empty(num_users)
    for u in range(num_users):
        penalty = penalty_of(dynamics, slates[u], counts)
        for s in range(slate_size):
            for d in range(size):
                bored = sessions.bored[u, d // dynamics.topic_size]
                seen[s, d] = 0.0 if bored else items[slates[u, s], d]
        row = min(u, particles.shape[0] - 1)
        largest = -np.inf
        before = 0.0
        for p in range(num_particles):
            before += np.exp(log_weights[u, p])
            likelihood = 1.0
            for s in range(slate_size):
                score = 0.0
                for d in range(size):
                    score += seen[s, d] * particles[row, p, d]
                relevance = _LEAST + (1.0 - 2.0 * _LEAST) * logistic(score, dynamics.slope)
                chance = relevance * dynamics.propensities[s] / penalty
                likelihood *= chance if clicks[u, s] else 1.0 - chance
                if likelihood < 1e-200:  # long slates
                    log_weights[u, p] += np.log(likelihood)
                    likelihood = 1.0
            log_weights[u, p] += np.log(likelihood)
            largest = max(largest, log_weights[u, p])
            if step > 0:
                drift(dynamics.omega, dynamics.topic_size, particles[u, p], items, slates[u], clicks[u])
        after = 0.0
        for p in range(num_particles):
            log_weights[u, p] -= largest
            after += np.exp(log_weights[u, p])
        evidence[u] = largest + np.log(after / before)
        log_clicks(dynamics, sessions, u, step, slates[u], clicks[u])
        advance_boredom(dynamics, sessions, u, counts)
    return evidence


@compiled
def _resample(
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    factors: NDArray[np.float64],
    topic_size: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw particles anew, systematically, where few of them hold most of the weight or their number changes.

    Args:
        particles: ``(num_users, num_before, size)``, or the same for all users, ``(1, num_before, size)``.
        log_weights: ``(num_users, num_before)``.
        factors: ``(num_after, size)``: each particle drawn is multiplied by its row.
        topic_size: Numbers in a block.

    Returns:
        Particles and logarithms of their weights.
    """
    num_users, before = log_weights.shape
    size = particles.shape[2]
    after = factors.shape[0]
    drawn = np.empty((num_users, after, size))
    drawn_weights = np.zeros((num_users, after))
    weights = np.empty(before)
    for u in range(num_users):
        total = 0.0
        squares = 0.0
        for p in range(before):
            weights[p] = np.exp(log_weights[u, p])
            total += weights[p]
            squares += weights[p] * weights[p]
        row = min(u, particles.shape[0] - 1)
        if before == after and total * total > 0.5 * after * squares:
            drawn[u] = particles[row]
            drawn_weights[u] = log_weights[u]
            continue
        reached = 0.0
        source = -1
        for p in range(after):
            while source < 0 or (reached <= (p + 0.5) / after and source < before - 1):
                source += 1
                reached += weights[source] / total
            for d in range(size):
                drawn[u, p, d] = particles[row, source, d] * factors[p, d]
            normalise(drawn[u, p], topic_size)
    return drawn, drawn_weights
