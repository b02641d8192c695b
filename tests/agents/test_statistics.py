"""Known answers, and what must hold of any scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from gems_gym_agents.statistics import (
    holm,
    interquartile_mean,
    mean,
    p_value_of_differences,
    probability_of_improvement,
)


def strata(*worlds):
    return [np.array(world, np.float64) for world in worlds]


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end_of_all_worlds_together():
    assert interquartile_mean(strata([0, 3, 5, 100], [1, 4, 6, 90])).value == np.mean([3, 4, 5, 6])
    assert interquartile_mean(strata([0, 3, 5, 100, 200])).value == np.mean(
        [3, 5, 100]
    )  # of 5 runs one is cut
    assert interquartile_mean(strata([7, 9])).value == 8


def test_an_outlier_moves_the_mean_and_its_interval_only():
    scores, with_outlier = strata([80, 81, 82, 83, 84]), strata([80, 81, 82, 83, 1000])
    assert interquartile_mean(scores).value == 82 == interquartile_mean(with_outlier).value
    assert mean(with_outlier).value > 200 and mean(with_outlier).high > 500


def test_runs_are_drawn_anew_within_each_world():
    """Worlds that differ much, and seeds that do not: the interval has nothing to say."""
    same = mean(strata([10, 10, 10], [90, 90, 90]))
    assert (same.low, same.value, same.high) == (50, 50, 50)
    together = mean(strata([10, 10, 10, 90, 90, 90]))
    assert together.low < 40 and together.high > 60


def test_the_interval_of_a_mean_is_about_a_normal_one():
    scores = strata(*np.random.default_rng(0).normal(50, 10, (4, 50)))
    found = mean(scores)
    half = 1.96 * np.sqrt(sum(world.var() / 50 for world in scores)) / 4
    assert found.low == pytest.approx(found.value - half, abs=0.2)
    assert found.high == pytest.approx(found.value + half, abs=0.2)
    assert mean(scores) == found  # the same scores, the same resamples


def test_one_run_has_no_interval():
    found = interquartile_mean(strata([3, 4], [5]))
    assert (found.value, found.low, found.high) == (4, None, None)


def test_the_probability_of_improvement_counts_pairs_within_worlds():
    # 1 beats 0, ties with 1: 1.5 of 2 pairs; 3 beats 0 and 1. In the second world the first always loses.
    found = probability_of_improvement(strata([1, 3], [-5]), strata([0, 1], [50, 60]))
    assert found.value == (3.5 / 4 + 0) / 2
    certain = probability_of_improvement(strata([2, 3], [2, 3]), strata([0, 1], [0, 1]))
    assert (certain.low, certain.value, certain.high) == (1, 1, 1)


def test_differences_are_tested_by_signed_ranks():
    differences = strata([1.0, 2.0, 3.0], [4.0, 5.0])
    assert p_value_of_differences(differences) == pytest.approx(2 / 2**5)  # all signs alike, either way
    assert p_value_of_differences(strata([0.0, 0.0], [0.0])) == 1
    assert p_value_of_differences(strata([-1.0, 1.0])) == 1


def test_holms_correction_of_a_known_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1, 1] and holm([0.02]) == [0.02] and holm([]) == []


p_values = st.lists(st.floats(0, 1), max_size=12)


@given(p_values)
def test_holms_correction_lies_between_none_and_bonferronis(given_values):
    corrected = holm(given_values)
    assert len(corrected) == len(given_values)
    for raw, found in zip(given_values, corrected, strict=True):
        assert raw <= found <= min(1, raw * len(given_values)) or found == pytest.approx(raw)
    ranks = np.argsort(given_values, kind="stable")
    assert (np.diff(np.array(corrected)[ranks]) >= 0).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_as_step_by_step(given_values):
    """The definition: smallest first, each against 5 % by how many are left, until one fails."""
    rejected = set()
    for place, index in enumerate(np.argsort(given_values, kind="stable")):
        if given_values[index] * (len(given_values) - place) > 0.05:
            break
        rejected.add(int(index))
    assert {index for index, value in enumerate(holm(given_values)) if value <= 0.05} == rejected


worlds = st.lists(st.lists(st.integers(-50, 150), min_size=2, max_size=5), min_size=1, max_size=4).map(
    lambda found: strata(*found)
)


@settings(max_examples=15, deadline=None)
@given(worlds)
def test_estimates_lie_within_their_intervals_and_within_the_scores(scores):
    together = np.concatenate(scores)
    for found in (mean(scores), interquartile_mean(scores)):
        assert together.min() - 1e-9 <= found.low <= found.high <= together.max() + 1e-9
    assert mean(scores).value == pytest.approx(together.mean())
    assert interquartile_mean(scores).value == pytest.approx(stats.trim_mean(together, 0.25))


@settings(max_examples=15, deadline=None)
@given(worlds, st.randoms(use_true_random=False))
def test_two_agents_share_the_probability_of_improvement(scores, random):
    other = [np.array([random.randint(-50, 150) for _ in world], np.float64) for world in scores]
    one_way, back = probability_of_improvement(scores, other), probability_of_improvement(other, scores)
    assert one_way.value + back.value == pytest.approx(1)
    assert probability_of_improvement(scores, scores).value == pytest.approx(0.5)
    shifted = [world + 1000 for world in scores]
    assert probability_of_improvement(shifted, scores).value == 1
