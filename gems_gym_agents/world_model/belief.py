"""What is thought of each user: particles of the state, weighed by clicks, and what is remembered of clicks.

Until the first click a user is one of the model's first states (see :mod:`gems_gym_agents.user_model.particles`).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import copy_into
from gems_gym.common.compilation import compiled, inlined
from gems_gym_agents.user_model.particles import (
    ATOMS_A_PARTICLE,
    Schedule,
    draw_by_weight,
    more_effective,
    particles_by,
    weighed,
)
from gems_gym_agents.world_model.dynamics import (
    Numbers,
    ask,
    click_chance,
    click_chances,
    detect_tiredness,
    query_of_user,
    uncrowded_share,
)
from gems_gym_agents.world_model.model import WorldModel

_JITTER, _FIRST_JITTER, _JITTER_STEPS = 0.03, 0.3, 8.0
"""By how much copies of a particle are moved, in standard deviations of the atoms; more in the first steps."""
_ATOMS_JITTER = 0.3
"""The same of copies of the atoms that are made where there are too few, or silence leaves too few."""


class Memory(NamedTuple):
    """What is remembered of clicks, one row per user."""

    # groups of the newest clicks, newest first, (num_users, num_recent); -1 if there are fewer
    recent: NDArray[np.int64]
    ages: NDArray[np.int64]  # in steps, same shape
    detected: NDArray[np.float64]  # (num_users, num_steps, num_groups, num_detectors), newest first
    tired: NDArray[np.float64]  # (num_users, num_groups)


class BeliefState(NamedTuple):
    """What is known of some sessions before their next slate; all are at the same step."""

    step: int
    num_clicks: NDArray[np.int64]  # (num_users,)
    counts: NDArray[np.int64]  # (num_users,), particles of each user; those behind have no weight
    particles: NDArray[np.float64]  # (num_users, most of counts, size)
    log_weights: NDArray[np.float64]  # (num_users, most of counts)
    memory: Memory
    of_atoms: NDArray[np.float64]  # (users without a click, num_atoms), log weights of first states
    unclicked: NDArray[np.int64]  # (users without a click, slates seen, slate_size), all that they were shown


class ParticleBelief:
    """Filters the clicks of many users at once.

    Args:
        model: A learned world model.
        schedule: How many particles, see :data:`~gems_gym_agents.user_model.particles.Schedule`; a single one is the
            mean of those before.
    """

    def __init__(self, model: WorldModel, schedule: Schedule) -> None:
        self.numbers = Numbers.of(model)
        self._model, self._schedule = model, schedule
        count = max(ATOMS_A_PARTICLE * schedule[0][1], len(model.atoms))
        noise = np.random.default_rng(0).standard_normal((count, model.items.shape[1]))
        covariance = np.atleast_2d(np.cov(model.atoms.T))
        values, vectors = np.linalg.eigh(covariance)
        noise = noise * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        self._noise = noise[: schedule[0][1]]
        self._others = _ATOMS_JITTER * noise
        copies = np.resize(model.atoms, noise.shape) + self._others
        self._atoms = np.concatenate([model.atoms, copies[len(model.atoms) :]])

    def initial(self, num_users: int) -> BeliefState:
        """Before the first slate was seen."""
        model = self._model
        num_recent, _, detectors = model.patterns.shape
        return BeliefState(
            0,
            np.zeros(num_users, np.int64),
            np.zeros(num_users, np.int64),
            np.empty((num_users, 0, model.items.shape[1])),
            np.empty((num_users, 0)),
            Memory(
                np.full((num_users, num_recent), -1),
                np.zeros((num_users, num_recent), np.int64),
                np.zeros((num_users, model.span.shape[1], model.num_groups, detectors)),
                np.zeros((num_users, model.num_groups)),
            ),
            np.zeros((num_users, len(self._atoms))),
            np.empty((num_users, 0, len(model.examination)), np.int64),
        )

    def update(self, state: BeliefState, slates: NDArray[np.int64], clicks: NDArray[np.int64]) -> BeliefState:
        """Take in what was shown and clicked; the state given is changed.

        Args:
            state: From :meth:`initial` or the last call.
            slates: Item ids, ``(num_users, slate_size)``; -1 where nothing is known to have been shown.
            clicks: 0 or 1, same shape.
        """
        step, memory, silent = state.step, state.memory, state.num_clicks == 0
        num_clicks = state.num_clicks + clicks.sum(axis=1)
        counts = particles_by(self._schedule, step, num_clicks)
        # all who never clicked are equally tired
        tired = memory.tired[np.argmax(silent)]
        of_atoms = weighed(
            state.of_atoms,
            slates[silent],
            clicks[silent],
            lambda shown: click_chances(self.numbers, self._atoms, tired, shown),
        )
        jitter = _JITTER + _FIRST_JITTER * np.exp(-step / _JITTER_STEPS)
        noise = np.roll(self._noise, step, axis=0)[: counts.max()] * jitter
        particles, log_weights = _followed(
            self.numbers,
            self._atoms,
            state,
            of_atoms,
            counts,
            noise,
            np.roll(self._others, step, axis=0),
            slates,
            clicks,
        )
        unclicked = np.concatenate([state.unclicked, slates[silent, None]], axis=1)
        _take_in(self.numbers, counts, particles, memory, slates, clicks)
        still = num_clicks[silent] == 0
        return BeliefState(
            step + 1,
            num_clicks,
            counts,
            particles,
            log_weights,
            memory,
            of_atoms[still],
            unclicked[still],
        )


@compiled
def _followed(
    numbers: Numbers,
    atoms: NDArray[np.float64],
    state: BeliefState,
    of_atoms: NDArray[np.float64],
    counts: NDArray[np.int64],
    noise: NDArray[np.float64],
    others: NDArray[np.float64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weigh the particles of users who have clicked before, which changes their weights, and draw everyone's.

    Args:
        numbers: Numbers of the model.
        atoms: First states, ``(num_atoms, size)``.
        state: What was thought.
        of_atoms: Log weights of atoms, after this slate, for users who had not clicked before it.
        counts: How many particles each user has from now on.
        noise: ``(most of counts, size)``: what copies of a particle are moved by.
        others: ``(num_atoms, size)``: the same of copies of atoms that are made where silence leaves few of them.
        slates: Item ids, ``(num_users, slate_size)``.
        clicks: 0 or 1, same shape.

    Returns:
        Particles, and logarithms of their weights up to a constant.
    """
    num_users, size, most = slates.shape[0], atoms.shape[1], noise.shape[0]
    drawn = np.zeros((num_users, most, size))
    drawn_weights = np.full((num_users, most), -np.inf)
    none = np.zeros(slates.shape[1], np.int64)
    query = np.empty((size + 1, size + 1))
    silent = 0
    for u in range(num_users):
        n, before, tired = counts[u], state.counts[u], state.memory.tired[u]
        if state.num_clicks[u] == 0:
            particles, log_weights = atoms, of_atoms[silent]
            if not more_effective(np.exp(log_weights), n):
                particles, log_weights = np.empty_like(atoms), np.zeros(len(atoms))
                _draw(atoms, np.exp(of_atoms[silent]), others, particles)
                query_of_user(numbers, tired, query)
                # as in the user model's belief, silence counts twice
                for earlier in state.unclicked[silent]:
                    _weigh(numbers, query, tired, particles, log_weights, earlier, none)
                _weigh(numbers, query, tired, particles, log_weights, slates[u], clicks[u])
            silent += 1
        else:
            particles, log_weights = state.particles[u, :before], state.log_weights[u, :before]
            if before > 1:  # the weight of a single one says nothing
                query_of_user(numbers, tired, query)
                _weigh(numbers, query, tired, particles, log_weights, slates[u], clicks[u])
        _draw_anew(particles, log_weights, noise, drawn[u, :n], drawn_weights[u, :n])
    return drawn, drawn_weights


