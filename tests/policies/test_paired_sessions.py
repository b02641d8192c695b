"""gems_gym.policies.paired_sessions: clicks are those of an environment, however many slates are tried together."""

import numpy as np

from gems_gym.envs import SlateVectorEnv
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
