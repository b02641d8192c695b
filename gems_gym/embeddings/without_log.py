"""Item embeddings that need no log: drawn at random, out of a pretrained belief, or the simulator's own."""

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts import ArtifactError, load_artifact, shipped
from gems_gym.common.checks import Count, Seed, Units, checked_arguments
from gems_gym.embeddings.base import DEFAULT_SIZE, EmbeddingKind, Sources, check_catalog


@checked_arguments
def scratch_embeddings(num_items: Count, size: Units = DEFAULT_SIZE, seed: Seed = 0) -> NDArray[np.float32]:
    """Independent N(0, 1) numbers, float32 ``(num_items, size)``, as torch initialises an embedding layer."""
    return np.random.default_rng(seed).standard_normal((num_items, size), dtype=np.float32)


def _scratch(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    return scratch_embeddings(sources.num_items, size or DEFAULT_SIZE, seed)


def _of_belief(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
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


def _ideal(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    true = np.asarray(sources.true_embeddings)
    if true.ndim != 2 or true.shape[0] != sources.num_items or size not in (None, true.shape[1]):
        raise ValueError(
            f"ideal embeddings are the simulator's own, of shape {true.shape}; ({sources.num_items}, "
            f"{'size' if size is None else size}) was asked for"
        )
    return true.astype(np.float32)


SCRATCH = EmbeddingKind(_scratch, needs="num_items")
"""They know nothing: a start for those that are learned with a model."""

BELIEF = EmbeddingKind(_of_belief, needs="belief")
"""What helped a belief encoder to predict clicks."""

IDEAL = EmbeddingKind(_ideal, needs="true_embeddings", privileged=True)
"""What no recommender knows: an upper bound for those that are learned."""
