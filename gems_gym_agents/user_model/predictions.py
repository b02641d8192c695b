"""What a user model predicts: the probability of each click, given all slates and clicks before it."""

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled_with
from gems_gym_agents.user_model.belief import BeliefState, ParticleBelief
from gems_gym_agents.user_model.dynamics import Dynamics, logistic, penalty_of
from gems_gym_agents.user_model.fit import DOUBT
from gems_gym_agents.user_model.logs import Log
from gems_gym_agents.user_model.model import UserModel
from gems_gym_agents.user_model.planner import PlannerPolicy

_TOGETHER = 256
"""Sessions that are followed at the same time, for memory's sake."""
_LEAST, _MOST = 1e-6, 1.0 - 1e-4


def predicted_clicks(model: UserModel, log: Log) -> NDArray[np.float64]:
    """The probability of each click on chosen slates, each user being followed as the planner follows users.

    Args:
        model: What is known of users.
        log: Sessions.

    Returns:
        In (0, 1), ``(num_sessions, length, slate_size)``.
    """
    belief = ParticleBelief(model, PlannerPolicy.acting, np.random.default_rng(0))
    found = np.empty(log.chosen.slates.shape)
    for first in range(0, len(log), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        slates, clicks = (array[part].astype(np.int64) for array in (log.slates, log.clicks))
        state = belief.update(belief.initial(len(slates)), slates[:, 0], clicks[:, 0])
        for step in range(1, slates.shape[1]):
            _predict(model.items, model.dynamics, state, slates[:, step], found[part, step - 1])
            state = belief.update(state, slates[:, step], clicks[:, step])
    return found


# fastmath: see likelihood.py
@compiled_with(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _predict(
    items: NDArray[np.float64],
    dynamics: Dynamics,
    state: BeliefState,
    slates: NDArray[np.int64],
    found: NDArray[np.float64],
) -> None:
    """Write the probability of a click on each slot of each user's next slate, ``(num_users, slate_size)``."""
    size = state.particles.shape[2]
    counts = np.zeros(dynamics.num_topics, np.int64)
    seen = np.empty(state.particles.shape[1:])  # the user as each particle has it, with boring topics at zero
    for u in range(slates.shape[0]):
        num_particles = state.counts[u]
        for p in range(num_particles):
            for d in range(size):
                bored = state.sessions.bored[u, d // dynamics.topic_size]
                seen[p, d] = 0.0 if bored else state.particles[u, p, d]
        weights = np.exp(state.log_weights[u, :num_particles])
        weights /= weights.sum()
        penalty = penalty_of(dynamics, slates[u], counts)
        for s in range(slates.shape[1]):
            relevance = 0.0
            for p in range(num_particles):
                score = 0.0
                for d in range(size):
                    score += items[slates[u, s], d] * seen[p, d]
                relevance += weights[p] * logistic(score, dynamics.slope)
            chance = (DOUBT + (1.0 - 2.0 * DOUBT) * relevance) * dynamics.propensities[s] / penalty
            found[u, s] = min(max(chance, _LEAST), _MOST)
