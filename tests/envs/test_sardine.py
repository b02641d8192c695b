"""SARDINE's worlds as environments; their numbers are tested in tests/simulator, what all worlds must do elsewhere."""

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym import SardineConfig, SlateConfig
from gems_gym.config import resolve_config
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.rollouts import play_sessions
from gems_gym.sardine_config import SARDINE_PRESETS
from gems_gym.simulator.sardine import finish_preferences
from tests.envs.test_bad_input import ODD_NUMBERS, SIZES, is_huge, names_what_is_wrong, odd_things

ENV = "Sardine-SlateTopK-BoredInf-v0"
SMALL = {"num_items": 30, "slate_size": 4, "num_topics": 4, "episode_length": 3}
FIELDS = SardineConfig.parameters()


def play(env, seed=0):
    """A session of random slates: what came of each step."""
    env.reset(seed=seed)
    env.action_space.seed(seed)
    steps = [env.step(env.action_space.sample())]
    while not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(env.action_space.sample()))
    return steps


@pytest.mark.parametrize("length", [1, 7])
def test_sessions_terminate(length):
    ends = [step[2:4] for step in play(gymnasium.make(ENV, episode_length=length))]
    assert ends == [(False, False)] * (length - 1) + [(True, False)]
    env = gymnasium.make_vec(ENV, num_envs=3, episode_length=length, autoreset_mode="disabled")
    env.reset(seed=0)
    for step in range(length):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not truncated.any() and (terminated == (step + 1 == length)).all()


def test_the_history_is_observed_and_is_not_the_state():
    env = gymnasium.make(
        ENV, click_prop=1.0, rel_threshold=-1.0, boredom_threshold=20, recent_items_maxlen=15
    )
    env.reset(seed=0)
    observation, reward, *_, info = env.step(np.arange(10))
    assert reward == 10 and observation["hist"].dtype == np.float32
    topics = env.unwrapped.catalog.item_topics
    counts = np.bincount(topics[info["slate"]], minlength=10)
    assert (observation["hist"] >= counts / 20 - 1e-6).all() and (observation["hist"] <= 1).all()
    np.testing.assert_array_equal(observation["hist"], info["user_state"][10:20])
    observation["hist"][:] = 9
    assert (info["user_state"] <= 1).all()


def test_users_like_three_to_five_topics_as_often_as_drawing_again_gives():
    env = gymnasium.make_vec("Sardine-SlateTopK-Bored-v0", num_envs=2000)  # no drift
    env.reset(seed=0)
    users = env.unwrapped.simulator.users.preference
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1)
    rng = np.random.default_rng(0)
    kept = (rng.random((100_000, 10)) < 0.4).sum(axis=1)
    kept = kept[(kept >= 3) & (kept <= 5)]
    found = (users > 0).sum(axis=1)
    for number in (3, 4, 5):
        assert abs((found == number).mean() - (kept == number).mean()) < 0.04
    assert abs((users > 0).mean(axis=0) - (users > 0).mean()).max() < 0.04


@pytest.mark.parametrize("num_topics", [3, 4, 500])
def test_any_number_of_topics_has_users(num_topics):
    uniforms = np.random.default_rng(0).random((200, 2 * num_topics + 1))
    numbers = set((finish_preferences(uniforms, num_topics) > 0).sum(axis=1).tolist())
    assert numbers == {3: {3}, 4: {3, 4}, 500: {4, 5}}[num_topics]


def test_items_have_two_or_three_topics():
    items = gymnasium.make(ENV).unwrapped.catalog.item_embeddings
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1, atol=1e-6)
    assert set((items > 0).sum(axis=1).tolist()) == {2, 3}


def test_first_slates_are_drawn_and_may_repeat_items():
    env = gymnasium.make_vec("Sardine-SlateRerank-Bored-v0", num_envs=50)
    slates = env.reset(seed=0)[0]["slate"]
    assert len({tuple(slate) for slate in slates.tolist()}) == 50
    assert any(len(set(slate)) < 10 for slate in slates.tolist())
    given = env.reset(seed=0, options={"first_slate": np.arange(10)})[0]["slate"]
    np.testing.assert_array_equal(given, np.tile(np.arange(10), (50, 1)))


def test_a_given_user_is_scaled_to_norm_one():
    env = gymnasium.make("Sardine-SlateRerank-Static-v0").unwrapped
    env.reset(seed=0, options={"user": np.arange(10)})
    np.testing.assert_allclose(env.simulator.users.preference[0], np.arange(10) / np.sqrt(285))  # no drift


def test_users_with_churn_click_nothing_while_bored():
    env = gymnasium.make_vec("Sardine-SlateTopK-Bored-v0", num_envs=50, autoreset_mode="disabled")
    bored = clicks = 0
    for moment in play_sessions(env, make_policy("short_term_oracle", env), range(50)):
        gone = moment.infos["bored"].any(axis=1)
        bored += gone.sum()
        clicks += moment.infos["clicks"][gone].sum()
    assert bored > 1000 and clicks == 0


def test_a_configuration_survives_the_spec():
    config = SARDINE_PRESETS["SlateRerank-Bored"].replace(boredom_type="user_tloi")
    env = gymnasium.make(ENV, preset=config)
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.config == env.unwrapped.config == config
    assert resolve_config(config) is config


def test_a_session_can_be_seen():
    env = gymnasium.make(ENV, render_mode="rgb_array")
    play(env)
    assert env.render().shape == (480, 640, 3)


def test_kinds_of_worlds_are_not_mixed():
    with pytest.raises(ValueError, match="dynamics='sardine' has parameters of its own"):
        SlateConfig(dynamics="sardine")
    with pytest.raises(TypeError, match=r"unknown SardineConfig parameter 'click_propensity'.*click_prop"):
        gymnasium.make(ENV, click_propensity=0.5)
    with pytest.raises(TypeError, match="unknown SlateConfig parameter 'boredom_type'"):
        gymnasium.make("GemsSlate-diffuse_mix-v0", boredom_type="user_car")


def check_any_answer(world):
    """A world with odd parameters is refused by the name of one, or a session can be played."""
    try:
        env = SlateEnv("SlateTopK-BoredInf", **{**SMALL, **world})
    except (ValueError, TypeError) as error:
        assert names_what_is_wrong(error, world), f"{world}: {error}"  # noqa: PT017
        return
    env.reset(seed=0)
    for _ in range(min(3, env.config.episode_length)):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert reward == observation["clicks"].sum() and not truncated
        assert ((info["relevances"] >= 0) & (info["relevances"] <= 1)).all()
        assert np.isfinite(info["user_state"]).all() and np.isfinite(info["scores"]).all()
    assert terminated == (env.config.episode_length <= 3)


@pytest.mark.parametrize("name", FIELDS)
def test_every_odd_number_for_every_parameter(name):
    for value in ODD_NUMBERS:
        if not (is_huge(value) and value < 2**63 and name in SIZES):
            check_any_answer({name: value})


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(FIELDS), value=odd_things)
def test_any_value_of_any_parameter(name, value):
    check_any_answer({name: value})


@settings(max_examples=100, deadline=None)
@given(world=st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 12) | st.floats(0, 3), max_size=6))
def test_any_combination_of_numbers(world):
    check_any_answer(world)


def test_threads_give_the_same_bits():
    shown = []
    for num_threads in (1, 3):
        env = SlateVectorEnv(50, "SlateTopK-BoredInf", num_threads=num_threads)
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(20):
            env.step(env.action_space.sample())
        shown.append(env.shown)
    for one, other in zip(*shown, strict=True):
        np.testing.assert_array_equal(one, other)
