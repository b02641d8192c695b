"""The simulator's own item embeddings: privileged, an upper bound for those that are learned."""

import numpy as np
from numpy.typing import NDArray

from gems_gym.embeddings.base import EmbeddingKind, Sources


def _make(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    true = np.asarray(sources.true_embeddings)
    if true.ndim != 2 or true.shape[0] != sources.num_items or size not in (None, true.shape[1]):
        raise ValueError(
            f"ideal embeddings are the simulator's own, of shape {true.shape}; ({sources.num_items}, "
            f"{'size' if size is None else size}) was asked for"
        )
    return true.astype(np.float32)


KIND = EmbeddingKind(_make, needs="true_embeddings", privileged=True)
"""What the entry point names."""
