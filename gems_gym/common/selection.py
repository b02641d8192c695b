"""Choosing the best of many: compiled, and in the same order whatever stands beside a row."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.compilation import compiled, compiled_with


@compiled
def best_items(scores: NDArray[np.floating[Any]], best: NDArray[np.int64]) -> None:
    """Write the items with the highest scores, best first, the lower id first among equals."""
    count = 0
    for item in range(scores.shape[0]):
        if count == best.shape[0] and scores[item] <= scores[best[count - 1]]:
            continue
        position = count if count < best.shape[0] else count - 1
        while position > 0 and scores[best[position - 1]] < scores[item]:
            best[position] = best[position - 1]
            position -= 1
        best[position] = item
        count = min(count + 1, best.shape[0])


@compiled_with(nogil=True, fastmath={"nnan", "nsz"})
def largest(values: NDArray[np.floating[Any]]) -> float:
    """The maximum; the flags (no NaN, signs of zeros ignored) let the loop use vector instructions."""
    found: float = values[0]
    for value in values:
        found = max(found, value)
    return found


@compiled
def first_largest(values: NDArray[np.floating[Any]]) -> int:
    """Where the maximum stands, the first of equals."""
    wanted = largest(values)
    for index in range(values.size):
        if values[index] == wanted:
            return index
    return -1
