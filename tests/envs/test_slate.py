import copy
import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

import gems_gym
from gems_gym import PRESETS, SlateConfig
from gems_gym.envs import SlateEnv
from gems_gym.envs.spaces import INFO_KEYS
from gems_gym.registration import environment_id

IDS = [environment_id(preset) for preset in PRESETS]


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_gymnasium_accepts_it_without_warnings(env_id, render_mode):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make(env_id, render_mode=render_mode).unwrapped)


@pytest.mark.parametrize("env_id", IDS)
def test_stable_baselines3_accepts_it_without_warnings(env_id):
    sb3_check = pytest.importorskip("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sb3_check.check_env(gymnasium.make(env_id))


def test_make_with_the_module_name_needs_no_import():
    code = "import gymnasium; print(gymnasium.make('gems_gym:GemsSlate-diffuse_mix-v0').unwrapped.config.click_model)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "mixPBM"


def test_a_session_is_a_hundred_steps_with_the_same_info_keys():
    env = gymnasium.make(IDS[0])
    observation, info = env.reset(seed=1)
    assert tuple(info) == INFO_KEYS
    assert observation in env.observation_space
    total = 0.0
    for step in range(1, 101):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert tuple(info) == INFO_KEYS
        assert observation in env.observation_space
        assert type(reward) is float
        assert reward == observation["clicks"].sum()
        assert not terminated
        assert truncated == (step == 100)
        np.testing.assert_array_equal(observation["slate"], info["slate"])
        total += reward
    assert total > 0
    assert info["user_state"].dtype == info["scores"].dtype == info["relevances"].dtype == np.float32


def test_same_seed_same_session_and_other_seed_another():
    def play(seed):
        env = gymnasium.make(IDS[1])
        env.action_space.seed(3)
        _, info = env.reset(seed=seed)
        rewards = [env.step(env.action_space.sample())[1] for _ in range(100)]
        return info["user_state"], rewards

    first, again, other = play(5), play(5), play(6)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    assert not np.array_equal(first[0], other[0])


def test_the_next_user_after_a_reset_without_seed_is_another_one():
    env = gymnasium.make(IDS[0])
    first = env.reset(seed=5)[1]["user_state"]
    second = env.reset()[1]["user_state"]
    assert not np.array_equal(first, second)
    env.reset(seed=5)
    np.testing.assert_array_equal(env.reset()[1]["user_state"], second)


@pytest.mark.parametrize("length", [1, 7, 300])
def test_a_session_may_be_shorter_or_longer(length):
    env = gymnasium.make(IDS[0], episode_length=length)
    env.reset(seed=0)
    slate = np.arange(10)
    ends = [env.step(slate)[3] for _ in range(length)]
    assert ends == [False] * (length - 1) + [True]


def test_keywords_override_the_preset_and_survive_json():
    env = gymnasium.make(IDS[0], omega=0.5, num_items=50, boredom_timeout=2)
    assert env.unwrapped.config == PRESETS["focused_topdown"].replace(
        omega=0.5, num_items=50, boredom_timeout=2
    )
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.config == env.unwrapped.config


def test_own_embeddings_as_array_or_file(tmp_path):
    embeddings = np.random.default_rng(0).random((30, 20), dtype=np.float32)
    np.save(tmp_path / "items.npy", embeddings)
    given_array = gymnasium.make(IDS[0], item_embeddings=embeddings)
    given_file = gymnasium.make(IDS[0], item_embeddings=str(tmp_path / "items.npy"))
    assert given_array.unwrapped.config.num_items == 30
    assert given_array.unwrapped.catalog.hash == given_file.unwrapped.catalog.hash
    assert gymnasium.make(IDS[0]).unwrapped.catalog.hash != given_file.unwrapped.catalog.hash
    assert "items.npy" in given_file.spec.to_json()


@pytest.mark.parametrize(
    ("embeddings", "error", "words"),
    [
        (np.full((30, 20), np.nan), ValueError, "finite"),
        (np.zeros((30, 20)), ValueError, "all zero"),
        (np.ones((30, 19)), ValueError, r"\(30, 20\)"),
        (np.ones(30), ValueError, "must have shape"),
        (np.ones((5, 20)), ValueError, "larger than the catalogue"),
        (np.full((30, 20), "a"), TypeError, "real numbers"),
        ("nowhere.npy", FileNotFoundError, "nowhere.npy"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(embeddings, error, words):
    with pytest.raises(error, match=words):
        SlateEnv(item_embeddings=embeddings)


def test_a_file_that_is_no_array_is_refused(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(ValueError, match=r"text\.npy.*no \.npy file"):
        SlateEnv(item_embeddings=tmp_path / "text.npy")


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        (np.arange(9), ValueError, r"shape \(10,\)"),
        (np.arange(20).reshape(2, 10), ValueError, r"shape \(10,\)"),
        (np.linspace(0, 1, 10), TypeError, "integer"),
        (np.full(10, 1000), ValueError, r"\[0, 1000\), got 1000"),
        (np.full(10, -1), ValueError, "got -1"),
        (np.full(10, True), TypeError, "integer"),
        (["a"] * 10, TypeError, "integer"),
        ([[1], [1, 2]], ValueError, "action must be an array"),
    ],
)
def test_wrong_slates_are_refused_and_change_nothing(action, error, words):
    env = SlateEnv()
    env.reset(seed=0)
    before = copy.deepcopy(env.simulator.users)
    with pytest.raises(error, match=words):
        env.step(action)
    for old, new in zip(before, env.simulator.users, strict=True):
        np.testing.assert_array_equal(old, new)


def test_calls_out_of_turn_are_refused():
    env = SlateEnv(episode_length=1, render_mode="ansi")
    with pytest.raises(ResetNeeded, match="before the first reset"):
        env.step(np.arange(10))
    with pytest.raises(ResetNeeded, match="before the first reset"):
        env.render()
    env.reset(seed=0)
    env.step(np.arange(10))
    with pytest.raises(ResetNeeded, match="after the session's end"):
        env.step(np.arange(10))
    env.close()
    env.close()
    for call in (env.reset, lambda: env.step(np.arange(10))):
        with pytest.raises(ClosedEnvironmentError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"options": {"usr": 1}}, ValueError, "reset option 'usr'"),
    ],
)
def test_wrong_reset_arguments_are_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        SlateEnv().reset(**arguments)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'diffuse_topdown'"):
        SlateEnv("diffuse_topdwn")
    with pytest.raises(ValueError, match="did you mean 'ansi'"):
        SlateEnv(render_mode="ansii")
    with pytest.raises(TypeError, match="did you mean 'omega'"):
        gymnasium.make(IDS[0], omegga=0.3)


