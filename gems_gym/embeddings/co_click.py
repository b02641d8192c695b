"""Item embeddings from clicks alone: items clicked in the same slate are alike."""

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from gems_gym.embeddings.base import (
    DEFAULT_SIZE,
    ClickLog,
    EmbeddingKind,
    Sources,
    clicked_items,
    unit_scale,
)


def co_click_embeddings(log: ClickLog, num_items: int, size: int = DEFAULT_SIZE) -> NDArray[np.float32]:
    """Factorises the positive pointwise mutual information (PPMI) of items clicked in the same slate.

    With ``n(i, j)`` the number of slates in which both i and j were clicked, PPMI is ``max(0, log n(i, j) n(·, ·) /
    (n(i, ·) n(·, j)))``, and 0 where i = j: how much more often two items are clicked together than their popularity
    explains (Levy and Goldberg, NeurIPS 2014). The embeddings are the leading eigenvectors of that symmetric matrix,
    each times the square root of its eigenvalue, so their dot products approximate it. Takes a second or two for a
    million slates and a thousand items.

    Args:
        log: slates and the clicks on them.
        num_items: items in the catalogue; ids are ``0 … num_items - 1``.
        size: numbers in an embedding, in [1, num_items).

    Returns:
        float32 ``(num_items, size)``, dimensions in falling order of importance, scaled as a whole to a root mean
        square of 1. Items that were never clicked beside another one are zeros. The same log gives the same
        embeddings: the sign of each dimension is such that its largest entry in magnitude is positive.

    Raises:
        ValueError: arrays of different shapes, unknown item ids, a size out of range, or no slate with two clicks.
    """
    if not 1 <= size < num_items:
        raise ValueError(f"size must be in [1, num_items) = [1, {num_items}), got {size}")
    information = _ppmi(_co_clicks(log, num_items))
    # LAPACK, as the matrix is dense anyway: ARPACK gives up on some logs of few clicks.
    eigenvalues, vectors = linalg.eigh(information, subset_by_index=(num_items - size, num_items - 1))
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    strongest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[strongest, np.arange(size)])
    embeddings = vectors * signs * np.sqrt(np.maximum(eigenvalues, 0))  # (num_items, size)
    embeddings[information.sum(axis=1) == 0] = 0  # rather than the solver's rounding errors
    return unit_scale(embeddings)


def _co_clicks(log: ClickLog, num_items: int) -> NDArray[np.float64]:
    """In how many slates two different items were both clicked, ``(num_items, num_items)``."""
    slate, items, num_slates = clicked_items(log, num_items, row_axes=log.slates.ndim - 1)
    shape = (num_slates, num_items)
    clicked = sparse.csr_array((np.ones(len(slate), dtype=np.float32), (slate, items)), shape=shape)
    counts = np.asarray((clicked.T @ clicked).todense(), dtype=np.float64)
    np.fill_diagonal(counts, 0)
    if not counts.any():
        raise ValueError(
            "log holds no slate with clicks on two different items: there is nothing to learn from"
        )
    return counts


def _ppmi(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    totals = counts.sum(axis=1)
    together = counts > 0
    information = np.zeros_like(counts)
    expected = np.outer(totals, totals) / totals.sum()
    information[together] = np.log(counts[together] / expected[together])
    return np.maximum(information, 0)


def _make(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    assert sources.log is not None
    return co_click_embeddings(sources.log, sources.num_items, size or DEFAULT_SIZE)


KIND = EmbeddingKind(_make, needs="log")
"""What the entry point names."""
