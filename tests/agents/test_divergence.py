"""When a training has run away, on histories that are made up; real ones are in ``test_offline.py``."""

from __future__ import annotations

import math

import pytest

from gems_gym_agents.base import DivergedError
from gems_gym_agents.offline.divergence import check_sane

BOUND = 4.0


def look(shares: list[float], every: int = 1_000) -> None:
    """Look at a training whose |Q| is these shares of its bound, as the training does: after each epoch."""
    history: list[dict[str, float]] = []
    for number, share in enumerate(shares, start=1):
        history.append({"step": number * every, "loss": 0.1, "q_abs_max": share * BOUND, "q_bound": BOUND})
        check_sane(history)


@pytest.mark.parametrize(
    "shares",
    [
        [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995],  # grows towards the bound
        [0.5, 1.2, 1.4, 1.3, 1.4, 1.3, 1.4, 1.3, 1.4, 1.3, 1.4],  # a little over it
        [3.0, 4.0, 3.0, 2.5, 2.1, 1.9, 1.5, 1.2, 1.1, 1.0, 0.9],  # far over it in the beginning
        [0.5, 2.5, 3.0, 1.9, 2.5, 3.0, 1.9, 2.5, 3.0, 1.9, 2.5],  # far over it now and then
        [0.5, 1.1, 1.5, 1.7, 1.8, 1.86, 1.9, 1.93, 1.95, 1.97, 1.98],  # levels off beyond it
        [0.9, 1.1, 1.5, 1.9, 2.1, 2.3, 1.9, 2.0, 2.1, 2.2, 1.8],  # grows, and falls again
        [0.0, 9.9],
    ],
)
def test_these_go_on(shares: list[float]) -> None:
    look(shares)


@pytest.mark.parametrize(
    ("shares", "step", "words"),
    [
        ([0.5, 10.1], 2_000, r"reaches 40\.4, over 10 times the bound 4 = max .scaled reward. "),
        ([2.1] * 20, 6_000, "reaches 8.4, for 5000 updates over 2 times the bound"),
        ([0.5, 0.5, 1.9, 2.5, 2.2, 2.5, 2.2, 2.5, 2.2, 2.5], 9_000, "for 5000 updates over 2 times"),
        ([0.5, 1.1, 1.3, 1.5, 1.7, 1.9, 2.3], 7_000, "for 5000 updates growing beyond the bound 4 = max"),
        ([1.02**number for number in range(90)], 38_000, "for 5000 updates growing beyond the bound"),
    ],
)
def test_these_stop(shares: list[float], step: int, words: str) -> None:
    with pytest.raises(DivergedError, match=rf"step {step}: \|Q\| .*{words}.*lower gamma"):
        look(shares)


@pytest.mark.parametrize(("every", "looks"), [(100, 51), (2_000, 4), (5_000, 2), (20_000, 2)])
def test_updates_count_not_looks(every: int, looks: int) -> None:
    look([3.0] * (looks - 1), every)
    with pytest.raises(DivergedError, match="for 5000 updates over 2 times"):
        look([3.0] * looks, every)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite(value: float) -> None:
    with pytest.raises(DivergedError, match=f"step 10: critic_loss is {value}; training has diverged"):
        check_sane([{"step": 10, "critic_loss": value}])


def test_agents_without_values_and_datasets_without_rewards() -> None:
    check_sane([{"step": 10, "loss": 1e9}])
    with pytest.raises(DivergedError, match="over 10 times the bound 0"):
        check_sane([{"step": 10, "q_abs_max": 0.1, "q_bound": 0.0}])
