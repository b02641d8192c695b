"""What is thought of each user: particles, weighted by how well they explain the clicks.

Until the first click a user is one of the prior's vectors (see :mod:`gems_gym_agents.user_model.particles`). From
then on there are fewer particles, which drift as users do.

The belief is a function of what was shown and clicked. The little noise that keeps particles apart comes from one
table, the same for all users, so a user's belief has the same bits whoever is served at the same time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import copy_into
from gems_gym.common.compilation import compiled, compiled_with, inlined
from gems_gym_agents.user_model.axes import block_norms
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
from gems_gym_agents.user_model.particles import (
    ATOMS_A_PARTICLE,
    FACTORS,
    Schedule,
    draw_by_weight,
    more_effective,
    particles_by,
    weighed,
)

_LEAST = 0.02
"""Relevance is taken to be in [_LEAST, 1 − _LEAST], as the model is not quite right."""
_LASTING_NOISE, _FIRST_NOISE, _NOISE_STEPS = 0.03, 0.15, 8.0
_WITHIN_TOPICS = 0.7
"""Noise of single numbers, against that of whole topics."""
_NOISE_ROWS = 8192
_STRIDE = 7919
_PRIOR_NOISE = 0.5
"""Of the copies of the prior's vectors that are made where there are too few, or silence leaves too few."""


class BeliefState(NamedTuple):
    """What is remembered of the sessions of many users, one row a user.

    The last two arrays have one for each user without a click.
    """

    sessions: Sessions
    num_clicks: NDArray[np.int64]  # (num_users,), those on first slates included
    counts: NDArray[np.int64]  # (num_users,), particles of each user; those behind have no weight
    particles: NDArray[np.float64]  # (num_users, most of counts, size)
    log_weights: NDArray[np.float64]  # (num_users, most of counts), the largest 0
    step: int  # slates seen, the first slate included
    of_prior: NDArray[np.float64]  # (users without a click, num_atoms), log weights of the prior's vectors
    unclicked: NDArray[np.int64]  # (users without a click, slates seen, slate_size), all that they were shown


