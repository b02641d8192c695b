"""What beliefs by particles share: how many there are, drawing them anew, and users who have not clicked yet.

Until the first click each user is one of many that are expected, all of whom are weighed by what was not clicked. Were
there but a handful of them, silence could prove all of them wrong, and such a user would never be found. So where
silence leaves few, others like them are made and weighed by all that was not clicked.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled_with, inlined

Schedule = tuple[tuple[int, int], ...]
"""(evidence, particles): from so much evidence on so many; evidence rises from 0, particles fall.

Evidence of a user are the slates and the clicks so far, but nothing until the first click: the more is known, the fewer
particles are needed.
"""

ATOMS_A_PARTICLE = 16
"""Users to expect, for each particle of a belief at its start."""
FACTORS = 32
"""So many probabilities of clicks are multiplied before a logarithm is taken: no product is too small for a float."""


def particles_by(schedule: Schedule, num_slates: int, num_clicks: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many particles each user has, ``(num_users,)``, by slates and clicks so far.

    Silence tells little of what a user likes: whoever never clicked keeps as many as at the start.
    """
    starts, numbers = np.array(schedule).T
    evidence = np.where(num_clicks > 0, num_slates + num_clicks, 0)
    found: NDArray[np.int64] = numbers[np.searchsorted(starts, evidence, side="right") - 1]
    return found


@inlined
def draw_by_weight(weights: NDArray[np.float64], sources: NDArray[np.int64]) -> None:
    """Draw particles by weight, systematically: write which one each of the new ones is a copy of, in rising order.

    Args:
        weights: Weights of those there are, ≥ 0.
        sources: The result is written here; as many as there will be.
    """
    before, after, total = weights.shape[0], sources.shape[0], weights.sum()
    reached = 0.0
    source = -1
    for p in range(after):
        while source < 0 or (reached <= (p + 0.5) / after and source < before - 1):
            source += 1
            reached += weights[source] / total
        sources[p] = source


@inlined
def more_effective(weights: NDArray[np.float64], number: float) -> bool:
    """Whether the effective number of some weights, (Σw)² / Σw², is greater than a number."""
    total = weights.sum()
    more: bool = total * total > number * (weights * weights).sum()
    return more


def weighed(
    log_weights: NDArray[np.float64],
    slates: NDArray[np.int64],
    clicks: NDArray[np.int64],
    chances: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> NDArray[np.float64]:
    """How likely each expected user is, after one more slate.

    Args:
        log_weights: Before it, ``(num_users, num_atoms)``.
        slates: ``(num_users, slate_size)``; users who never clicked mostly see the same, which is computed once.
        clicks: Same shape, 0 or 1.
        chances: Some slates, ``(num_slates, slate_size)`` -> the probability that each expected user clicks on each
            of their items, ``(num_slates, slate_size, num_atoms)``.

    Returns:
        Log weights, the largest of each user 0, ``(num_users, num_atoms)``.
    """
    shown, which = np.unique(slates, axis=0, return_inverse=True)
    found = log_weights + _evidence(chances(shown), which.reshape(-1), clicks)  # numpy 2.0 has a column here
    return np.asarray(found - found.max(axis=1, keepdims=True))


# fastmath: see likelihood.py
@compiled_with(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def _evidence(
    chances: NDArray[np.float64], which: NDArray[np.int64], clicks: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Log likelihood of the clicks, ``(num_users, num_atoms)``; ``which`` is each user's slate."""
    slate_size, num_atoms = chances.shape[1:]
    found = np.zeros((len(which), num_atoms))
    likelihood = np.empty(num_atoms)
    for u in range(len(which)):
        for s in range(slate_size):
            if s % FACTORS == 0:
                likelihood[:] = 1.0
            if clicks[u, s]:
                likelihood *= chances[which[u], s]
            else:
                likelihood *= 1.0 - chances[which[u], s]
            if s % FACTORS == FACTORS - 1 or s == slate_size - 1:
                for atom in range(num_atoms):
                    found[u, atom] += np.log(likelihood[atom])
    return found
