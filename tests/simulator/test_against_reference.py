"""The compiled dynamics against the slow reference, in any world: every array of a session, step by step."""

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gems_gym import SlateConfig
from gems_gym.envs import SlateEnv
from gems_gym.testing import replay_session

sys.path.insert(0, str(Path(__file__).parent))
import reference_simulator

DATA = Path(__file__).parent.parent / "data"


@st.composite
def configs(draw):
    num_items = draw(st.integers(2, 14))
    slate_size = draw(st.integers(1, min(6, num_items)))
    penalty = draw(st.sampled_from([1.0, 3.0, 0.5]) | st.floats(0.25, 8))
    return SlateConfig(
        num_items=num_items,
        slate_size=slate_size,
        num_topics=draw(st.integers(1, 5)),
        topic_size=draw(st.integers(1, 3)),
        click_model=draw(st.sampled_from(["tdPBM", "mixPBM"])),
        click_propensity=draw(st.sampled_from([0.0, 0.85, 1.0]) | st.floats(0, 1)),
        alpha=draw(st.sampled_from([0.0, 1.0]) | st.floats(0, 1)) * min(1.0, penalty),
        relevance_offset=draw(st.floats(-1, 1)),
        relevance_slope=draw(st.sampled_from([100.0, 0.0, -5.0, 1e4]) | st.floats(-100, 100)),
        rel_threshold=draw(st.none() | st.floats(-0.5, 0.5)),
        prop_threshold=draw(st.none() | st.floats(-0.1, 1.1)),
        propensities=draw(
            st.none() | st.lists(st.floats(0, 1), min_size=slate_size, max_size=slate_size).map(tuple)
        ),
        diversity_threshold=draw(st.integers(1, slate_size + 1)),
        diversity_penalty=penalty,
        omega=draw(st.sampled_from([0.0, 0.9, 1.0]) | st.floats(0, 1)),
        short_term_boost=draw(st.sampled_from([0.0, 1.0, 2.0]) | st.floats(0, 4)),
        boredom_threshold=draw(st.integers(1, 5)),
        boredom_moving_window=draw(st.integers(0, 6)),
        boredom_timeout=draw(st.integers(1, 6)),
        recent_items_maxlen=draw(st.integers(1, 9)),
        click_only_once=draw(st.booleans()),
        dynamics_version=draw(st.sampled_from([0, 1])),
    )


def catalogue(config, kind, rng):
    shape = (config.num_items, config.embedding_size)
    if kind == "grid":  # ties between items and between topics, and items that are all zero
        items = rng.integers(-2, 3, shape) / 4
        items[0, 0] = 1.0
        return items.astype(np.float32)
    if kind == "positive":
        return rng.random(shape, dtype=np.float32)
    return (rng.standard_normal(shape) * rng.choice([0.1, 1.0, 30.0])).astype(np.float32)


def assert_agrees(config, got, expected):
    for name in ("item_topic", "first_slate", "bored", "bored_timeout", "short_term_topic"):
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    for name in ("first_click_prob", "click_prob"):
        scores = np.array(expected["first_scores" if name[0] == "f" else "scores"])
        # a score within a rounding error of a step of the relevance may fall on either side of it
        slack = 1e-12 * max(1.0, abs(config.relevance_slope))
        steady = np.abs(scores - (config.rel_threshold or 0.0)) > 1e-12
        steady |= config.rel_threshold is None
        np.testing.assert_allclose(
            np.where(steady, got[name], 0), np.where(steady, expected[name], 0), rtol=1e-6, atol=1e-7 + slack
        )
    for name in ("scores", "user_after"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-6, atol=1e-7, err_msg=name)
    assert_best(got["oracle_slate"], np.array(expected["all_scores"]), np.array(expected["oracle_slate"]))


def assert_best(slates, all_scores, expected):
    """The same items; where two score the same up to rounding, either."""
    steps = np.arange(len(slates))[:, None]
    scale = np.abs(all_scores).max() + 1e-300
    np.testing.assert_allclose(
        all_scores[steps, slates] / scale, all_scores[steps, expected] / scale, rtol=0, atol=1e-12
    )
    assert all(len(set(slate)) == slates.shape[1] for slate in slates.tolist())


