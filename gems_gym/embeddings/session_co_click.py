"""Item embeddings from clicks alone: items that the same people click are alike, whatever they were shown beside."""

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Units, checked_arguments
from gems_gym.embeddings.base import DEFAULT_SIZE, ClickLog, EmbeddingKind, LogRecipe, Sources, unit_scale
from gems_gym.embeddings.co_click import co_clicks, leading_eigenvectors, mutual_information, with_signs


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
    512,000 sessions of 20 slates that :data:`KIND` asks for take half a minute to play and two seconds to analyse.

    Args:
        log: slates and clicks; the first axis is the session.
        num_items: items in the catalogue; ids are ``0 … num_items - 1``.
        size: numbers in an embedding, in [1, num_items).

    Returns:
        float32 ``(num_items, size)``, scaled as a whole to a root mean square of 1. Items that were never clicked
        beside another one are zeros. The same log gives the same embeddings: the sign of each dimension is such that
        its largest entry in magnitude is positive.

    Raises:
        ValueError: arrays of different shapes, unknown item ids, a size out of range, or no session with two clicks.
    """
    if not 1 <= size < num_items:
        raise ValueError(f"size must be in [1, num_items) = [1, {num_items}), got {size}")
    counts = co_clicks(log, num_items, row_axes=1)
    known = counts.any(axis=1)
    together = np.where(np.outer(known, known), np.maximum(counts, 1), 0)
    np.fill_diagonal(together, 0)
    eigenvalues, vectors = leading_eigenvectors(mutual_information(together), size + 1)
    # What the first eigenvalue left out has is noise, and so is as much of each that is kept (as in probabilistic
    # PCA). The fourth root, between the square root and 1, takes back part of how much more people differ along some
    # dimensions than along others: nearest to the simulator's own embeddings in every world tried.
    weights = np.maximum(eigenvalues[:size] - eigenvalues[size], 0) ** 0.25
    embeddings = with_signs(vectors[:, :size] * weights)  # (num_items, size)
    embeddings[~known] = 0  # rather than the solver's rounding errors
    return unit_scale(embeddings)


def _make(sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
    assert sources.log is not None
    return session_co_click_embeddings(sources.log, sources.num_items, size or DEFAULT_SIZE)


# Short sessions: later in a session, boredom and drift blur what a user likes.
KIND = EmbeddingKind(
    _make, needs="log", log_recipe=LogRecipe(policy="random", sessions=512_000, session_length=20)
)
"""What the entry point names."""
