import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from scipy import stats

from gems_gym.envs import SlateVectorEnv
from gems_gym.policies import MemorylessPolicy, make_policy
from gems_gym.rollouts import play_sessions
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import (
    References,
    evaluate,
    measure_references,
    paired_difference,
    t_interval,
)

USERS = user_seeds("test", 5, 60)


def played(name, num_envs=60, users=USERS, **world):
    env = SlateVectorEnv(num_envs, episode_length=20, autoreset_mode="disabled", **world)
    return evaluate(make_policy(name, env), env, users, name=name)


def test_the_interval_is_students():
    values = np.array([3.0, 5.0, 4.0, 8.0])
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((high - low) / 2)
    assert t_interval(values[:1]) == float("inf")


@pytest.mark.parametrize("world", [{}, {"leave_probability": 0.2, "leave_after": 2}])
@pytest.mark.parametrize("name", ["random", "boredom_aware_oracle"])
def test_results_do_not_depend_on_how_many_users_play_together(name, world):
    together, apart = played(name, **world), played(name, num_envs=7, **world)
    np.testing.assert_array_equal(together.returns, apart.returns)
    np.testing.assert_array_equal(together.lengths, apart.lengths)
    np.testing.assert_allclose(together.clicks_per_step, apart.clicks_per_step)
    assert together.beyond_clicks() == pytest.approx(apart.beyond_clicks())


def mean_distance(slate, embeddings):
    """1 minus the cosine, over all pairs of different positions, the long way."""
    unit = [embeddings[item] / np.linalg.norm(embeddings[item]) for item in slate]
    return np.mean([1 - one @ other for one, other in itertools.combinations(unit, 2)])


@pytest.mark.parametrize("world", [{}, {"leave_probability": 0.3, "leave_after": 2}])
def test_what_is_shown_is_measured_beside_clicks(world):
    env = SlateVectorEnv(7, episode_length=12, autoreset_mode="disabled", **world)
    policy, users = make_policy("short_term_oracle", env), user_seeds("test", 3, 7)
    moments = [moment for moment in play_sessions(env, policy, users) if moment.rewards is not None]
    slates = np.concatenate([moment.infos["slate"][moment.playing] for moment in moments])
    bored = np.concatenate([moment.infos["bored"][moment.playing] for moment in moments])
    found = evaluate(policy, env, users)
    assert found.catalogue_coverage == len(np.unique(slates)) / 1000
    assert 0 < found.bored_steps == pytest.approx(bored.any(axis=1).mean())
    expected = np.mean([mean_distance(slate, env.catalog.item_embeddings) for slate in slates])
    assert found.intra_slate_diversity == pytest.approx(expected, rel=1e-5)
    assert len(slates) == found.lengths.sum() and (len(slates) < 84) == bool(world)


@pytest.mark.parametrize(("slate", "coverage"), [([5] * 4, 1 / 30), ([5], 1 / 30), ([0, 1, 2, 3], 4 / 30)])
def test_slates_of_one_item_and_of_opposite_items(slate, coverage):
    items = np.ones((30, 20))
    items[1], items[2] = -1, 0  # opposite to the others, and without a direction
    env = SlateVectorEnv(
        3, item_embeddings=items, slate_size=len(slate), episode_length=4, autoreset_mode="disabled"
    )
    found = evaluate(MemorylessPolicy(lambda _: np.array([slate] * 3)), env, user_seeds("test", 0, 3))
    assert found.catalogue_coverage == pytest.approx(coverage)
    # of the pairs of [0, 1, 2, 3] two are opposite, three hold the item without a direction, and two items are alike
    assert found.intra_slate_diversity == pytest.approx(
        (2 * 2 + 3) / 6 if len(set(slate)) > 1 else 0, abs=1e-6
    )


def test_other_environments_have_no_slates_to_measure():
    env = gymnasium.make_vec(
        "Pendulum-v1", 2, vectorization_mode="sync", vector_kwargs={"autoreset_mode": AutoresetMode.DISABLED}
    )
    found = evaluate(MemorylessPolicy(lambda _: np.zeros((2, 1), np.float32)), env, [0, 1, 2])
    assert found.mean_return < 0 and found.lower_decile == found.returns.min()
    assert found.catalogue_coverage is found.intra_slate_diversity is found.bored_steps is None


def test_the_lower_decile_is_the_mean_of_the_tenth_that_clicks_least():
    evaluated = played("random", users=USERS[:21])
    assert evaluated.lower_decile == np.mean(sorted(evaluated.returns)[:3])
    described = evaluated.describe()
    assert described["users"] == 21 and described["worst"] <= described["lower_decile"]
    alone = played("random", num_envs=1, users=USERS[:1])
    assert alone.lower_decile == alone.mean_return


def test_clicks_per_step_add_up_to_the_return():
    evaluated = played("short_term_oracle")
    assert evaluated.clicks_per_step.shape == (20,)
    assert evaluated.clicks_per_step.sum() == pytest.approx(evaluated.mean_return)
    assert evaluated.returns.shape == (60,)


def test_clicks_count_until_the_user_leaves():
    stayed, evaluated = played("random"), played("random", leave_probability=1.0, leave_after=2)
    assert stayed.lengths.tolist() == [20] * 60 and stayed.mean_length == 20
    assert 2 == evaluated.lengths.min() < evaluated.lengths.max() <= 20
    assert (evaluated.returns <= stayed.returns).all() and evaluated.mean_return < stayed.mean_return
    assert evaluated.clicks_per_step.sum() == pytest.approx(evaluated.mean_return)
    assert len(evaluated.clicks_per_step) == evaluated.lengths.max()


def test_references_are_0_and_100():
    env = SlateVectorEnv(60, episode_length=20, autoreset_mode="disabled")
    references = measure_references(env, USERS)
    assert references.normalized_score(played("random").mean_return) == 0
    assert references.normalized_score(played("boredom_aware_oracle").mean_return) == pytest.approx(100)
    assert References(10.0, 110.0).normalized_score(60.0) == 50


def test_nothing_is_normalised_where_the_references_are_the_same():
    assert np.isnan(References(3.0, 3.0).normalized_score(5.0))


def test_paired_differences_are_narrower_than_unpaired_ones():
    better, worse = played("short_term_oracle"), played("random")
    difference, interval = paired_difference(better, worse)
    assert difference == pytest.approx(better.mean_return - worse.mean_return)
    assert interval < better.ci95 + worse.ci95
    assert paired_difference(better, better) == (0.0, 0.0)


def test_different_users_cannot_be_paired():
    with pytest.raises(ValueError, match="different users"):
        paired_difference(played("random"), played("random", users=user_seeds("test", 6, 60)))
    with pytest.raises(ValueError, match="at least one user"):
        played("random", users=[])


class Remembering:
    """Shows random slates; its state is also what they earned."""

    observes = actions = "slates"

    def __init__(self, env):
        self.random = make_policy("random", env)

    def open(self, seeds):
        return self.random.open(seeds), np.zeros(len(seeds))

    def act(self, state, observations):
        slates, inner = self.random.act(state[0], observations)
        return slates, (inner, state[1])

    def rewarded(self, state, rewards):
        self.earned = state[1] + rewards
        return state[0], self.earned


def test_a_policy_that_remembers_is_told_what_each_step_earned():
    env = SlateVectorEnv(
        60, episode_length=20, autoreset_mode="disabled", leave_probability=0.2, leave_after=2
    )
    policy = Remembering(env)
    evaluated = evaluate(policy, env, USERS)
    np.testing.assert_array_equal(policy.earned, evaluated.returns)
    assert evaluated.returns.max() > 0