class ParticleBelief:
    """Follows users by a model.

    Args:
        model: What is known of users at large.
        schedule: How many particles. None: the prior's, which are weighed and drift, but are never drawn anew.
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
        self._prior = model.prior
        if schedule is not None and (count := ATOMS_A_PARTICLE * schedule[0][1] - len(model.prior)) > 0:
            factors = np.exp(_PRIOR_NOISE * np.resize(self._noise, (count, self._noise.shape[1])))
            copies = np.resize(model.prior, factors.shape) * factors
            copies /= block_norms(copies, model.topic_size).sum(axis=1, keepdims=True)
            self._prior = np.concatenate([model.prior, copies])
        self._others = np.exp(_PRIOR_NOISE * np.resize(self._noise, self._prior.shape))

    def initial(self, num_users: int) -> BeliefState:
        """What is thought of users before the first slate: the prior."""
        prior = self._prior
        zeros = np.zeros((num_users, len(prior)))
        return BeliefState(
            empty_sessions(self.model.dynamics, num_users),
            np.zeros(num_users, np.int64),
            np.full(num_users, len(prior)),
            np.tile(prior, (num_users if self._schedule is None else 0, 1, 1)),
            zeros,
            0,
            zeros,
            np.empty((num_users, 0, self.model.slate_size), np.int64),
        )

    def update(self, state: BeliefState, slates: NDArray[np.int64], clicks: NDArray[np.int64]) -> BeliefState:
        """What is thought after one more slate, and how the users will look at the next.

        Args:
            state: Left alone.
            slates: ``(num_users, slate_size)``; -1 where nothing is known to have been shown.
            clicks: Same shape, 0 or 1.
        """
        sessions = Sessions._make(array.copy() for array in state.sessions)
        items, dynamics, step = self.model.items, self.model.dynamics, state.step
        log_weights, of_prior = state.log_weights.copy(), state.of_prior
        num_clicks = state.num_clicks + clicks.sum(axis=1)
        silent = state.num_clicks == 0
        if self._schedule is None:
            counts, particles = state.counts, state.particles.copy()
            _weigh_all(items, dynamics, sessions.bored, particles, log_weights, slates, clicks)
        else:
            counts = particles_by(self._schedule, step, num_clicks)
            scale = _LASTING_NOISE + _FIRST_NOISE * np.exp(-step / _NOISE_STEPS)
            places = (_STRIDE * step + np.arange(counts.max())) % _NOISE_ROWS
            of_prior = weighed(
                state.of_prior,
                slates[silent],
                clicks[silent],
                lambda shown: _chances(items, dynamics, self._prior, shown),
            )
            particles, log_weights = _followed(
                items,
                dynamics,
                self._prior,
                sessions.bored,
                state,
                of_prior,
                log_weights,
                counts,
                np.exp(scale * self._noise[places]),
                np.roll(self._others, step, axis=0),
                slates,
                clicks,
            )
            of_prior = of_prior[num_clicks[silent] == 0]
        unclicked = np.concatenate([state.unclicked, slates[silent, None]], axis=1)[num_clicks[silent] == 0]
        _advance(items, dynamics, sessions, step, counts, particles, slates, clicks)
        return BeliefState(
            sessions, num_clicks, counts, particles, log_weights, step + 1, of_prior, unclicked
        )


# fastmath: see likelihood.py
_fast = compiled_with(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})


@inlined
def _chance(
    dynamics: Dynamics, seen: NDArray[np.float64], particle: NDArray[np.float64], s: int, penalty: float
) -> float:
    """Probability that a user clicks on the item that they see at position ``s``."""
    score = 0.0
    for d in range(particle.shape[0]):
        score += seen[d] * particle[d]
    relevance = _LEAST + (1.0 - 2.0 * _LEAST) * logistic(score, dynamics.slope)
    chance: float = relevance * dynamics.propensities[s] / penalty
    return chance


@_fast
def _chances(
    items: NDArray[np.float64], dynamics: Dynamics, prior: NDArray[np.float64], slates: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probability of a click on each item of some slates by new users, ``(num_slates, slate_size, num_atoms)``."""
    found = np.empty((*slates.shape, len(prior)))
    counts = np.zeros(dynamics.num_topics, np.int64)
    for n in range(slates.shape[0]):
        penalty = penalty_of(dynamics, slates[n], counts)
        for s in range(slates.shape[1]):
            item = slates[n, s]
            for p in range(len(prior)):
                found[n, s, p] = _chance(dynamics, items[item], prior[p], s, penalty) if item >= 0 else 0.0
    return found


