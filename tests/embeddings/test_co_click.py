"""gems_gym.embeddings.co_click: items clicked together are near each other."""

import numpy as np
import pytest

from gems_gym.embeddings import co_click, co_click_embeddings
from gems_gym.embeddings.co_click import co_clicks
from tests.embeddings.grouped_log import Log, grouped_log


def test_groups_are_found() -> None:
    embeddings = co_click_embeddings(grouped_log(), 31, size=3)
    assert embeddings.shape == (31, 3)
    assert embeddings.dtype == np.float32
    clicked = embeddings[:30] / np.linalg.norm(embeddings[:30], axis=1, keepdims=True)
    cosines = (clicked @ clicked.T).reshape(3, 10, 3, 10).transpose(0, 2, 1, 3)  # (group, group, item, item)
    for one in range(3):
        for other in range(3):
            if one == other:
                assert cosines[one, other].min() > 0.9
            else:
                assert cosines[one, other].max() < 0.5


def test_slates_count_pairs_of_clicks_and_sessions_count_once() -> None:
    # Two sessions of two slates; the first slate shows item 0 twice, as random slates that repeat items do.
    slates = np.array([[[0, 0, 1], [0, 1, 2]], [[2, 0, 1], [1, 2, 0]]])
    clicks = np.array([[[1, 1, 1], [1, 1, 0]], [[1, 0, 1], [0, 0, 1]]])
    log = Log(slates, clicks)
    np.testing.assert_array_equal(co_clicks(log, 3, row_axes=2), [[0, 3, 0], [3, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(co_clicks(log, 3, row_axes=1), [[0, 2, 1], [2, 0, 1], [1, 1, 0]])


def test_never_clicked_items_are_zeros_and_the_rest_has_unit_scale() -> None:
    embeddings = co_click_embeddings(grouped_log(), 31, size=3)
    np.testing.assert_array_equal(embeddings[30], 0)
    assert (np.abs(embeddings[:30]).sum(axis=1) > 0).all()
    assert np.mean(embeddings**2) == pytest.approx(1, abs=1e-5)


def test_same_log_same_embeddings() -> None:
    first, second = (co_click_embeddings(grouped_log(), 31, size=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first[np.abs(first).argmax(axis=0), np.arange(3)] > 0).all()  # signs by rule


def test_a_log_of_few_items_gives_the_same_embeddings_again() -> None:
    log = grouped_log()
    first, *others = (co_click_embeddings(log, 200, size=20) for _ in range(3))  # 30 items of 200 are clicked
    assert all(np.array_equal(first, other) for other in others)


def test_only_the_clicks_count() -> None:
    log = grouped_log()
    shuffled = np.where(log.clicks == 0, 30, log.slates)  # other items where nothing was clicked
    np.testing.assert_array_equal(
        co_click_embeddings(Log(shuffled, log.clicks), 31, size=3), co_click_embeddings(log, 31, size=3)
    )


def test_bad_input() -> None:
    log = grouped_log(num_slates=100)
    with pytest.raises(ValueError, match=r"size must be in \[1, num_items\) = \[1, 31\), got 31"):
        co_click_embeddings(log, 31, size=31)
    with pytest.raises(ValueError, match=r"0 … 29 were expected"):
        co_click_embeddings(Log(log.slates, np.ones_like(log.clicks)), 30, size=3)
    with pytest.raises(ValueError, match="no slate with clicks on two different items"):
        co_click_embeddings(Log(log.slates, np.zeros_like(log.clicks)), 31, size=3)
    with pytest.raises(ValueError, match="must agree"):
        co_click_embeddings(Log(log.slates, log.clicks[:, :5]), 31, size=3)


def test_few_distinct_eigenvalues_give_the_same_embeddings_at_each_call():
    taste = np.random.default_rng(0).random((6, 6))
    counts = np.kron(taste + taste.T, np.ones((10, 10)))  # rank 6, and every row of 60 holds something
    first, again = (co_click._leading_by_arpack(counts, 5)[1] for _ in range(2))
    np.testing.assert_array_equal(first, again)
