"""gems_gym.policies.paired_sessions: clicks are those of an environment, however many slates are tried together."""

import numpy as np
import pytest

from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.policies.constant_slate import ConstantSlate
from gems_gym.policies.paired_sessions import PairedSessions
from gems_gym.rollouts import play_sessions

USERS = list(range(40, 70))
LENGTH = 150  # longer than the block in which the simulator draws a user's randomness


def test_clicks_are_those_of_an_environment():
    env = SlateVectorEnv(30, num_items=60, slate_size=5, episode_length=LENGTH, autoreset_mode="disabled")
    slates = np.random.default_rng(0).integers(60, size=(4, 5))
    sessions = PairedSessions(env.config, env.catalog, USERS, num_slates=4)
    clicks = sessions.clicks(slates)
    assert clicks.shape == (4, 30)
    for slate, row in zip(slates, clicks, strict=True):
        played = play_sessions(env, ConstantSlate(env, slate), USERS)
        np.testing.assert_array_equal(row, sum(m.rewards for m in played if m.step))
    assert len(np.unique(clicks.sum(axis=1))) == 4  # the slates do differ
    np.testing.assert_array_equal(sessions.clicks(slates[::-1]), clicks[::-1])  # and again


@pytest.fixture
def world():
    return SlateEnv(num_items=60, slate_size=5, num_topics=5, episode_length=20)


def test_clicks_by_position_add_up_to_clicks(world):
    slates = np.random.default_rng(0).integers(60, size=(3, 5))
    sessions = PairedSessions(world.config, world.catalog, USERS, num_slates=3)
    by_position = sessions.clicks_by_position(slates)
    assert by_position.shape == (3, 30, 5)
    assert 0 == by_position.min() < by_position.max() <= 20  # at most one a step
    np.testing.assert_array_equal(by_position.sum(axis=2), sessions.clicks(slates))


def test_users_that_are_not_shared_are_split_in_their_order(world):
    slates = np.random.default_rng(0).integers(60, size=(3, 5))
    split = PairedSessions(world.config, world.catalog, USERS, num_slates=3, shared=False)
    assert (split.num_users, split.num_slates) == (10, 3)
    found = split.clicks_by_position(slates)
    assert found.shape == (3, 10, 5)
    shared = PairedSessions(world.config, world.catalog, USERS, num_slates=3)
    assert (shared.num_users, shared.num_slates) == (30, 3)
    everybody = shared.clicks_by_position(slates)
    np.testing.assert_array_equal(found, [everybody[i, 10 * i : 10 * i + 10] for i in range(3)])


def test_users_that_can_not_be_split_evenly_are_refused(world):
    message = "seeds holds 30 users, which can't be split among num_slates=4"
    with pytest.raises(ValueError, match=message):
        PairedSessions(world.config, world.catalog, USERS, num_slates=4, shared=False)
    PairedSessions(world.config, world.catalog, USERS, num_slates=4)
