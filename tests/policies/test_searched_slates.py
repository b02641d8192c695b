"""gems_gym.policies.searched_slates: a searched slate for each user, with random items mixed in."""

import numpy as np
import pytest

from gems_gym import plugins
from gems_gym.envs import SlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.policies.searched_slates import SearchedSlates
from gems_gym.rollouts import play_sessions, user_batches
from gems_gym.user_splits import user_seeds

WORLD = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 12}
USERS = user_seeds("logging", 3, 20)
QUICK = {"sessions": 1_024, "progress": False}


def vector_env(num_envs=20):
    return SlateVectorEnv(num_envs, autoreset_mode="disabled", **WORLD)


def shown(num_envs=20, **options):
    """The policy, and what it shows the users, int64 ``(20, episode_length, slate_size)``."""
    env = vector_env(num_envs)
    policy = SearchedSlates(env, **{**QUICK, **options})
    sessions = []
    for seeds, count in user_batches(USERS, num_envs):
        actions = [moment.actions for moment in play_sessions(env, policy, seeds) if moment.step]
        sessions.append(np.stack(actions, axis=1)[:count])
    return policy, np.concatenate(sessions)


def test_a_session_does_not_depend_on_who_else_is_served():
    _, together = shown()
    for num_envs in (1, 7):
        np.testing.assert_array_equal(shown(num_envs)[1], together)


def test_without_epsilon_each_user_has_a_searched_slate_all_session_long():
    policy, slates = shown(epsilon=0.0)
    assert policy.searched.shape == (256, 5)
    assert (slates == slates[:, :1]).all()
    known = {tuple(slate) for slate in policy.searched.tolist()}
    chosen = {tuple(slate) for slate in slates[:, 0].tolist()}
    assert chosen <= known
    assert len(chosen) > 10  # users differ


def test_epsilon_is_the_share_of_random_items():
    _, own = shown(epsilon=0.0)
    for epsilon in (0.3, 1.0):
        _, slates = shown(epsilon=epsilon)
        # a position keeps its item, too, where the item drawn stands in the slate already: 5 of 60
        assert (slates == own).mean() == pytest.approx(1 - epsilon * (1 - 5 / 60), abs=0.04)
    assert (np.bincount(slates.ravel(), minlength=60) > 0).all()  # any item


def test_no_item_stands_twice_in_a_slate():
    for epsilon in (0.3, 1.0):
        _, slates = shown(epsilon=epsilon)
        assert all(len(set(slate)) == 5 for slate in slates.reshape(-1, 5).tolist())


def test_the_seed_decides_the_search():
    first, again, other = (shown(seed=seed)[0].searched for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=1).mean() > 0.9


def test_more_sessions_find_better_slates():
    def clicks(sessions):
        env = vector_env(100)
        policy = SearchedSlates(env, epsilon=0.0, sessions=sessions, progress=False)
        users = user_seeds("validation", 0, 100)
        return sum(moment.rewards.mean() for moment in play_sessions(env, policy, users) if moment.step)

    assert clicks(30_000) > 1.3 * clicks(1_024)


def test_what_it_is_known_as():
    assert not SearchedSlates.privileged
    assert SearchedSlates.searches
    assert plugins.load(plugins.POLICIES, "searched_slates") is SearchedSlates


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"epsilon": -0.1}, "epsilon must be .*got -0.1"),
        ({"epsilon": 2}, "epsilon must be .*got 2"),
        ({"epsilon": float("nan")}, "epsilon must be .*got nan"),
        ({"sessions": 1_023}, "sessions must be an integer ≥ 1024, got 1023"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(ValueError, match=message):
        make_policy("searched_slates", vector_env(), **option)
