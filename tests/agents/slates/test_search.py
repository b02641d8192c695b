"""The three searches find a best slate, by brute force over all of them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym_agents.slates.search import SEARCHES

QUARTERS = st.integers(-8, 8)
"""Values in quarters, so that items are often equal."""


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Values of up to five items, and propensities of up to three positions."""
    values = draw(st.lists(QUARTERS, min_size=1, max_size=5))
    eighths = draw(st.lists(st.integers(0, 8), min_size=1, max_size=min(3, len(values))))
    return np.array([values, values[::-1]], np.float32) / 4, np.array(eighths, np.float32) / 8


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
@settings(max_examples=40, deadline=None)
@given(world=worlds())
def test_no_slate_is_better(name: str, world: tuple[np.ndarray, np.ndarray]) -> None:
    values, propensities = world
    num_items, slate_size = values.shape[1], len(propensities)
    slates = SEARCHES[name](values, propensities)
    assert slates.shape == (2, slate_size) and slates.dtype == np.int64
    for slate, worth in zip(slates, values.astype(float), strict=True):
        assert len(set(slate.tolist())) == slate_size
        every = [propensities @ worth[list(one)] for one in permutations(range(num_items), slate_size)]
        assert propensities @ worth[slate] == pytest.approx(max(every), abs=1e-5)


@pytest.mark.parametrize("name", SEARCHES)
def test_better_items_stand_where_users_look(name: str) -> None:
    slates = SEARCHES[name](np.array([[1, 5, 3, 4]], np.float32), np.array([0.2, 0.9, 0.5], np.float32))
    assert slates.tolist() == [[2, 1, 3]]


def test_of_equal_items_the_lower_id_comes_first() -> None:
    for name in ("top_k", "greedy"):
        slates = SEARCHES[name](np.ones((1, 4), np.float32), np.array([0.5, 0.5], np.float32))
        assert slates.tolist() == [[0, 1]]
