"""A log with a structure that item embeddings should find."""

from dataclasses import dataclass

import numpy as np


@dataclass
class Log:
    slates: np.ndarray
    clicks: np.ndarray


def grouped_log(seed: int = 0, num_slates: int = 20_000) -> Log:
    """Items 0-9, 10-19 and 20-29 are three groups; a session clicks the items of one. Item 30 is never clicked."""
    rng = np.random.default_rng(seed)
    slates = rng.integers(0, 31, (num_slates // 10, 10, 8))  # as sessions
    likes = rng.integers(0, 3, (num_slates // 10, 1, 1))
    clicks = (slates // 10 == likes) & (rng.random(slates.shape) < 0.8)
    return Log(slates.astype(np.int32), clicks.astype(np.uint8))


GROUPS = np.arange(31) // 10
