"""Item embeddings from clicks alone: items clicked in the same slate, or by the same people, are alike."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from scipy.sparse.linalg import ArpackError, eigsh

from gems_gym.common.checks import Count, Units, checked_arguments
from gems_gym.common.machine import check_fits_memory
from gems_gym.common.threads import one_thread
from gems_gym.embeddings.base import (
    DEFAULT_SIZE,
    ClickLog,
    EmbeddingKind,
    LogRecipe,
    Sources,
    clicked_items,
    unit_scale,
)


@checked_arguments
@one_thread()
def co_click_embeddings(log: ClickLog, num_items: Count, size: Units = DEFAULT_SIZE) -> NDArray[np.float32]:
    """Factorises the positive pointwise mutual information (PPMI) of items clicked in the same slate.

    With ``n(i, j)`` how often i and j were clicked in the same slate, PPMI is ``max(0, log n(i, j) n(·, ·) /
    (n(i, ·) n(·, j)))``, and 0 where i = j: how much more often two items are clicked together than their popularity
    explains (Levy and Goldberg, NeurIPS 2014). The embeddings are the leading eigenvectors of that symmetric matrix,
    each times the square root of its eigenvalue, so their dot products approximate it. Takes a second or two for a
    million slates and a thousand items.

    Args:
        log: Slates and the clicks on them.
        num_items: Items in the catalogue; ids are ``0 … num_items - 1``.
        size: Numbers in an embedding, in [1, num_items).

    Returns:
        float32 ``(num_items, size)``, dimensions in falling order of importance, scaled as a whole to a root mean
        square of 1. Items that were never clicked beside another one are zeros. The same log gives the same
        embeddings: the sign of each dimension is such that its largest entry in magnitude is positive.

    Raises:
        ValueError: Arrays of different shapes, unknown item ids, a size out of range, or no slate with two clicks.
    """
    if not 1 <= size < num_items:
        raise ValueError(f"size must be in [1, num_items) = [1, {num_items}), got {size}")
    counts = co_clicks(log, num_items, row_axes=log.slates.ndim - 1)
    information = np.maximum(mutual_information(counts), 0)
    eigenvalues, vectors = _leading_by_arpack(information, size)
    embeddings = with_signs(vectors * np.sqrt(np.maximum(eigenvalues, 0)))  # (num_items, size)
    embeddings[information.sum(axis=1) == 0] = 0  # rather than the solver's rounding errors
    return unit_scale(embeddings)


@checked_arguments
def session_co_click_embeddings(
    log: ClickLog, num_items: Count, size: Units = DEFAULT_SIZE
) -> NDArray[np.float32]:
    """Factor analysis of which items are clicked by the same people, in sessions of random slates.

    ``n(i, j)`` is the number of sessions in which both i and j were clicked, at least 1. Its pointwise mutual
    information is, where people differ in what they like along a few dimensions, nearly a product of item vectors
    (Levy and Goldberg, NeurIPS 2014, without clipping at 0: here what people avoid together tells as much), which its
    leading eigenvectors give.

    Slates must have been drawn at random: a policy that chooses shows items together for reasons of its own. The
    512,000 sessions of 20 slates that :data:`SESSION_CO_CLICK` asks for take half a minute to play and two seconds to
    analyse.

    Args:
        log: Slates and clicks; the first axis is the session.
        num_items: Items in the catalogue; ids are ``0 … num_items - 1``.
        size: Numbers in an embedding, in [1, num_items).

    Returns:
        float32 ``(num_items, size)``, scaled as a whole to a root mean square of 1. Items that were never clicked
        beside another one are zeros. The same log gives the same embeddings: the sign of each dimension is such that
        its largest entry in magnitude is positive.

    Raises:
        ValueError: Arrays of different shapes, unknown item ids, a size out of range, or no session with two clicks.
    """
    if not 1 <= size < num_items:
        raise ValueError(f"size must be in [1, num_items) = [1, {num_items}), got {size}")
    return session_factors(log, num_items, size + 1).embeddings(size)


class SessionFactors(NamedTuple):
    """What :func:`session_co_click_embeddings` chooses from: the leading eigenvectors of co-clicks in sessions."""

    eigenvalues: NDArray[np.float64]  # (count,), falling
    vectors: NDArray[np.float64]  # (num_items, count)
    known: NDArray[np.bool_]  # (num_items,), whether an item was clicked beside another one

    def embeddings(self, size: int) -> NDArray[np.float32]:
        """Embeddings from the first ``size`` factors, of which there must be one more: ``(num_items, size)``."""
        # What the first eigenvalue left out has is noise, and so is as much of each that is kept (as in probabilistic
        # PCA). The fourth root, between the square root and 1, takes back part of how much more people differ along
        # some dimensions than along others: nearest to the simulator's own embeddings in every world tried.
        weights = np.maximum(self.eigenvalues[:size] - self.eigenvalues[size], 0) ** 0.25
        embeddings = with_signs(self.vectors[:, :size] * weights)
        embeddings[~self.known] = 0  # rather than the solver's rounding errors
        return unit_scale(embeddings)


@one_thread()
def session_factors(log: ClickLog, num_items: int, count: int) -> SessionFactors:
    """The leading factors of which items are clicked by the same people; see :func:`session_co_click_embeddings`.

    Args:
        log: Slates and clicks; the first axis is the session.
        num_items: Items in the catalogue.
        count: How many factors, in [1, num_items].

    Raises:
        ValueError: Arrays of different shapes, unknown item ids, or no session with two clicks.
    """
    counts = co_clicks(log, num_items, row_axes=1)
    known: NDArray[np.bool_] = counts.sum(axis=1) > 0
    together = np.where(np.outer(known, known), np.maximum(counts, 1), 0)
    np.fill_diagonal(together, 0)
    return SessionFactors(*leading_eigenvectors(mutual_information(together), count), known)


def co_clicks(log: ClickLog, num_items: int, row_axes: int) -> NDArray[np.float64]:
    """How often two different items were both clicked in one row (a slate or a session) of a log.

    Rows of slates count pairs of clicks: an item clicked in two slots of a slate, as random slates that repeat items
    have, counts twice. Rows of sessions count sessions, however often either item was clicked in them.

    Args:
        log: Slates and clicks.
        num_items: Items in the catalogue.
        row_axes: How many leading axes of the arrays make up a row: all but the slots' for slates, one for sessions.

    Returns:
        float64 ``(num_items, num_items)``, symmetric, 0 on the diagonal.

    Raises:
        ValueError: Arrays of different shapes, unknown item ids, or no row with clicks on two items.
    """
    # as float64, and what is made of them
    check_fits_memory(f"counting co-clicks of num_items={num_items} items", 4 * 8 * num_items**2)
    rows, items, num_rows = clicked_items(log, num_items, row_axes)
    row = "slate" if row_axes == log.slates.ndim - 1 else "session"
    shape = (num_rows, num_items)
    clicked = sparse.csr_array((np.ones(len(rows), dtype=np.float32), (rows, items)), shape=shape)
    if row == "session":
        clicked.data[:] = 1
    counts = np.asarray((clicked.T @ clicked).todense(), dtype=np.float64)
    np.fill_diagonal(counts, 0)
    if not counts.any():
        raise ValueError(
            f"log holds no {row} with clicks on two different items: there is nothing to learn from"
        )
    return counts


def mutual_information(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pointwise mutual information ``log n(i, j) n(·, ·) / (n(i, ·) n(·, j))`` of co-clicks, 0 where they are 0."""
    totals = counts.sum(axis=1)
    together = counts > 0
    information = np.zeros_like(counts)
    expected = np.outer(totals, totals) / totals.sum()
    information[together] = np.log(counts[together] / expected[together])
    return information


