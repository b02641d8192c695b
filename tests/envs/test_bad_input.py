"""Anything may be given: the answer is a valid step, or a ValueError or TypeError that names what is wrong."""

import dataclasses
import re
import typing

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from gems_gym import SlateConfig
from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.testing import replay_session

FIELDS = [field.name for field in dataclasses.fields(SlateConfig)]
SMALL = {"num_items": 30, "slate_size": 4, "num_topics": 3, "episode_length": 3}

ODD_NUMBERS = [
    0, 1, -1, 2, 3, 7, 0.0, -0.0, 0.5, 1.0, 1.5, -1e308, 1e308, 5e-324, float("nan"), float("inf"), -float("inf"),
    10**30, np.int64(3), np.int8(-3), np.uint8(200), np.float32(0.25), np.float64("nan"), True, False, np.bool_(True),
]  # fmt: skip
odd_numbers = st.sampled_from(ODD_NUMBERS)
odd_things = st.one_of(
    odd_numbers,
    st.none(),
    st.text(max_size=5),
    st.sampled_from(["tdPBM", "mixPBM", "diffuse", "focused", b"mixPBM", {}, {"a": 1}, [], (), [1], [[0.5]], object()]),
    st.lists(odd_numbers, max_size=5),
    st.floats(),
    st.integers(-5, 20),
    st.just(3 + 4j),
    st.builds(np.array, odd_numbers),
    st.builds(np.array, st.lists(st.floats(0, 1), min_size=4, max_size=4)),
)  # fmt: skip

SIZES = {"num_items", "slate_size", "num_topics", "topic_size", "recent_items_maxlen"}  # they take memory


def is_huge(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and abs(value) > 10_000


def play_one_session(env):
    """A whole session of random slates, each step checked."""
    size = env.config.slate_size
    observation, info = env.reset(seed=0)
    truncated, steps = False, 0
    while not truncated and steps < 5:
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        steps += 1
        assert observation in env.observation_space
        assert reward == observation["clicks"].sum()
        assert 0 <= reward <= size
        assert not terminated
        for key, dtype in (("scores", np.float32), ("relevances", np.float32), ("user_state", np.float32)):
            assert info[key].dtype == dtype
            assert np.isfinite(info[key]).all(), key
        assert ((info["relevances"] >= 0) & (info["relevances"] <= 1)).all()
        blocks = info["user_state"].astype(np.float64).reshape(env.config.num_topics, -1)
        assert np.sqrt((blocks**2).sum(axis=1)).sum() == pytest.approx(1, abs=1e-4)
    assert steps == min(5, env.config.episode_length)


def names_what_is_wrong(error, names):
    return any(re.search(rf"\b{name}\b", str(error)) for name in names)


def check_any_answer(name, value, vector):
    """A world with one odd parameter is refused by its name, or can be played."""
    if is_huge(value) and value < 2**63 and name in SIZES:
        return
    world = {**SMALL, name: value}
    try:
        env = SlateVectorEnv(2, **world) if vector else SlateEnv(**world)
    except (ValueError, TypeError) as error:
        assert names_what_is_wrong(error, [name]), f"{name}={value!r}: {error}"  # noqa: PT017
    else:
        if not vector:
            play_one_session(env)
        else:
            env.reset(seed=0)
            for _ in range(4):
                _, rewards, *_ = env.step(env.action_space.sample())
                assert ((rewards >= 0) & (rewards <= env.config.slate_size)).all()


@pytest.mark.parametrize("name", FIELDS)
def test_every_odd_number_for_every_parameter(name):
    for value in ODD_NUMBERS:
        for vector in (False, True):
            check_any_answer(name, value, vector)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(name=st.sampled_from(FIELDS), value=odd_things, vector=st.booleans())
def test_any_value_of_any_parameter(name, value, vector):
    check_any_answer(name, value, vector)


@settings(max_examples=150, deadline=None)
@given(overrides=st.dictionaries(st.sampled_from(FIELDS), st.integers(0, 12) | st.floats(0, 3), max_size=6))
def test_any_combination_of_numbers(overrides):
    world = {**SMALL, **overrides}
    try:
        env = SlateEnv(**world)
    except (ValueError, TypeError) as error:
        assert names_what_is_wrong(error, world), str(error)  # noqa: PT017
    else:
        play_one_session(env)


@settings(max_examples=100, deadline=None)
@given(name=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12).filter(str.isidentifier))
@example(name="omgea")
@example(name="seed")
def test_any_unknown_keyword_is_named(name):
    if name in {*FIELDS, "preset", "item_embeddings", "render_mode", "num_envs", "autoreset_mode",
                "max_episode_steps"}:  # fmt: skip
        return
    for make in (SlateEnv, SlateVectorEnv):
        with pytest.raises(TypeError, match=re.escape(repr(name))):
            make(**{name: 1})


