"""The interval that goes with every mean of returns."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit


def t_interval(values: NDArray[np.float64], confidence: float = 0.95) -> float:
    """Half-width of the t-interval of a mean; infinite for fewer than two values."""
    count = len(values)
    if count < 2:
        return float("inf")
    standard_error = float(values.std(ddof=1)) / count**0.5
    found: float = float(stdtrit(count - 1, 0.5 + confidence / 2)) * standard_error
    return found