def test_pickle_and_deepcopy_keep_the_session():
    env = SlateEnv()
    env.reset(seed=4)
    slate = np.arange(10)
    env.step(slate)
    twins = [pickle.loads(pickle.dumps(env)), copy.deepcopy(env)]  # noqa: S301
    expected = [env.step(slate)[1] for _ in range(99)]
    for twin in twins:
        assert [twin.step(slate)[1] for _ in range(99)] == expected


def test_an_observation_is_the_users_own():
    env = SlateEnv()
    first, _ = env.reset(seed=0)
    first["slate"][:] = 0
    again, info = env.reset(seed=0)
    assert again["slate"].any()
    assert info["slate"].any()
    again["clicks"][:] = 7
    assert (info["clicks"] <= 1).all()


def test_ansi_frame_shows_the_slate():
    env = gymnasium.make(IDS[0], render_mode="ansi")
    env.reset(seed=0)
    env.step(np.arange(10))
    frame = env.render()
    assert frame.startswith("step 1/100")
    assert "item 9 " in frame
    assert "bored of: nothing" in frame


def test_the_oracle_slate_scores_best():
    env = SlateEnv()
    env.reset(seed=0)
    slate = env.short_term_oracle_slate()
    assert len(set(slate.tolist())) == 10
    _, _, _, _, info = env.step(slate)
    assert (np.diff(info["scores"]) <= 0).all()
    random = SlateEnv()
    random.reset(seed=0)
    assert random.step(np.arange(10))[4]["scores"].max() <= info["scores"].max()


worlds = st.builds(
    dict,
    num_items=st.integers(12, 40),
    slate_size=st.integers(1, 12),
    num_topics=st.integers(1, 6),
    topic_size=st.integers(1, 3),
    episode_length=st.integers(1, 12),
    click_model=st.sampled_from(["tdPBM", "mixPBM"]),
    omega=st.floats(0, 1),
    relevance_offset=st.floats(-1, 1),
    relevance_slope=st.floats(-200, 200),
    short_term_boost=st.floats(0, 5),
    diversity_threshold=st.integers(1, 12),
    diversity_penalty=st.floats(1, 10),
    boredom_threshold=st.integers(1, 12),
    boredom_moving_window=st.integers(0, 6),
    boredom_timeout=st.integers(1, 6),
    recent_items_maxlen=st.integers(1, 12),
    click_only_once=st.booleans(),
    rel_threshold=st.none() | st.floats(-1, 1),
    prop_threshold=st.none() | st.floats(-1, 1),
    catalog=st.sampled_from(["focused", "diffuse"]),
)


@settings(max_examples=60, deadline=None)
@given(world=worlds, seed=st.integers(0, 2**31))
def test_any_world_gives_valid_steps(world, seed):
    env = SlateEnv(SlateConfig(**world))
    env.action_space.seed(seed)
    observation, info = env.reset(seed=seed)
    truncated, clicked = False, set(observation["slate"][observation["clicks"] == 1])
    while not truncated:
        assert observation in env.observation_space
        norms = np.sqrt((info["user_state"].reshape(env.config.num_topics, -1) ** 2).sum(axis=1))
        assert norms.sum() == pytest.approx(1, abs=1e-5)
        observation, reward, _, truncated, info = env.step(env.action_space.sample())
        new_clicks = set(observation["slate"][observation["clicks"] == 1])
        assert not (env.config.click_only_once and clicked & new_clicks)
        clicked |= new_clicks
        assert 0 <= reward <= env.config.slate_size
    assert env.simulator.users.step[0] == env.config.episode_length


def test_version_and_ids():
    assert gems_gym.__version__
    assert set(IDS) <= set(gymnasium.registry)
