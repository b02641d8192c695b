"""Small computations on arrays that several parts share."""

from typing import Any

import numpy as np
from numba.extending import intrinsic
from numpy.typing import NDArray
from scipy.special import stdtrit

from gems_gym.common.compilation import compiled, inlined


def t_interval(values: NDArray[np.float64], confidence: float = 0.95) -> float:
    """Half-width of the t-interval of a mean; infinite for fewer than two values."""
    count = len(values)
    if count < 2:
        return float("inf")
    standard_error = float(values.std(ddof=1)) / count**0.5
    found: float = float(stdtrit(count - 1, 0.5 + confidence / 2)) * standard_error
    return found


def held_out_of(count: int, share: float) -> int:
    """How many of ``count`` are held out: a share of them, at least one, and not all."""
    return min(max(1, round(share * count)), count - 1)


@inlined
def copy_into(target: NDArray[Any], source: NDArray[Any]) -> None:
    """``target[:] = source``, both ``(n,)``: compiling that takes two seconds, most of them for its error's text."""
    for index in range(target.shape[0]):
        target[index] = source[index]


def first_unused(candidates: NDArray[np.int64], used: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each row's first candidate that is not used, ``(N, C)`` and ``(N, U)`` to ``(N,)``, where C > U."""
    found: NDArray[np.int64] = (candidates[:, :, None] == used[:, None]).any(axis=2).argmin(axis=1)
    return candidates[np.arange(len(candidates)), found]


@compiled
def best_items(scores: NDArray[np.floating[Any]], best: NDArray[np.int64]) -> int:
    """Write the items with the highest scores, best first, the lower id first among equals; returns how many."""
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
    return count


def _larger_type_and_code(typing_context: Any, x: Any, y: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        is_larger = builder.fcmp_ordered(">", *arguments, flags=_NO_NAN)
        return builder.select(is_larger, *arguments, flags=_NO_NAN)

    return x(x, x), code


_NO_NAN = ("nnan", "nsz")

larger: Any = intrinsic(_larger_type_and_code)
"""The larger of two floating-point numbers of the same type, neither of them NaN, signs of zeros ignored: a loop over
it uses vector instructions, which one over ``max`` does not."""


@compiled
def largest(values: NDArray[np.floating[Any]]) -> float:
    """The maximum; there is no NaN among the values, and the sign of a zero may be either."""
    found: float = values[0]
    for index in range(values.size):
        found = larger(values[index], found)
    return found


@inlined
def weigh_by_score(scores: NDArray[np.float64], temperature: float, weights: NDArray[np.float64]) -> None:
    """Write the weights of a softmax, ``(n,)``, the largest 1; those of a score of −∞ are 0."""
    top = largest(scores)
    for index in range(scores.size):
        weights[index] = np.exp((scores[index] - top) / temperature)


@inlined
def drawn_by_weight(weights: NDArray[np.float64], point: float) -> int:
    """The index at which the weights, ≥ 0, added up from the front, exceed a point; never one of weight 0.

    The last one of any weight, if rounding leaves a little over; −1 where all are 0.
    """
    found = -1
    for index in range(weights.size):
        if weights[index] > 0.0:
            found = index
            point -= weights[index]
            if point < 0.0:
                break
    return found


@compiled
def first_largest(values: NDArray[np.floating[Any]]) -> int:
    """Where the maximum stands, the first of equals."""
    wanted = largest(values)
    for index in range(values.size):
        if values[index] == wanted:
            return index
    return -1