@_fast
def _weigh(
    items: NDArray[np.float64],
    dynamics: Dynamics,
    bored: NDArray[np.bool_],
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    slate: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Weigh the particles of one user, ``(num_particles, size)``, by the clicks on a slate."""
    num_particles, size = particles.shape
    seen = np.empty((slate.shape[0], size))  # items with boring topics at zero
    for s in range(slate.shape[0]):
        for d in range(size):  # where nothing was shown, this is never looked at
            seen[s, d] = 0.0 if bored[d // dynamics.topic_size] else items[slate[s], d]
    penalty = penalty_of(dynamics, slate, np.zeros(dynamics.num_topics, np.int64))
    largest = -np.inf
    for p in range(num_particles):
        likelihood = 1.0
        for s in range(slate.shape[0]):
            if slate[s] >= 0:
                chance = _chance(dynamics, seen[s], particles[p], s, penalty)
                likelihood *= chance if clicks[s] else 1.0 - chance
            if s % FACTORS == FACTORS - 1:
                log_weights[p] += np.log(likelihood)
                likelihood = 1.0
        log_weights[p] += np.log(likelihood)
        largest = max(largest, log_weights[p])
    for p in range(num_particles):
        log_weights[p] -= largest


@compiled
def _weigh_all(
    items: NDArray[np.float64],
    dynamics: Dynamics,
    bored: NDArray[np.bool_],
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Weigh every user's particles, ``(num_users, num_particles, size)``."""
    for u in range(slates.shape[0]):
        _weigh(items, dynamics, bored[u], particles[u], log_weights[u], slates[u], clicks[u])


@compiled
def _followed(
    items: NDArray[np.float64],
    dynamics: Dynamics,
    prior: NDArray[np.float64],
    bored: NDArray[np.bool_],
    state: BeliefState,
    of_prior: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    counts: NDArray[np.int64],
    factors: NDArray[np.float64],
    others: NDArray[np.float64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weigh the particles of users who have clicked before, and draw everyone's; weights of those before are changed.

    Args:
        items: The model's.
        dynamics: Likewise.
        prior: Likewise.
        bored: ``(num_users, num_topics)``.
        state: What was thought.
        of_prior: Log weights of the prior's vectors, after this slate, for users who had not clicked before it.
        log_weights: Those of particles.
        counts: How many particles each user has from now on.
        factors: ``(most of counts, size)``: each particle drawn is multiplied by its row.
        others: ``(num_atoms, size)``: the same of vectors that are made where silence leaves few of the prior's.
        slates: ``(num_users, slate_size)``.
        clicks: Same shape.

    Returns:
        Particles and logarithms of their weights.
    """
    num_users, size = slates.shape[0], items.shape[1]
    most = factors.shape[0]
    drawn = np.zeros((num_users, most, size))
    drawn_weights = np.full((num_users, most), -np.inf)
    none = np.zeros(slates.shape[1], np.int64)
    silent = 0
    for u in range(num_users):
        n = counts[u]
        if state.num_clicks[u] == 0:
            atoms, weights = prior, of_prior[silent]
            if not more_effective(np.exp(weights), n):
                atoms, weights = np.empty_like(prior), np.zeros(len(prior))
                _draw(prior, np.exp(of_prior[silent]), others, dynamics.topic_size, atoms)
                # Silence counts twice, by the draw and by the weights. Divided by what they were drawn by, some weights
                # would be so large that the slates chosen seem twice as good as they turn out to be.
                for earlier in state.unclicked[silent]:
                    _weigh(items, dynamics, bored[u], atoms, weights, earlier, none)
                _weigh(items, dynamics, bored[u], atoms, weights, slates[u], clicks[u])
            _draw_anew(atoms, weights, factors, dynamics.topic_size, drawn[u, :n], drawn_weights[u, :n])
            silent += 1
        else:
            before = state.counts[u]
            particles, weights = state.particles[u, :before], log_weights[u, :before]
            _weigh(items, dynamics, bored[u], particles, weights, slates[u], clicks[u])
            _draw_anew(particles, weights, factors, dynamics.topic_size, drawn[u, :n], drawn_weights[u, :n])
    return drawn, drawn_weights


@inlined
def _draw_anew(
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    factors: NDArray[np.float64],
    topic_size: int,
    drawn: NDArray[np.float64],
    drawn_weights: NDArray[np.float64],
) -> None:
    """Draw one user's particles anew where few hold most of the weight or their number changes."""
    weights = np.exp(log_weights)
    if len(drawn) == len(particles) and more_effective(weights, 0.5 * len(drawn)):
        for p in range(len(drawn)):
            copy_into(drawn[p], particles[p])
        copy_into(drawn_weights, log_weights)
    else:
        _draw(particles, weights, factors, topic_size, drawn)
        drawn_weights[:] = 0.0


@inlined
def _draw(
    particles: NDArray[np.float64],
    weights: NDArray[np.float64],
    factors: NDArray[np.float64],
    topic_size: int,
    drawn: NDArray[np.float64],
) -> None:
    """Draw particles by weight, and multiply each by its row of factors."""
    sources = np.empty(len(drawn), np.int64)
    draw_by_weight(weights, sources)
    for p in range(len(drawn)):
        for d in range(particles.shape[1]):
            drawn[p, d] = particles[sources[p], d] * factors[p, d]
        normalise(drawn[p], topic_size)


@compiled
def _advance(
    items: NDArray[np.float64],
    dynamics: Dynamics,
    sessions: Sessions,
    step: int,
    num_particles: NDArray[np.int64],
    particles: NDArray[np.float64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Let particles drift by clicks, and bring the users' boredom to the next slate."""
    counts = np.zeros(dynamics.num_topics, np.int64)
    for u in range(slates.shape[0]):
        if step > 0:
            for p in range(num_particles[u]):
                drift(dynamics.omega, dynamics.topic_size, particles[u, p], items, slates[u], clicks[u])
        log_clicks(dynamics, sessions, u, step, slates[u], clicks[u])
        advance_boredom(dynamics, sessions, u, counts)
