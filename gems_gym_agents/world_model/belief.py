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
from gems_gym_agents.world_model.model import WorldModel

_LEAST = 0.02
"""Relevance is taken to be in [_LEAST, 1 − _LEAST]: the model is never sure."""
_NOT_TIRED = 0.005
"""Share of a group's effect on the query that is left out."""
_JITTER, _FIRST_JITTER, _JITTER_STEPS = 0.03, 0.3, 8.0
"""By how much copies of a particle are moved, in standard deviations of the atoms; more in the first steps."""
_ATOMS_JITTER = 0.3
"""The same of copies of the atoms that are made where there are too few, or silence leaves too few."""


class Numbers(NamedTuple):
    """A world model as the kernels read it."""

    items: NDArray[np.float32]  # (size + 1, num_items), a row of ones behind
    groups: NDArray[np.int64]
    inputs: NDArray[np.float64]
    gates: NDArray[np.float64]
    query: NDArray[np.float64]
    tired_query: NDArray[np.float64]
    examination: NDArray[np.float64]
    crowding: NDArray[np.float64]
    patterns: NDArray[np.float64]  # (num_recent + 1, num_ages, num_detectors), zeros behind
    detection: NDArray[np.float64]
    span: NDArray[np.float64]

    @classmethod
    def of(cls, model: WorldModel) -> "Numbers":
        """The numbers of a model."""
        items = np.concatenate([model.items.T, np.ones((1, model.num_items))])
        return cls(
            np.ascontiguousarray(items, dtype=np.float32),
            model.groups,
            model.inputs,
            model.gates,
            model.query,
            model.tired_query,
            model.examination,
            model.crowding,
            np.concatenate([model.patterns, np.zeros((1, *model.patterns.shape[1:]))]),
            model.detection,
            model.span,
        )


class Memory(NamedTuple):
    """What is remembered of clicks, one row per user."""

    recent: NDArray[
        np.int64
    ]  # groups of the newest clicks, newest first, (num_users, num_recent); -1 if there are fewer
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
            lambda shown: _chances(self.numbers, self._atoms, tired, shown),
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


@inlined
def query_of_user(numbers: Numbers, tired: NDArray[np.float64], query: NDArray[np.float64]) -> None:
    """Write the matrix that turns a state into a query, by how tired the user is of each group."""
    for j in range(query.shape[0]):
        copy_into(query[j], numbers.query[j])
    for group in range(tired.shape[0]):
        share = 1.0 - np.exp(-tired[group])
        if share > _NOT_TIRED:
            for j in range(query.shape[0]):
                for k in range(query.shape[1]):
                    query[j, k] -= share * numbers.tired_query[group, j, k]


@inlined
def ask(query: NDArray[np.float64], state: NDArray[np.float64], asked: NDArray[np.float64]) -> None:
    """Write ``(state, 1) @ query``."""
    size = state.shape[0]
    copy_into(asked, query[size])
    for d in range(size):
        for k in range(size + 1):
            asked[k] += state[d] * query[d, k]


@inlined
def _uncrowded(numbers: Numbers, slate: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
    """What the items' groups leave of all clicks on a slate; ``counts`` is scratch space, ``(num_groups,)``."""
    counts[:] = 0
    for item in slate:
        if item >= 0:
            counts[numbers.groups[item]] += 1
    crowding = 0.0
    for group in range(counts.shape[0]):
        crowding += numbers.crowding[counts[group]]
    share: float = np.exp(-crowding)
    return share


@inlined
def _chance(
    numbers: Numbers,
    asked: NDArray[np.float64],
    tired: NDArray[np.float64],
    item: int,
    s: int,
    uncrowded: float,
) -> float:
    """Probability of a click on an item at position ``s``; 0 if there is none."""
    if item < 0:
        return 0.0
    logit = -tired[numbers.groups[item]]
    for k in range(asked.shape[0]):
        logit += asked[k] * numbers.items[k, item]
    relevance = _LEAST + (1.0 - 2.0 * _LEAST) / (1.0 + np.exp(-logit))
    chance: float = min(numbers.examination[s] * uncrowded, 0.999) * relevance
    return chance


@compiled
def _chances(
    numbers: Numbers, atoms: NDArray[np.float64], tired: NDArray[np.float64], slates: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Probability of a click on each item of some slates by new users, ``(num_slates, slate_size, num_atoms)``."""
    size = atoms.shape[1]
    found = np.empty((*slates.shape, len(atoms)))
    query = np.empty((size + 1, size + 1))
    query_of_user(numbers, tired, query)
    asked = np.empty((len(atoms), size + 1))
    for p in range(len(atoms)):
        ask(query, atoms[p], asked[p])
    counts = np.zeros(tired.shape[0], np.int64)
    for n in range(slates.shape[0]):
        uncrowded = _uncrowded(numbers, slates[n], counts)
        for s in range(slates.shape[1]):
            for p in range(len(atoms)):
                found[n, s, p] = _chance(numbers, asked[p], tired, slates[n, s], s, uncrowded)
    return found


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
    uncrowded = _uncrowded(numbers, slate, np.zeros(tired.shape[0], np.int64))
    for p in range(len(particles)):
        ask(query, particles[p], asked)
        for s in range(len(slate)):
            chance = _chance(numbers, asked, tired, slate[s], s, uncrowded)
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


@inlined
def _detect(
    numbers: Numbers,
    recent: NDArray[np.int64],
    ages: NDArray[np.int64],
    detected: NDArray[np.float64],
    tired: NDArray[np.float64],
) -> None:
    """Look for patterns in the recent clicks of one user, and write how tired of each group they make the user."""
    for group in range(detected.shape[1]):
        for ago in range(detected.shape[0] - 1, 0, -1):
            copy_into(detected[ago, group], detected[ago - 1, group])
        copy_into(detected[0, group], numbers.detection)
    for n in range(recent.shape[0]):
        if recent[n] < 0:
            break
        age = min(ages[n], numbers.patterns.shape[1] - 1)
        for c in range(detected.shape[2]):
            detected[0, recent[n], c] += numbers.patterns[n, age, c]
    for group in range(detected.shape[1]):
        for c in range(detected.shape[2]):
            detected[0, group, c] = 1.0 / (1.0 + np.exp(-detected[0, group, c]))
        tired[group] = 0.0
        for ago in range(detected.shape[0]):
            for c in range(detected.shape[2]):
                tired[group] += numbers.span[c, ago] * detected[ago, group, c]


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
        _detect(numbers, recent, ages, memory.detected[u], memory.tired[u])
