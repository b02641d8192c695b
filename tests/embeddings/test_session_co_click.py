"""gems_gym.embeddings.co_click: items that the same people click are near each other, along few dimensions."""

import numpy as np
import pytest

from gems_gym.embeddings import co_click_embeddings, session_co_click_embeddings
from tests.embeddings.grouped_log import Log

NUM_ITEMS = 61


def session_log(num_sessions: int = 4000, seed: int = 0) -> tuple[Log, np.ndarray]:
    """Sessions of people who each like some of three tastes, and what items have of them, ``(60, 3)``.

    Slates hold one item, so no slate says anything of two items. Item 60 is never clicked.
    """
    rng = np.random.default_rng(seed)
    tastes = rng.dirichlet(np.full(3, 0.3), size=60)  # (60, 3) most items have one of them
    people = rng.gamma(1.0, size=(num_sessions, 3))
    slates = rng.integers(0, NUM_ITEMS, (num_sessions, 60, 1))
    liked = np.append(people @ tastes.T, np.zeros((num_sessions, 1)), axis=1) / 6  # (num_sessions, 61)
    chances = np.take_along_axis(liked, slates[:, :, 0], axis=1)[:, :, None]
    return Log(slates, (rng.random(chances.shape) < chances).astype(np.int64)), tastes


def test_items_of_like_tastes_are_near() -> None:
    log, tastes = session_log()
    found = _cosines(session_co_click_embeddings(log, NUM_ITEMS, size=2)[:60])
    true = _cosines(tastes - tastes.mean(axis=0))  # two dimensions, as shares add up to 1
    assert np.corrcoef(found, true)[0, 1] > 0.9


def _cosines(vectors: np.ndarray) -> np.ndarray:
    """Of all pairs of vectors."""
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (directions @ directions.T)[np.triu_indices(len(vectors), 1)]


def test_what_is_shown_alone_says_something_here_only() -> None:
    log, _ = session_log(500)
    assert session_co_click_embeddings(log, NUM_ITEMS, size=2).any()
    with pytest.raises(ValueError, match="no slate with clicks on two different items"):
        co_click_embeddings(log, NUM_ITEMS, size=2)


def test_shape_scale_zeros_and_signs() -> None:
    embeddings = session_co_click_embeddings(session_log()[0], NUM_ITEMS, size=5)
    assert embeddings.shape == (NUM_ITEMS, 5) and embeddings.dtype == np.float32
    np.testing.assert_array_equal(embeddings[60], 0)
    assert np.mean(embeddings**2) == pytest.approx(1, abs=1e-5)
    strongest = np.abs(embeddings).argmax(axis=0)
    assert (embeddings[strongest, np.arange(5)] > 0).all()
    np.testing.assert_array_equal(
        embeddings, session_co_click_embeddings(session_log()[0], NUM_ITEMS, size=5)
    )


def test_a_click_counts_once_a_session() -> None:
    log, _ = session_log(500)
    twice = Log(np.concatenate([log.slates] * 2, axis=1), np.concatenate([log.clicks] * 2, axis=1))
    np.testing.assert_array_equal(
        session_co_click_embeddings(twice, NUM_ITEMS, size=2),
        session_co_click_embeddings(log, NUM_ITEMS, size=2),
    )


def test_bad_input() -> None:
    log, _ = session_log(100)
    with pytest.raises(ValueError, match="size must be an integer from 1 to 65536, got 0"):
        session_co_click_embeddings(log, NUM_ITEMS, size=0)
    with pytest.raises(ValueError, match=r"size must be in \[1, num_items\) = \[1, 61\), got 61"):
        session_co_click_embeddings(log, NUM_ITEMS, size=61)
    with pytest.raises(ValueError, match="0 … 59 were expected"):
        session_co_click_embeddings(Log(log.slates, np.ones_like(log.clicks)), 60, size=2)
    with pytest.raises(ValueError, match="no session with clicks on two different items"):
        session_co_click_embeddings(Log(log.slates, np.zeros_like(log.clicks)), NUM_ITEMS, size=2)
