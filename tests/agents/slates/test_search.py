"""The three searches find a best slate, by brute force over all of them."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gems_gym_agents.slates.search import SEARCHES

NUMBERS = st.floats(-5, 5, width=32, allow_subnormal=False)
CHANCES = st.floats(0, 1, width=32, allow_subnormal=False)


@pytest.mark.parametrize("name", SEARCHES)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_slate_is_better(name: str, data: st.DataObject) -> None:
    num_items, slate_size = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    slate_size = min(slate_size, num_items)
    values = data.draw(arrays(np.float32, (2, num_items), elements=NUMBERS))
    propensities = data.draw(arrays(np.float32, slate_size, elements=CHANCES))
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