@settings(max_examples=300, deadline=None)
@given(
    config=configs(), kind=st.sampled_from(["grid", "positive", "signed"]), steps=st.integers(1, 30),
    clicking=st.sampled_from([0.1, 0.4, 0.8]), few_items=st.booleans(), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_every_number_of_any_session(config, kind, steps, clicking, few_items, seed):
    rng = np.random.default_rng(seed)
    items = catalogue(config, kind, rng)
    user = (
        rng.standard_normal(config.embedding_size) if kind == "signed" else rng.random(config.embedding_size)
    )
    first_clicks = rng.random(config.slate_size) < clicking
    shown_items = max(1, config.num_items // 3) if few_items else config.num_items
    slates = rng.integers(shown_items, size=(steps, config.slate_size))
    clicks = rng.random(slates.shape) < clicking
    topic = int(rng.integers(config.num_topics))
    session = (items, user, first_clicks, slates, clicks, topic)
    assert_agrees(
        config, replay_session(config, *session), reference_simulator.replay(config, *session)
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(config=configs(), length=st.integers(1, 25), seed=st.integers(0, 2**31))
def test_sessions_that_the_environment_plays(config, length, seed):
    """What step and info show, with the world's own catalogue, users and clicks, is what the reference says."""
    env = SlateEnv(config, episode_length=length)
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    first, topic = observation, int(env.simulator.users.short_term_topic[0])
    user = env.simulator.users.preference[0].copy()
    oracles, observations, infos, rewards = [], [], [], []
    truncated = False
    while not truncated:
        oracles.append(env.short_term_oracle_slate())
        observation, reward, _, truncated, info = env.step(env.action_space.sample())
        observations.append(observation), infos.append(info), rewards.append(reward)
    slates, clicks = (np.stack([one[key] for one in observations]) for key in ("slate", "clicks"))
    items = env.catalog.item_embeddings
    expected = reference_simulator.replay(env.config, items, user, first["clicks"], slates, clicks, topic)
    assert len(rewards) == length
    np.testing.assert_array_equal(rewards, clicks.sum(axis=1))
    np.testing.assert_array_equal(first["slate"], expected["first_slate"])
    for key, name in (("scores", "scores"), ("bored", "bored"), ("user_state", "user_after")):
        np.testing.assert_allclose(
            np.stack([one[key] for one in infos]), expected[name], rtol=1e-6, atol=1e-7, err_msg=key
        )
    if config.rel_threshold is None:
        relevances = np.stack([one["relevances"] for one in infos])
        np.testing.assert_allclose(relevances, expected["relevances"], rtol=1e-6, atol=1e-7)
        probabilities = np.array(expected["click_prob"])
        assert not clicks[probabilities < 1e-9].any()
        assert clicks[probabilities >= 1.0].all()
    assert_best(np.stack(oracles), np.array(expected["all_scores"]), np.array(expected["oracle_slate"]))


@pytest.mark.parametrize("preset", ["diffuse_topdown", "focused_divpen"])
def test_the_reference_itself_gives_the_recorded_numbers(preset):
    with np.load(DATA / f"trace_{preset}.npz") as file:
        recorded = dict(file)
    from gems_gym import PRESETS

    session = 1
    names = ("user_initial", "first_clicks", "slates", "clicks")
    got = reference_simulator.replay(
        PRESETS[preset], recorded["item_embeddings"], *(recorded[name][session] for name in names),
        int(recorded["short_term_topic"][session, 0]),
    )  # fmt: skip
    np.testing.assert_array_equal(got["item_topic"], recorded["item_topic"])
    for name in ("first_slate", "first_click_prob", "click_prob", "scores", "bored", "bored_timeout",
                 "user_after", "oracle_slate", "short_term_topic"):  # fmt: skip
        np.testing.assert_allclose(got[name], recorded[name][session], rtol=0, atol=1e-5, err_msg=name)
