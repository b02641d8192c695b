"""reset(options=...): the user and the first slate can be given; everything else stays as it was."""

import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv

from gems_gym import SlateConfig
from gems_gym.envs import SlateEnv, SlateVectorEnv

USER = np.linspace(0.1, 2.0, 20)
SLATE = np.arange(30, 40)


def block_norm_sum(user, topic_size=2):
    return np.sqrt((np.reshape(user, (-1, topic_size)) ** 2).sum(axis=1)).sum()


def test_a_given_user_is_scaled_to_block_norms_of_one():
    env = SlateEnv()
    _, info = env.reset(seed=3, options={"user": USER})
    np.testing.assert_allclose(info["user_state"], USER / block_norm_sum(USER), rtol=1e-6)
    _, scaled = env.reset(seed=3, options={"user": 1000 * USER})
    np.testing.assert_allclose(scaled["user_state"], info["user_state"], rtol=1e-6)


@pytest.mark.parametrize("factor", [1e-300, 1e300])
def test_a_user_may_be_given_in_any_scale(factor):
    _, info = SlateEnv().reset(seed=0, options={"user": USER * factor})
    assert block_norm_sum(info["user_state"]) == pytest.approx(1, abs=1e-6)


def test_the_drawn_user_given_back_plays_the_same_session():
    """The clicks' random numbers come from the generator in the same order, with and without options."""
    drawn, given = SlateEnv("diffuse_mix"), SlateEnv("diffuse_mix")
    _, info = drawn.reset(seed=8)
    first_slate = info["slate"]
    observation, _ = given.reset(seed=8, options={"user": info["user_state"], "first_slate": first_slate})
    np.testing.assert_array_equal(observation["clicks"], info["clicks"])
    for _ in range(100):
        slate = drawn.short_term_oracle_slate()
        one, other = drawn.step(slate), given.step(slate)
        np.testing.assert_array_equal(one[0]["clicks"], other[0]["clicks"])
    assert drawn.np_random.bit_generator.state == given.np_random.bit_generator.state


def test_a_given_first_slate_is_shown_to_the_drawn_user():
    usual, given = SlateEnv(), SlateEnv()
    _, usual_info = usual.reset(seed=4)
    observation, info = given.reset(seed=4, options={"first_slate": SLATE})
    np.testing.assert_array_equal(observation["slate"], SLATE)
    np.testing.assert_array_equal(info["user_state"], usual_info["user_state"])
    assert usual.np_random.bit_generator.state == given.np_random.bit_generator.state


def test_clicks_on_a_given_first_slate_enter_the_log():
    env = SlateEnv(rel_threshold=-1.0, click_propensity=1.0)  # everything is clicked
    observation, _ = env.reset(seed=0, options={"first_slate": SLATE})
    assert observation["clicks"].all()
    topics = env.catalog.item_topics[SLATE]
    np.testing.assert_array_equal(env.simulator.users.recent_topics[0], topics)
    assert env.simulator.users.short_term_topic[0] == topics[-1]


def test_options_hold_for_one_session_only():
    env, usual = SlateEnv(), SlateEnv()
    env.reset(seed=1, options={"user": USER, "first_slate": SLATE})
    usual.reset(seed=1)
    again, expected = env.reset(), usual.reset()
    np.testing.assert_array_equal(again[0]["slate"], expected[0]["slate"])
    np.testing.assert_array_equal(again[1]["user_state"], expected[1]["user_state"])


