"""What is thought of each user: particles of the state, weighed by clicks, and what is remembered of clicks."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled, inlined
from gems_gym_agents.user_model.belief import Schedule
from gems_gym_agents.world_model.model import WorldModel

_LEAST = 0.02
"""Relevance is taken to be in [_LEAST, 1 − _LEAST]: the model is never sure."""
_NOT_TIRED = 0.005
"""Share of a group's effect on the query that is left out."""
_JITTER, _FIRST_JITTER, _JITTER_STEPS = 0.03, 0.3, 8.0
"""By how much copies of a particle are moved, in standard deviations of the atoms; more in the first steps."""


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
    particles: NDArray[np.float64]  # (num_users, num_particles, size)
    log_weights: NDArray[np.float64]  # (num_users, num_particles)
    memory: Memory


class ParticleBelief:
    """Filters the clicks of many users at once.

    Args:
        model: A learned world model.
        schedule: How many particles from which step on; the first ones are the model's atoms, over and over.
    """

    def __init__(self, model: WorldModel, schedule: Schedule) -> None:
        self.numbers = Numbers.of(model)
        self._model, self._schedule = model, schedule
        noise = np.random.default_rng(0).standard_normal((schedule[0][1], model.items.shape[1]))
        covariance = np.atleast_2d(np.cov(model.atoms.T))
        values, vectors = np.linalg.eigh(covariance)
        self._noise = noise * np.sqrt(np.maximum(values, 0.0)) @ vectors.T

    def initial(self, num_users: int) -> BeliefState:
        """Before the first slate was seen."""
        model, count = self._model, self._schedule[0][1]
        num_recent, _, detectors = model.patterns.shape
        return BeliefState(
            0,
            np.tile(np.resize(model.atoms, (count, model.items.shape[1])), (num_users, 1, 1)),
            np.zeros((num_users, count)),
            Memory(
                np.full((num_users, num_recent), -1),
                np.zeros((num_users, num_recent), np.int64),
                np.zeros((num_users, model.span.shape[1], model.num_groups, detectors)),
                np.zeros((num_users, model.num_groups)),
            ),
        )

    def update(self, state: BeliefState, slates: NDArray[np.int64], clicks: NDArray[np.int64]) -> BeliefState:
        """Take in what was shown and clicked; the state given is changed.

        Args:
            state: From :meth:`initial` or the last call.
            slates: Item ids, ``(num_users, slate_size)``.
            clicks: 0 or 1, same shape.
        """
        step, particles, log_weights, memory = state
        if particles.shape[1] > 1:
            _weigh(self.numbers, particles, log_weights, memory.tired, slates, clicks)
            count = [number for start, number in self._schedule if step >= start][-1]
            jitter = _JITTER + _FIRST_JITTER * np.exp(-step / _JITTER_STEPS)
            noise = np.roll(self._noise, step, axis=0)[:count] * jitter
            particles, log_weights = _resampled(particles, log_weights, noise)
        _take_in(self.numbers, particles, memory, slates, clicks)
        return BeliefState(step + 1, particles, log_weights, memory)


@inlined
def query_of_user(numbers: Numbers, tired: NDArray[np.float64], query: NDArray[np.float64]) -> None:
    """Write the matrix that turns a state into a query, by how tired the user is of each group."""
    query[:] = numbers.query
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
    asked[:] = query[size]
    for d in range(size):
        for k in range(size + 1):
            asked[k] += state[d] * query[d, k]


@compiled
def _weigh(
    numbers: Numbers,
    particles: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    tired: NDArray[np.float64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
) -> None:
    """Add the log-likelihood of the clicks to the weights of the particles."""
    num_users, num_particles, size = particles.shape
    query = np.empty((size + 1, size + 1))
    asked = np.empty(size + 1)
    counts = np.zeros(tired.shape[1], np.int64)
    for u in range(num_users):
        query_of_user(numbers, tired[u], query)
        crowding = 0.0
        counts[:] = 0
        for item in slates[u]:
            counts[numbers.groups[item]] += 1
        for group in range(counts.shape[0]):
            crowding += numbers.crowding[counts[group]]
        uncrowded = np.exp(-crowding)
        for p in range(num_particles):
            ask(query, particles[u, p], asked)
            for s in range(slates.shape[1]):
                item = slates[u, s]
                logit = -tired[u, numbers.groups[item]]
                for k in range(size + 1):
                    logit += asked[k] * numbers.items[k, item]
                relevance = _LEAST + (1.0 - 2.0 * _LEAST) / (1.0 + np.exp(-logit))
                chance = min(numbers.examination[s] * uncrowded, 0.999) * relevance
                log_weights[u, p] += np.log(chance) if clicks[u, s] else np.log(1.0 - chance)


@compiled
def _resampled(
    particles: NDArray[np.float64], log_weights: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw particles anew, systematically, where few of them hold most of the weight or their number changes.

    Args:
        particles: ``(num_users, num_before, size)``.
        log_weights: ``(num_users, num_before)``, finite.
        noise: ``(num_after, size)``: what copies of a particle are moved by.

    Returns:
        Particles, and logarithms of their weights up to a constant. A single particle is the mean of those before.
    """
    num_users, before, size = particles.shape
    after = noise.shape[0]
    drawn = np.zeros((num_users, after, size))
    drawn_weights = np.zeros((num_users, after))
    weights = np.empty(before)
    for u in range(num_users):
        weights[:] = np.exp(log_weights[u] - log_weights[u].max())
        weights /= weights.sum()
        if after == 1:
            for p in range(before):
                drawn[u, 0] += weights[p] * particles[u, p]
            continue
        if before == after and 0.5 * after * (weights * weights).sum() < 1.0:
            drawn[u] = particles[u]
            drawn_weights[u] = log_weights[u] - log_weights[u].max()
            continue
        reached = 0.0
        source = last = -1
        for p in range(after):
            while source < 0 or (reached <= (p + 0.5) / after and source < before - 1):
                source += 1
                reached += weights[source]
            drawn[u, p] = particles[u, source]
            if source == last:
                drawn[u, p] += noise[p]
            last = source
    return drawn, drawn_weights


@inlined
def _detect(
    numbers: Numbers,
    recent: NDArray[np.int64],
    ages: NDArray[np.int64],
    detected: NDArray[np.float64],
    tired: NDArray[np.float64],
) -> None:
    """Look for patterns in the recent clicks of one user, and write how tired of each group they make the user."""
    for ago in range(detected.shape[0] - 1, 0, -1):
        detected[ago] = detected[ago - 1]
    detected[0] = numbers.detection
    for n in range(recent.shape[0]):
        if recent[n] < 0:
            break
        detected[0, recent[n]] += numbers.patterns[n, min(ages[n], numbers.patterns.shape[1] - 1)]
    detected[0] = 1.0 / (1.0 + np.exp(-detected[0]))
    for group in range(detected.shape[1]):
        tired[group] = 0.0
        for ago in range(detected.shape[0]):
            for c in range(detected.shape[2]):
                tired[group] += numbers.span[c, ago] * detected[ago, group, c]


@compiled
def _take_in(
    numbers: Numbers,
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
                for p in range(particles.shape[1]):
                    for d in range(particles.shape[2]):
                        particles[u, p, d] += numbers.gates[item] * (
                            numbers.inputs[item, d] - particles[u, p, d]
                        )
                for n in range(num_recent - 1, 0, -1):
                    recent[n], ages[n] = recent[n - 1], ages[n - 1]
                recent[0], ages[0] = numbers.groups[item], 0
        _detect(numbers, recent, ages, memory.detected[u], memory.tired[u])
