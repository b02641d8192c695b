"""Propensities of slates: they add up to 1 over all slates, and are what the policies' draws have."""

from itertools import product

import numpy as np
import pytest

from gems_gym.envs import SlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.policies.propensities import slate_propensities, uniform_propensities

WORLD = {"num_items": 6, "slate_size": 2, "num_topics": 3, "episode_length": 40}
ALL = np.array(list(product(range(6), repeat=2)))  # (36, 2)
KNOWN = {
    "random": {}, "eps_greedy_oracle": {"epsilon": 0.3}, "eps_boredom_aware_oracle": {}, "softmax_oracle": {},
    "short_term_oracle": {}, "constant_slate": {"slate": [4, 2]},
}  # fmt: skip


def asked(env, name, options, slates):
    """The propensities of the same slates for every user, after a step of session 7."""
    policy = make_policy(name, env, **options)
    seeds = [7] * env.num_envs  # the same user, so that rows differ by slates alone
    observations, _ = env.reset(seed=seeds)
    chosen, state = policy.act(policy.open(seeds), observations)
    return slate_propensities(policy, state, observations, slates, chosen), chosen


@pytest.mark.parametrize(("name", "options"), [*KNOWN.items(), ("softmax_oracle", {"repeats": False})])
def test_they_add_up_to_one_and_to_the_marginals(name, options):
    env = SlateVectorEnv(len(ALL), autoreset_mode="disabled", **WORLD)
    found, _ = asked(env, name, options, ALL)
    slates = found.given_above.prod(axis=1)
    assert slates.sum() == pytest.approx(1.0, abs=1e-12)
    assert (slates >= 0).all()
    if found.marginal is None:
        assert options == {"repeats": False}
        return
    for slot in (0, 1):
        for item in range(6):
            here = ALL[:, slot] == item
            assert slates[here].sum() == pytest.approx(found.marginal[here, slot][0], abs=1e-12)


@pytest.mark.parametrize(
    ("name", "options"), [("softmax_oracle", {}), ("softmax_oracle", {"repeats": False})]
)
def test_slates_are_drawn_as_they_say(name, options):
    env = SlateVectorEnv(4_000, autoreset_mode="disabled", **WORLD)
    policy = make_policy(name, env, temperature=0.3, **options)
    observations, _ = env.reset(seed=[7] * 4_000)
    chosen, state = policy.act(policy.open(list(range(4_000))), observations)
    drawn = np.bincount(chosen @ [6, 1], minlength=36) / 4_000
    users = np.repeat(ALL, 112, axis=0)[
        :4_000
    ]  # all slates, each asked of some of the users, who are the same
    found = slate_propensities(policy, state, observations, users, chosen).given_above.prod(axis=1)[::112]
    np.testing.assert_allclose(drawn[: len(found)], found, atol=0.03)
    assert found.max() > 1.3 / 36  # not uniform


@pytest.mark.parametrize("name", ["diverse_random", "random_constant_slate"])
def test_a_policy_that_draws_without_closed_form_says_so(name):
    env = SlateVectorEnv(2, autoreset_mode="disabled", **WORLD)
    assert asked(env, name, {}, ALL[:2])[0] is None


def test_uniform_slates_of_which_a_part_is_known():
    found = uniform_propensities(np.array([[-1, -1, 0], [-1, 3, 3], [2, -1, 0]]), 10).given_above
    np.testing.assert_allclose(found[:, 2], [1 / 10, 0, 1 / 9])
    assert found[1, 1] == 1 / 10


def test_softmax_slates_are_whole_where_scores_are_far_apart():
    env = SlateVectorEnv(2, "focused_topdown", short_term_boost=1e4)
    observations, _ = env.reset(seed=0)
    policy = make_policy("softmax_oracle", env, temperature=0.01, repeats=False)
    state = policy.open([0, 1])
    for _ in range(3):
        slates, state = policy.act(state, observations)
        assert slates.min() >= 0 and all(len(set(slate)) == 10 for slate in slates.tolist())
        observations, *_ = env.step(slates)


def test_what_is_not_known_takes_no_item_of_a_softmax():
    env = SlateVectorEnv(1, "diffuse_mix")
    observations, _ = env.reset(seed=0)
    policy = make_policy("softmax_oracle", env, temperature=1.0, repeats=False)
    _, state = policy.act(policy.open([0]), observations)
    slate = np.arange(10)[None]
    gap = np.concatenate([[[-1]], slate[:, :9]], axis=1)
    whole, with_gap = (policy.propensities(state, observations, one).given_above for one in (slate, gap))
    np.testing.assert_allclose(with_gap[:, 1:], whole[:, :9], rtol=1e-12)