@inlined
def _weigh(
    numbers: Numbers,
    query: NDArray[np.float64],
    tired: NDArray[np.float64],
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    slate: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Weigh the particles of one user by the clicks on a slate; ``query`` is what :func:`query_of_user` wrote."""
    asked = np.empty(particles.shape[1] + 1)
    uncrowded = uncrowded_share(numbers, slate, np.zeros(tired.shape[0], np.int64))
    for p in range(len(particles)):
        ask(query, particles[p], asked)
        for s in range(len(slate)):
            chance = click_chance(numbers, asked, tired, slate[s], s, uncrowded)
            log_weights[p] += np.log(chance) if clicks[s] else np.log(1.0 - chance)


@inlined
def _draw_anew(
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    noise: NDArray[np.float64],
    drawn: NDArray[np.float64],
    drawn_weights: NDArray[np.float64],
) -> None:
    """Draw one user's particles anew where few hold most of the weight or their number changes.

    A single particle is the mean of those before.
    """
    below_largest = log_weights - log_weights.max()
    weights = np.exp(below_largest)
    drawn_weights[:] = 0.0
    if len(drawn) == 1:
        total = weights.sum()
        for p in range(len(particles)):
            share = weights[p] / total
            for d in range(particles.shape[1]):
                drawn[0, d] += share * particles[p, d]
    elif len(drawn) == len(particles) and more_effective(weights, 0.5 * len(drawn)):
        for p in range(len(drawn)):
            copy_into(drawn[p], particles[p])
        copy_into(drawn_weights, below_largest)
    else:
        _draw(particles, weights, noise, drawn)


@inlined
def _draw(
    particles: NDArray[np.float64],
    weights: NDArray[np.float64],
    noise: NDArray[np.float64],
    drawn: NDArray[np.float64],
) -> None:
    """Draw particles by weight; all but the first copy of each are moved."""
    sources = np.empty(len(drawn), np.int64)
    draw_by_weight(weights, sources)
    for p in range(len(drawn)):
        copy_into(drawn[p], particles[sources[p]])
        if p > 0 and sources[p] == sources[p - 1]:
            for d in range(particles.shape[1]):
                drawn[p, d] += noise[p, d]


@compiled
def _take_in(
    numbers: Numbers,
    counts: NDArray[np.int64],
    particles: NDArray[np.float64],
    memory: Memory,
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Move particles by clicks, remember these, and bring the users' tiredness to the next slate."""
    num_recent = memory.recent.shape[1]
    for u in range(slates.shape[0]):
        recent, ages = memory.recent[u], memory.ages[u]
        ages += 1
        for s in range(slates.shape[1]):
            if clicks[u, s]:
                item = slates[u, s]
                for p in range(counts[u]):
                    for d in range(particles.shape[2]):
                        particles[u, p, d] += numbers.gates[item] * (
                            numbers.inputs[item, d] - particles[u, p, d]
                        )
                for n in range(num_recent - 1, 0, -1):
                    recent[n], ages[n] = recent[n - 1], ages[n - 1]
                recent[0], ages[0] = numbers.groups[item], 0
        detect_tiredness(numbers, recent, ages, memory.detected[u], memory.tired[u])
