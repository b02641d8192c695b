"""The numbers of a world model as compiled code reads them: click probabilities, and how tired clicks make a user."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import copy_into
from gems_gym.common.compilation import compiled, inlined
from gems_gym_agents.world_model.model import WorldModel

_LEAST = 0.02
"""Relevance is taken to be in [_LEAST, 1 − _LEAST]: the model is never sure."""
_NOT_TIRED = 0.005
"""Share of a group's effect on the query that is left out."""


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
def uncrowded_share(numbers: Numbers, slate: NDArray[np.int64], counts: NDArray[np.int64]) -> float:
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
def click_chance(
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
def click_chances(
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
        uncrowded = uncrowded_share(numbers, slates[n], counts)
        for s in range(slates.shape[1]):
            for p in range(len(atoms)):
                found[n, s, p] = click_chance(numbers, asked[p], tired, slates[n, s], s, uncrowded)
    return found


@inlined
def detect_tiredness(
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