def _leading_by_arpack(
    matrix: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """As :func:`leading_eigenvectors`, with ARPACK's rounding errors.

    Training of a GeMS ranker that starts from these embeddings turns their last bits into other weights, and the
    shipped rankers were made with ARPACK.
    """
    subspace = min(len(matrix), max(2 * count + 1, 20))  # ARPACK's own choice
    if np.count_nonzero(matrix.any(axis=1)) < subspace:
        # ARPACK would fill it up with random vectors, other ones at each call.
        return leading_eigenvectors(matrix, count)
    try:
        # Fixed, as ARPACK draws its first vector otherwise, and more where there are few distinct eigenvalues.
        start, rng = np.ones(len(matrix)), np.random.default_rng(0)
        eigenvalues, vectors = eigsh(matrix, k=count, which="LA", v0=start, rng=rng)
    except ArpackError:  # it gives up on some logs of few clicks
        return leading_eigenvectors(matrix, count)
    return eigenvalues[::-1], vectors[:, ::-1]


def leading_eigenvectors(
    matrix: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest eigenvalues of a symmetric matrix, falling, and their eigenvectors, ``(num_items, count)``."""
    eigenvalues, vectors = linalg.eigh(matrix, subset_by_index=(len(matrix) - count, len(matrix) - 1))
    return eigenvalues[::-1], vectors[:, ::-1]


def with_signs(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Embeddings with the largest entry in magnitude of each dimension positive: solvers choose signs at will."""
    strongest = np.abs(embeddings).argmax(axis=0)
    return embeddings * np.where(embeddings[strongest, np.arange(embeddings.shape[1])] < 0, -1.0, 1.0)


def _by_slate(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    assert sources.log is not None
    return co_click_embeddings(sources.log, sources.num_items, size or DEFAULT_SIZE)


def _by_session(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    assert sources.log is not None
    return session_co_click_embeddings(sources.log, sources.num_items, size or DEFAULT_SIZE)


CO_CLICK = EmbeddingKind(_by_slate, needs="log")
"""Items clicked in the same slate are alike."""

# Short sessions: later in a session, boredom and drift blur what a user likes.
SESSION_CO_CLICK = EmbeddingKind(
    _by_session, needs="log", log_recipe=LogRecipe(policy="random", sessions=512_000, session_length=20)
)
"""Items that the same people click are alike, whatever they were shown beside."""