@pytest.mark.parametrize("options", [None, {}, {"user": None}, {"first_slate": None, "user": None}])
def test_no_options_change_nothing(options):
    _, info = SlateEnv().reset(seed=2, options=options)
    _, expected = SlateEnv().reset(seed=2)
    np.testing.assert_array_equal(info["user_state"], expected["user_state"])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"usr": USER}, ValueError, "did you mean 'user'"),
        ({"first_slat": SLATE}, ValueError, "did you mean 'first_slate'"),
        ({"user": USER[:-1]}, ValueError, r"options\['user'\] must have shape \(20,\), got \(19,\)"),
        ({"user": USER[None]}, ValueError, r"got \(1, 20\)"),
        ({"user": 0 * USER}, ValueError, "all zero"),
        ({"user": np.where(USER > 1, np.nan, USER)}, ValueError, "finite"),
        ({"user": np.where(USER > 1, np.inf, USER)}, ValueError, "finite"),
        ({"user": ["a"] * 20}, TypeError, "real numbers"),
        ({"user": USER > 1}, TypeError, "real numbers"),
        ({"first_slate": SLATE[:-1]}, ValueError, r"options\['first_slate'\] must have shape \(10,\)"),
        ({"first_slate": SLATE + 1000}, ValueError, r"options\['first_slate'\] must hold .* \[0, 1000\)"),
        ({"first_slate": SLATE - 31}, ValueError, "got -1"),
        ({"first_slate": SLATE * 1.0}, TypeError, "integer"),
    ],
)
def test_wrong_options_are_refused_and_change_nothing(options, error, words):
    env, vector = SlateEnv(), SlateVectorEnv(2)
    env.reset(seed=0)
    before, state = env.shown, env.np_random.bit_generator.state
    with pytest.raises(error, match=words):
        env.reset(seed=5, options=options)
    assert env.shown is before
    assert env.np_random.bit_generator.state == state
    if "got (1" not in words.replace("\\", ""):
        with pytest.raises(error, match=words.split(",\\)")[0]):
            vector.reset(options=options)


def test_vector_options_are_those_of_single_environments():
    users = np.random.default_rng(0).random((3, 20))
    slates = np.random.default_rng(1).integers(0, 1000, (3, 10))
    vector = SlateVectorEnv(3, autoreset_mode="disabled")
    observations, infos = vector.reset(seed=6, options={"user": users, "first_slate": slates})
    singles = [SlateEnv() for _ in range(3)]
    for i, single in enumerate(singles):
        observation, info = single.reset(seed=6 + i, options={"user": users[i], "first_slate": slates[i]})
        np.testing.assert_array_equal(observations["clicks"][i], observation["clicks"])
        np.testing.assert_array_equal(infos["slate"][i], info["slate"])
        np.testing.assert_array_equal(infos["user_state"][i], info["user_state"])
    actions = np.tile(SLATE, (3, 1))
    for _ in range(20):
        rewards = vector.step(actions)[1]
        assert rewards.tolist() == [single.step(SLATE)[1] for single in singles]


def test_one_row_is_for_everyone_as_in_gymnasiums_sync_vector_env():
    ours, theirs = SlateVectorEnv(3), SyncVectorEnv([SlateEnv] * 3)
    options = {"user": USER, "first_slate": SLATE}
    _, infos = ours.reset(seed=2, options=options)
    _, expected = theirs.reset(seed=2, options=options)
    for key in expected:
        np.testing.assert_array_equal(infos[key], expected[key])


def test_only_the_masked_users_are_given():
    env = SlateVectorEnv(3, autoreset_mode="disabled")
    env.reset(seed=0)
    before = env.simulator.users.preference.copy()
    mask = np.array([False, True, False])
    users = np.zeros((3, 20))  # rows that are not reset are not looked at
    users[1] = USER
    env.reset(options={"reset_mask": mask, "user": users})
    after = env.simulator.users.preference
    np.testing.assert_array_equal(after[~mask], before[~mask])
    np.testing.assert_allclose(after[1], USER / block_norm_sum(USER))


def test_vector_options_of_another_shape_are_refused():
    env = SlateVectorEnv(3)
    with pytest.raises(ValueError, match=r"\(20,\) or \(3, 20\), got \(2, 20\)"):
        env.reset(options={"user": np.ones((2, 20))})
    with pytest.raises(ValueError, match=r"\(10,\) or \(3, 10\), got \(4, 10\)"):
        env.reset(options={"first_slate": np.ones((4, 10), int)})


def test_sessions_that_autoreset_opens_draw_their_own_users():
    given, usual = SlateVectorEnv(2, episode_length=2), SlateVectorEnv(2, episode_length=2)
    given.reset(seed=0, options={"user": USER}), usual.reset(seed=0)
    actions = np.tile(SLATE, (2, 1))
    for _ in range(2):
        infos, expected = given.step(actions)[4], usual.step(actions)[4]
    np.testing.assert_array_equal(infos["user_state"], expected["user_state"])


def test_a_world_of_another_size():
    world = SlateConfig(num_topics=3, topic_size=4, slate_size=1, num_items=5)
    _, info = SlateEnv(world).reset(seed=0, options={"user": np.eye(12)[0], "first_slate": [4]})
    np.testing.assert_array_equal(info["user_state"], np.eye(12)[0])
    np.testing.assert_array_equal(info["slate"], [4])