EDGES = [
    {"boredom_threshold": 1}, {"boredom_threshold": 10**12}, {"boredom_timeout": 1}, {"boredom_timeout": 10**12},
    {"boredom_moving_window": 0}, {"boredom_moving_window": 10**12}, {"recent_items_maxlen": 1},
    {"diversity_threshold": 1, "diversity_penalty": 1e300}, {"diversity_threshold": 10**12},
    {"omega": 0.0}, {"omega": 1.0}, {"omega": 5e-324}, {"alpha": 0.0}, {"alpha": 5e-324},
    {"click_propensity": 0.0}, {"click_propensity": 1.0}, {"click_propensity": 5e-324},
    {"relevance_slope": 0.0}, {"relevance_slope": 1e308}, {"relevance_slope": -1e308},
    {"relevance_offset": 1e308}, {"relevance_offset": -1e308},
    {"relevance_offset": 1e308, "relevance_slope": 1e308}, {"relevance_offset": -1e308, "relevance_slope": 1e308},
    {"rel_threshold": 1e308}, {"rel_threshold": -1e308}, {"rel_threshold": 0.0}, {"rel_threshold": 1.0},
    {"prop_threshold": 0.0}, {"prop_threshold": 1.0}, {"prop_threshold": -1e308}, {"prop_threshold": 1e308},
    {"short_term_boost": 0.0}, {"short_term_boost": 1e30},
    {"num_topics": 1, "topic_size": 1}, {"num_topics": 31}, {"slate_size": 30}, {"slate_size": 1},
    {"num_items": 4}, {"num_items": 1, "slate_size": 1, "num_topics": 1, "topic_size": 1, "episode_length": 1},
    {"propensities": (0.0,) * 4}, {"propensities": (1.0,) * 4}, {"episode_length": 10**12},
    {"click_only_once": True, "num_items": 4, "rel_threshold": -1e9, "click_propensity": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("edge", EDGES, ids=str)
@pytest.mark.parametrize("version", [0, 1])
def test_edges_are_valid_worlds(edge, version):
    env = SlateEnv(**{**SMALL, "topic_size": 2, **edge}, dynamics_version=version)
    play_one_session(env)
    env.close()


@pytest.mark.parametrize(
    "name", [name for name, hint in typing.get_type_hints(SlateConfig).items() if hint is int]
)
def test_integers_take_no_floats_and_nothing_below_their_range(name):
    lowest = SlateConfig(**{name: getattr(SlateConfig(), name)})
    assert lowest == SlateConfig()
    for value, error in (
        (2.0, TypeError),
        ("2", TypeError),
        (None, TypeError),
        (True, TypeError),
        (-1, ValueError),
    ):
        with pytest.raises(error, match=f"{name} must be"):
            SlateConfig(**{name: value})


actions = st.one_of(
    st_numpy.arrays(
        dtype=st.sampled_from(["i1", "i4", "i8", "u1", "u8", "f4", "?", "c8", "U2"]).map(np.dtype),
        shape=st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    st_numpy.arrays(np.int64, (4,), elements=st.integers(-3, 40)),
    st_numpy.arrays(np.int64, (2, 4), elements=st.integers(-3, 40)),
    st.lists(st.integers(-3, 40), min_size=3, max_size=5),
    st.lists(st.lists(st.integers(0, 29), min_size=4, max_size=4), min_size=1, max_size=3),
    st.lists(odd_numbers, min_size=4, max_size=4),
    odd_things,
)  # fmt: skip


def is_slate(action, shape):
    """Whether an action is what the action space says, up to the kind of integer; lists are taken as arrays."""
    try:
        array = np.asarray(action)
    except ValueError:
        return False
    return array.shape == shape and array.dtype.kind in "iu" and bool(((array >= 0) & (array < 30)).all())


@pytest.mark.parametrize("vector", [False, True])
@settings(max_examples=300, deadline=None)
@given(action=actions)
def test_any_action(vector, action):
    env = SlateVectorEnv(2, **SMALL) if vector else SlateEnv(**SMALL)
    env.reset(seed=0)
    before = [array.copy() for array in env.simulator.users if isinstance(array, np.ndarray)]
    if is_slate(action, (2, 4) if vector else (4,)):
        observation, *_ = env.step(action)
        assert observation in env.observation_space
        np.testing.assert_array_equal(observation["slate"], action)
    else:
        with pytest.raises((ValueError, TypeError), match="action"):
            env.step(action)
        after = [array for array in env.simulator.users if isinstance(array, np.ndarray)]
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(old, new)


catalogues = st.one_of(
    st_numpy.arrays(
        st.sampled_from([np.float32, np.float64, np.int64, np.bool_, "U2", np.complex64]),
        st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7),
    ),
    st_numpy.arrays(
        np.float64, st.tuples(st.integers(0, 7), st.just(6)), elements=st.sampled_from(
            [0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, 1e200, 1e308, 5e-324, float("nan"), float("inf")])
    ),
    odd_things.filter(lambda value: not isinstance(value, str)),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(items=catalogues)
@example(items=np.full((7, 6), 1e300))
@example(items=np.full((7, 6), 1e-300))
@example(items=np.full((7, 6), 1e38))
@example(items=np.full((7, 6), 1e-40))
def test_any_item_embeddings(items):
    if items is None:
        return
    try:
        env = SlateEnv(slate_size=4, num_topics=3, episode_length=3, item_embeddings=items)
    except (ValueError, TypeError) as error:
        assert names_what_is_wrong(error, ["item_embeddings", "slate_size", "num_items"]), error  # noqa: PT017
    else:
        play_one_session(env)


@settings(max_examples=150, deadline=None)
@given(
    which=st.sampled_from(
        ["user_initial", "first_clicks", "slates", "clicks", "item_embeddings", "short_term_topic"]
    ),
    value=st.one_of(
        odd_things,
        st_numpy.arrays(np.float64, st_numpy.array_shapes(max_dims=3, max_side=4)),
    ),
)
def test_any_recorded_session(which, value):
    rng = np.random.default_rng(0)
    session = {
        "item_embeddings": rng.random((8, 6)), "user_initial": rng.random(6), "first_clicks": [1, 0, 0, 1],
        "slates": rng.integers(8, size=(3, 4)), "clicks": rng.integers(2, size=(3, 4)),
    }  # fmt: skip
    if isinstance(value, str) and which == "item_embeddings":
        return  # the path of a file
    try:
        got = replay_session(
            SlateConfig(num_items=8, slate_size=4, num_topics=3), **{**session, which: value}
        )
    except (ValueError, TypeError) as error:
        known = [which, "slate_size", "num_items"] if which == "item_embeddings" else [which]
        assert names_what_is_wrong(error, known), error  # noqa: PT017
    else:
        assert got["scores"].shape == (len(got["slates"]), 4)


def test_a_keyword_of_gymnasium_make_is_named_through_make_and_make_vec():
    for make in (gymnasium.make, gymnasium.make_vec):
        with pytest.raises(TypeError, match="did you mean 'boredom_timeout'"):
            make("GemsSlate-diffuse_mix-v1", bordom_timeout=3)
        with pytest.raises(ValueError, match="boredom_timeout must be an integer ≥ 1, got 0"):
            make("GemsSlate-diffuse_mix-v1", boredom_timeout=0)
        with pytest.raises(ValueError, match="dynamics_version must be an integer from 0 to 1, got 2"):
            make("GemsSlate-diffuse_mix-v0", dynamics_version=2)
