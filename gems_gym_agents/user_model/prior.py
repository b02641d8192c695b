"""New users as a set of vectors that are equally likely, learned from the first steps of logged sessions."""

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.user_model.axes import block_norms
from gems_gym_agents.user_model.belief import ParticleBelief
from gems_gym_agents.user_model.logs import Log
from gems_gym_agents.user_model.model import UserModel

_STEPS, _SESSIONS_A_ROUND, _TOGETHER = 10, 600, 100
_NOISE = (0.5, 0.4, 0.3, 0.25)
"""Of each round, on the logarithms: shrinking, so that the prior settles."""
_WIDE = 1.2
"""Spread of the topics' weights, on the logarithm, before anything is known."""


def learn_prior(model: UserModel, log: Log, num_atoms: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Which users to expect.

    In each round every session's user is drawn from what its first clicks leave of the atoms, and these users, with a
    little noise, are the next atoms: an expectation–maximisation by draws.

    Args:
        model: All numbers but the prior.
        log: Sessions; each round takes new ones, from the first on again when there are no more.
        num_atoms: How many vectors.
        rng: Draws users and noise.

    Returns:
        float64 ``(num_atoms, size)``, block norms adding up to 1.
    """
    atoms = _normalised(
        np.exp(_of_topics(model, rng, num_atoms, _WIDE)) * rng.random((num_atoms, model.items.shape[1])),
        model.topic_size,
    )
    for number, noise in enumerate(_NOISE):
        sessions = (number * _SESSIONS_A_ROUND + np.arange(_SESSIONS_A_ROUND)) % len(log)
        log_weights = _explained(model.with_prior(atoms), log[sessions], rng)  # (sessions, num_atoms)
        weights = np.exp(log_weights - log_weights.max(axis=1, keepdims=True))
        shares = weights.cumsum(axis=1) / weights.sum(axis=1, keepdims=True)
        drawn = (shares > rng.random((len(shares), 1))).argmax(axis=1)
        noises = _of_topics(model, rng, num_atoms, noise) + rng.normal(0, noise, atoms.shape)
        atoms = _normalised(atoms[np.resize(drawn, num_atoms)] * np.exp(noises), model.topic_size)
    return atoms


def _of_topics(model: UserModel, rng: np.random.Generator, count: int, spread: float) -> NDArray[np.float64]:
    """Normal numbers, the same for all numbers of a block: ``(count, size)``."""
    return np.repeat(rng.normal(0, spread, (count, model.num_topics)), model.topic_size, axis=1)


def _normalised(atoms: NDArray[np.float64], topic_size: int) -> NDArray[np.float64]:
    scaled: NDArray[np.float64] = atoms / block_norms(atoms, topic_size).sum(axis=1, keepdims=True)
    return scaled


def _explained(model: UserModel, log: Log, rng: np.random.Generator) -> NDArray[np.float64]:
    """How well each atom explains the first steps of each session, on the logarithm."""
    belief = ParticleBelief(model, None, rng)
    found = []
    for first in range(0, len(log), _TOGETHER):
        part = log[first : first + _TOGETHER]
        state = belief.initial(len(part))
        for step in range(min(_STEPS + 1, part.slates.shape[1])):
            slates, clicks = (array[:, step].astype(np.int64) for array in (part.slates, part.clicks))
            state = belief.update(state, slates, clicks)
        found.append(state.log_weights)
    return np.concatenate(found)
