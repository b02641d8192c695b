"""Item embeddings that know nothing: a start for those that are learned with a model."""

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Seed, Units, checked_arguments
from gems_gym.embeddings.base import DEFAULT_SIZE, EmbeddingKind, Sources


@checked_arguments
def scratch_embeddings(num_items: Count, size: Units = DEFAULT_SIZE, seed: Seed = 0) -> NDArray[np.float32]:
    """Independent N(0, 1) numbers, float32 ``(num_items, size)``, as torch initialises an embedding layer."""
    return np.random.default_rng(seed).standard_normal((num_items, size), dtype=np.float32)


def _make(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    return scratch_embeddings(sources.num_items, size or DEFAULT_SIZE, seed)


KIND = EmbeddingKind(_make, needs="num_items")
"""What the entry point names."""
