"""Sums on one thread: the number of cores decides nothing."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from gems_gym.common.threads import one_thread
from gems_gym.embeddings.co_click import session_factors
from gems_gym_agents.ope.terms import Terms

NUM_ITEMS = 1_000


def threads() -> list[int]:
    np.linalg.eigvalsh(np.eye(3))
    return [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]


def test_one_thread_in_the_block_and_as_many_as_before_behind_it() -> None:
    before = threads()
    with one_thread():
        assert set(threads()) == {1}
        with one_thread():
            assert set(threads()) == {1}
        assert set(threads()) == {1}
    assert threads() == before
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert threads() == before


class Log(NamedTuple):
    slates: NDArray[np.int32]
    clicks: NDArray[np.int8]


def log() -> Log:
    rng = np.random.default_rng(0)
    slates = rng.integers(NUM_ITEMS, size=(3_000, 20, 10)).astype(np.int32)
    return Log(slates, (rng.random(slates.shape) < 0.3).astype(np.int8))


def estimates() -> NDArray[np.float64]:
    rng = np.random.default_rng(0)
    counts = rng.integers(3, size=(1_000, 10_000)).astype(np.float64)
    return Terms(rng.random((10_000, 10)), None, None).resampled(counts)


PARTS: dict[str, Callable[[], NDArray[np.float64]]] = {
    "co_clicks": lambda: session_factors(log(), NUM_ITEMS, 20).vectors,
    "estimates": estimates,
}


@pytest.mark.parametrize("part", sorted(PARTS))
def test_the_number_of_threads_decides_nothing(part: str) -> None:
    found = []
    for count in (1, 2):
        with threadpool_limits(count):
            found.append(PARTS[part]())
    np.testing.assert_array_equal(found[0], found[1])
