"""Item embeddings from clicks alone: items clicked in the same slate are alike."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import linalg


class ClickLog(Protocol):
    """What embeddings are made from; :class:`gems_gym.pretraining.session_log.SessionLog` is one."""

    @property
    def slates(self) -> NDArray[Any]:
        """Item ids, integer ``(..., slate_size)``."""

    @property
    def clicks(self) -> NDArray[Any]:
        """The clicks on them, same shape, 0 or 1."""


def co_click_embeddings(log: ClickLog, num_items: int, size: int = 20) -> NDArray[np.float32]:
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
    # A fixed start vector: ARPACK draws one otherwise.
    eigenvalues, vectors = linalg.eigsh(information, k=size, which="LA", v0=np.ones(num_items))
    eigenvalues, vectors = eigenvalues[::-1], vectors[:, ::-1]
    strongest = np.abs(vectors).argmax(axis=0)
    signs = np.sign(vectors[strongest, np.arange(size)])
    embeddings = vectors * signs * np.sqrt(np.maximum(eigenvalues, 0))  # (num_items, size)
    embeddings[information.sum(axis=1) == 0] = 0  # rather than the solver's rounding errors
    return (embeddings / np.sqrt(np.mean(embeddings**2))).astype(np.float32)


def _co_clicks(log: ClickLog, num_items: int) -> NDArray[np.float64]:
    """In how many slates two different items were both clicked, ``(num_items, num_items)``."""
    if log.slates.shape != log.clicks.shape:
        raise ValueError(
            f"log.slates has shape {log.slates.shape}, log.clicks {log.clicks.shape}; they must agree"
        )
    slates = log.slates.reshape(-1, log.slates.shape[-1])
    row, slot = np.nonzero(log.clicks.reshape(slates.shape))
    items = slates[row, slot]
    if items.size and not 0 <= items.min() <= items.max() < num_items:
        raise ValueError(
            f"log.slates holds the item ids {items.min()} … {items.max()}; 0 … {num_items - 1} were expected"
        )
    shape = (len(slates), num_items)
    clicked = sparse.csr_array((np.ones(len(row), dtype=np.float32), (row, items)), shape=shape)
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
