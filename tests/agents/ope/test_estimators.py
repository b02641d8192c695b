"""Estimators of arrays: hand-computed values, exact expectations over all logs, and what holds for any log."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gems_gym_agents.ope.doubly_robust import (
    cascade_doubly_robust,
    doubly_robust,
    weighted_doubly_robust,
)
from gems_gym_agents.ope.importance_sampling import (
    independent_ips,
    ips,
    latent_ips,
    per_decision_is,
    reward_interaction_ips,
    self_normalised_ips,
    trajectory_is,
    weighted_per_decision_is,
)
from gems_gym_agents.ope.intervals import (
    Diagnostics,
    Resamples,
    bootstrap_interval,
    empirical_bernstein,
    lower_bound,
)
from gems_gym_agents.ope.pseudo_inverse import pseudo_inverse
from gems_gym_agents.ope.terms import Terms, importance_ratios, products

RNG = np.random.default_rng(0)
ITEMS, SLOTS = 3, 2
SLATES = np.array(list(product(range(ITEMS), repeat=SLOTS)))  # (9, 2)
LOGGING, TARGET = RNG.dirichlet(np.ones(ITEMS), (2, SLOTS))  # independent slots: (2, 3) each
P, Q = (np.take_along_axis(policy, SLATES.T, axis=1).T for policy in (LOGGING, TARGET))  # (9, 2)
PLAIN = (ips, independent_ips, reward_interaction_ips, pseudo_inverse, trajectory_is, per_decision_is)


def expected(terms: Terms, probabilities: np.ndarray) -> float:
    return float(probabilities @ terms.numerators.sum(axis=1))


def clicks_of(kind: str) -> np.ndarray:
    """Mean clicks of every slate, by what they depend on, (9, 2)."""
    item, pair = RNG.random((SLOTS, ITEMS)), RNG.random((SLOTS, ITEMS, ITEMS))
    first, second = SLATES.T
    alone = np.stack([item[0, first], item[1, second]], axis=1)
    if kind == "item":
        return alone
    if kind == "above":
        return np.stack([item[0, first], pair[1, first, second]], axis=1)
    if kind == "sum":  # the slate's clicks are a sum over items, but each is clicked by what stands beside it
        shift = RNG.random(len(SLATES))
        return alone + np.stack([shift, -shift], axis=1)
    return np.stack([pair[0, first, second], pair[1, first, second]], axis=1)


@pytest.mark.parametrize(
    ("estimator", "right", "wrong"),
    [
        (ips, ("item", "above", "sum", "any"), ()),
        (reward_interaction_ips, ("item", "above"), ("sum", "any")),
        (independent_ips, ("item",), ("above", "sum", "any")),
        (pseudo_inverse, ("item", "sum"), ("above", "any")),
    ],
)
def test_the_expectation_over_all_slates_is_the_truth_where_the_assumption_holds(estimator, right, wrong):
    for kind in (*right, *wrong):
        clicks = clicks_of(kind)
        truth = Q.prod(axis=1) @ clicks.sum(axis=1)
        found = expected(estimator(clicks, importance_ratios(Q, P, Q > 0)), P.prod(axis=1))
        assert (abs(found - truth) < 1e-12) == (kind in right), kind


def test_ips_and_rips_hold_for_slates_without_duplicates():
    scores, other = np.exp(RNG.normal(size=(2, ITEMS)))

    def plackett_luce(weights):
        first = weights[SLATES[:, 0]] / weights.sum()
        second = weights[SLATES[:, 1]] / (weights.sum() - weights[SLATES[:, 0]])
        return np.stack([first, np.where(SLATES[:, 0] == SLATES[:, 1], 0.0, second)], axis=1)

    p, q = plackett_luce(scores), plackett_luce(other)
    kept = p.prod(axis=1) > 0
    ratios = importance_ratios(q[kept], p[kept], q[kept] > -1)
    for estimator, kind in ((ips, "any"), (reward_interaction_ips, "above")):
        clicks = clicks_of(kind)[kept]
        truth = q[kept].prod(axis=1) @ clicks.sum(axis=1)
        assert expected(estimator(clicks, ratios), p[kept].prod(axis=1)) == pytest.approx(truth, abs=1e-12)


def test_cascade_dr_is_unbiased_whatever_the_model_is_and_however_slots_depend():
    first, second = SLATES.T
    below = RNG.dirichlet(
        np.ones(ITEMS), ITEMS
    )  # what the target shows in the second slot, by the first item
    q = np.stack([TARGET[0, first], below[first, second]], axis=1)
    clicks, model = clicks_of("above"), RNG.random((SLOTS, ITEMS))
    truth = q.prod(axis=1) @ clicks.sum(axis=1)
    here = np.stack([model[0, first], model[1, second]], axis=1)
    target = np.tile(q.prod(axis=1) @ here, (len(SLATES), 1))
    found = cascade_doubly_robust(clicks, q / P, here, target)
    assert expected(found, P.prod(axis=1)) == pytest.approx(truth, abs=1e-12)


def test_cascade_dr_is_recursive_dr_of_slots():
    clicks, here, target = RNG.random((3, 9, 3))
    ratios = RNG.exponential(size=(9, 3))
    from_here = np.cumsum(target[:, ::-1], axis=1)[:, ::-1]
    recursive = doubly_robust(clicks, ratios, here + from_here - target, from_here, 1.5)
    found = cascade_doubly_robust(clicks, ratios, here, target, 1.5)
    np.testing.assert_allclose(found.numerators, recursive.numerators, rtol=1e-12)


def test_a_perfect_model_leaves_cascade_dr_no_variance_over_what_was_logged():
    clicks = clicks_of("item")
    values = np.stack([clicks[::ITEMS, 0], clicks[:ITEMS, 1]])  # (slot, item)
    target = np.tile((TARGET * values).sum(axis=1), (len(SLATES), 1))
    found = cascade_doubly_robust(clicks, Q / P, clicks, target)
    np.testing.assert_allclose(found.numerators, target[0].sum(), atol=1e-12)


def all_sessions() -> tuple[np.ndarray, ...]:
    """Every session of two steps with an item each: policies and rewards depend on what was shown before."""
    first, second = SLATES.T
    policies = RNG.dirichlet(np.ones(ITEMS), (2, ITEMS))  # of the second step, given the first
    p, q = (
        np.stack([one[0, first], then[first, second]], axis=1)
        for one, then in zip((LOGGING, TARGET), policies, strict=True)
    )
    rewards = np.stack([RNG.random(ITEMS)[first], RNG.random((ITEMS, ITEMS))[first, second]], axis=1)
    return p, q, rewards, policies[1]


def test_session_estimators_are_unbiased_where_the_past_matters():
    p, q, rewards, target = all_sessions()
    truth = q.prod(axis=1) @ rewards.sum(axis=1)
    for estimator in (trajectory_is, per_decision_is):
        assert expected(estimator(rewards, q / p), p.prod(axis=1)) == pytest.approx(truth, abs=1e-12)
    first, second = SLATES.T
    start, then = RNG.random(ITEMS), RNG.random((ITEMS, ITEMS))  # any model
    here = np.stack([start[first], then[first, second]], axis=1)
    expects = np.stack([np.full(len(SLATES), TARGET[0] @ start), (then * target).sum(axis=1)[first]], axis=1)
    found = doubly_robust(rewards, q / p, here, expects)
    assert expected(found, p.prod(axis=1)) == pytest.approx(truth, abs=1e-12)
    # impression by impression, as if the past stayed as logged, it is another number
    assert abs(expected(independent_ips(rewards, q / p), p.prod(axis=1)) - truth) > 1e-3


def test_weighted_estimators_agree_with_the_truth_on_a_log_of_every_session_in_its_share():
    p, q, rewards, _ = all_sessions()
    counts = np.round(p.prod(axis=1) * 1e6).astype(int)
    rows = np.repeat(np.arange(len(SLATES)), counts)
    truth = q.prod(axis=1) @ rewards.sum(axis=1)
    found = weighted_per_decision_is(rewards[rows], (q / p)[rows])
    assert found.value == pytest.approx(truth, abs=1e-4)
    model = np.ones((len(rows), 2))
    found = weighted_doubly_robust(rewards[rows], (q / p)[rows], model, model)
    assert found.value == pytest.approx(truth, abs=1e-4)


def test_latent_ips_agrees_with_the_truth_where_clicks_depend_on_the_group_alone():
    groups = SLATES.max(axis=1)  # of both slots' items
    rows = np.repeat(np.arange(len(SLATES)), np.round(P.prod(axis=1) * 1e6).astype(int))
    shares = np.bincount(groups, Q.prod(axis=1))
    for clicks, holds in ((clicks_of("sum")[groups], True), (clicks_of("item"), False)):
        truth = Q.prod(axis=1) @ clicks.sum(axis=1)
        found = latent_ips(clicks[rows], groups[rows], shares)
        assert (found.value == pytest.approx(truth, abs=1e-4)) == holds
        assert found.values.mean() == pytest.approx(found.value)
        assert found.weights.mean() == pytest.approx(1.0)


def test_values_by_hand():
    clicks, ratios = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[2.0, 0.5], [0.5, 3.0]])
    assert ips(clicks, ratios).value == (1 * 1 + 1.5 * 2) / 2
    assert self_normalised_ips(clicks, ratios).value == pytest.approx((1 + 3) / 2.5)
    assert independent_ips(clicks, ratios).value == (2 + 0.5 + 3) / 2
    assert reward_interaction_ips(clicks, ratios).value == pytest.approx((2 + 0.5 + 1.5) / 2)
    assert pseudo_inverse(clicks, ratios).value == ((2 + 0.5 - 1) * 1 + (0.5 + 3 - 1) * 2) / 2
    assert weighted_per_decision_is(clicks, ratios).value == pytest.approx((2 + 0.5) / 2.5 + 1.5 / 2.5)
    assert ips(clicks, ratios, clip=1.2).value == pytest.approx((1 + 2.4) / 2)
    here, target = np.full((2, 2), 0.5), np.full((2, 2), 0.25)
    by_hand = (0.25 + 2 * 0.5 + 2 * 0.25 + 1 * -0.5) + (0.25 + 0.5 * 0.5 + 0.5 * 0.25 + 1.5 * 0.5)
    assert doubly_robust(clicks, ratios, here, target).value == pytest.approx(by_hand / 2)
    by_hand = (2 * 0.5 + 0.5 * 0.5) / 2.5 + (-0.5 + 1.5 * 0.5) / 2.5 + 0.25 + 0.25
    assert weighted_doubly_robust(clicks, ratios, here, target).value == pytest.approx(by_hand)


NUMBERS = arrays(np.float64, (7, 3), elements=st.floats(0, 1))
RATIOS = arrays(np.float64, (7, 3), elements=st.floats(0.01, 50))


@settings(max_examples=50, deadline=None)
@given(NUMBERS, NUMBERS)
def test_for_the_logging_policy_all_estimators_are_the_mean_of_the_log(clicks, model):
    same, mean = np.ones_like(clicks), clicks.sum(axis=1).mean()
    found = [one(clicks, same).value for one in (*PLAIN, self_normalised_ips, weighted_per_decision_is)]
    here, target = model, np.roll(model, 1, axis=0)
    plain, ratio = (one(clicks, same, here, target) for one in (doubly_robust, weighted_doubly_robust))
    np.testing.assert_allclose(found, mean, atol=1e-12)
    # of DR only where the model expects of the target what it expects of the log
    assert doubly_robust(clicks, same, here, here).value == pytest.approx(mean, abs=1e-12)
    assert plain.value == pytest.approx(ratio.value, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(NUMBERS, RATIOS)
def test_self_normalised_estimates_stay_within_the_rewards(clicks, ratios):
    rewards = clicks.sum(axis=1)
    assert rewards.min() - 1e-9 <= self_normalised_ips(clicks, ratios).value <= rewards.max() + 1e-9
    found = weighted_per_decision_is(clicks, ratios).value
    assert clicks.min(axis=0).sum() - 1e-9 <= found <= clicks.max(axis=0).sum() + 1e-9


@settings(max_examples=50, deadline=None)
@given(NUMBERS, RATIOS)
def test_the_values_of_rows_have_the_estimate_as_their_mean_and_survive_grouping(clicks, ratios):
    session = np.array([0, 0, 0, 1, 1, 2, 2])
    for one in (ips, self_normalised_ips, independent_ips):
        terms = one(clicks, ratios)
        assert terms.values.mean() == pytest.approx(terms.value, rel=1e-9, abs=1e-9)
        grouped = terms.by_session(session)
        assert grouped.value == pytest.approx(terms.value * 7 / 3, rel=1e-9, abs=1e-9)


def test_clipping_never_raises_an_estimate_of_clicks():
    clicks, ratios = RNG.random((50, 4)), RNG.exponential(2.0, (50, 4))
    for one in (ips, independent_ips, reward_interaction_ips, per_decision_is):
        values = [one(clicks, ratios, clip).value for clip in (0.5, 2.0, 10.0, 1e9)]
        assert values == sorted(values)


def test_weights_of_long_sessions_stay_finite():
    ratios = np.full((2, 1_000), 1e3)
    assert np.isfinite(Diagnostics.of(Terms(ratios, None, products(ratios)), np.inf).effective_sample_size)
    assert np.isfinite(per_decision_is(np.ones((2, 1_000)), ratios).value)


@pytest.mark.parametrize("wrong", [0.0, np.nan, -0.1, 1.5])
def test_propensities_out_of_range_are_named(wrong):
    logging = np.full((3, 2), 0.5)
    logging[1, 1] = wrong
    with pytest.raises(ValueError, match=r"must be in \(0, 1\], got .* at \(1, 1\)"):
        importance_ratios(logging, logging, np.ones((3, 2), np.bool_))
    known = np.ones((3, 2), np.bool_)
    known[1, 1] = False  # nothing is known to have been shown there
    np.testing.assert_array_equal(importance_ratios(logging, logging, known), 1.0)


def test_intervals_and_bounds():
    values = RNG.random(400)
    terms = Terms(values[:, None], None, np.ones((400, 1)))
    low, high = bootstrap_interval(terms, Resamples(400, seed=0))
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.15)
    by_hand = values.mean() - np.sqrt(2 * values.var(ddof=1) * np.log(40) / 400) - 7 * np.log(40) / (3 * 399)
    assert empirical_bernstein(values, 1.0) == pytest.approx(by_hand)
    bound, by = lower_bound(terms, True)
    assert by == "empirical Bernstein"
    assert 0 < bound < by_hand  # it pays for trying several cuts
    bound, by = lower_bound(terms, False)
    assert by == "t"
    assert bound == pytest.approx(values.mean() - 1.649 * values.std(ddof=1) / 20, abs=1e-3)


def test_the_lower_bound_holds_for_heavy_tails():
    rng, truth = np.random.default_rng(1), np.exp(2.0)  # the mean of a log-normal with σ = 2
    above = 0
    for _ in range(200):
        bound, _ = lower_bound(Terms(np.exp(2 * rng.normal(size=(300, 1))), None, np.ones((300, 1))), True)
        above += bound > truth
    assert above <= 10


def test_diagnostics_by_hand():
    weights = np.array([[1.0, 4.0], [1.0, 0.0], [2.0, 0.0]])
    found = Diagnostics.of(Terms(weights, None, weights), clip=4.0)
    assert found.effective_sample_size == 1.0  # of the second column
    assert found.rows == 3
    assert found.overlap == pytest.approx(4 / 6)
    assert found.largest_weight == 4.0
    assert found.clipped == pytest.approx(1 / 6)


def test_diagnostics_are_of_what_was_logged():
    """A session of one step that the target could have shown, one of three whose first it could not."""
    weights = np.array([[2.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    logged = np.array([[True, False, False], [True, True, True]])
    found = Diagnostics.of(Terms(weights, None, weights), 2.0, logged)
    assert (found.overlap, found.clipped) == (0.25, 0.25)


def test_the_pseudo_inverse_has_the_effective_size_of_its_weights():
    ratios = 2.0 * RNG.integers(2, size=(2_000, 10))
    terms = pseudo_inverse(np.ones(ratios.shape), ratios)
    found, weights = Diagnostics.of(terms, np.inf), 1 + (ratios - 1).sum(axis=1)
    assert found.effective_sample_size == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    assert found.largest_weight == weights.max()
    assert found.overlap == pytest.approx(0.5, abs=0.02)


def test_latent_ips_is_cut():
    clicks, groups = np.ones((4, 1)), np.array([0, 0, 0, 1])
    plain, cut = (latent_ips(clicks, groups, np.array([0.25, 0.75]), clip) for clip in (1e9, 1.0))
    assert (plain.value, cut.value) == (pytest.approx(1.0), pytest.approx(0.25 + 0.25))
    assert cut.weights.max() == 1.0


def test_intervals_of_ratios_know_that_sessions_differ_in_length():
    """Clicks are alike in all slates, so that what differs between sessions is how many slates they have."""
    rng, held, bounds = np.random.default_rng(3), 0, 0
    for seed in range(100):
        lengths = rng.geometric(0.2, size=200)
        session = np.repeat(np.arange(200), lengths)
        clicks = (rng.random((len(session), 2)) < 0.3).astype(float)
        terms = self_normalised_ips(clicks, np.ones(clicks.shape)).by_session(session)
        assert terms.values.mean() == pytest.approx(terms.value)
        low, high = bootstrap_interval(terms, Resamples(200, seed))
        held += low <= 5 * 0.6 <= high
        bounds += lower_bound(terms, False)[0] <= 5 * 0.6
    assert held >= 88
    assert bounds >= 88
