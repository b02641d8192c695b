"""Item embeddings out of a pretrained belief encoder: what helped it to predict clicks."""

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts import ArtifactError, load_artifact, shipped
from gems_gym.embeddings.base import EmbeddingKind, Sources, check_catalog


def _make(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    assert sources.belief is not None
    artifact = load_artifact(shipped.path(sources.belief, "belief"), "belief")
    check_catalog(
        f"{artifact.path} (a {artifact.kind})", artifact.header.get("catalog_hash"), sources.catalog_hash
    )
    vectors = artifact.tensors.get("item_embeddings")
    if vectors is None:
        raise ArtifactError(f"{artifact.path}, a {artifact.kind}, holds no item_embeddings")
    if vectors.ndim != 2 or vectors.shape[0] != sources.num_items or size not in (None, vectors.shape[1]):
        raise ValueError(
            f"the belief's item embeddings in {artifact.path} have shape {vectors.shape}; "
            f"({sources.num_items}, {'size' if size is None else size}) was asked for"
        )
    return vectors.astype(np.float32)


KIND = EmbeddingKind(_make, needs="belief")
"""What the entry point names."""
