"""Habits that Gymnasium users count on: checkers, vectors, specs, copies, seeds, wrappers; all ids in both versions."""

import copy
import pickle
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation, RecordEpisodeStatistics, TimeLimit
from gymnasium.wrappers import vector as vector_wrappers

from gems_gym import PRESETS, SlateConfig
from gems_gym.envs import SlateVectorEnv
from gems_gym.registration import environment_id, environment_ids

IDS = environment_ids()
VERSIONS = [environment_id("diffuse_mix", version) for version in (0, 1)]
SHORT = {"episode_length": 5, "num_items": 60, "boredom_threshold": 2}
MODES = ["sync", "async", "vector_entry_point"]


def assert_same(first, second):
    """Nested dictionaries, tuples and arrays hold the same bits."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, tuple | list) or (isinstance(first, np.ndarray) and first.dtype == object):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        np.testing.assert_array_equal(first, second)


def all_float32(infos):
    return all(
        value.dtype == np.float32
        for value in infos.values()
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    )


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # what spawning or forking says about the threads of the test run's own tools
        warnings.filterwarnings(
            "ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning
        )
        yield


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("render_mode", [None, "ansi"])
def test_gymnasium_finds_nothing_to_say(env_id, render_mode):
    env = gymnasium.make(env_id, render_mode=render_mode)
    check_env(env.unwrapped)
    env.reset(seed=0)
    for _ in range(3):  # the passive checker looks at every call
        env.step(env.action_space.sample())
    env.close()


@pytest.mark.parametrize("env_id", IDS)
def test_stable_baselines3_finds_nothing_to_say(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # what the libraries say when they are imported
        sb3_check = pytest.importorskip("stable_baselines3.common.env_checker")
    sb3_check.check_env(gymnasium.make(env_id))


@pytest.mark.parametrize("env_id", VERSIONS)
@pytest.mark.parametrize("mode", MODES)
def test_every_vectorisation_gives_the_same_sessions(env_id, mode):
    vector_kwargs = (
        {} if mode == "vector_entry_point" else {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
    )
    env = gymnasium.make_vec(
        env_id, num_envs=3, vectorization_mode=mode, vector_kwargs=vector_kwargs, **SHORT
    )
    ours = SlateVectorEnv(3, "diffuse_mix", dynamics_version=int(env_id[-1]), **SHORT)
    assert env.observation_space == ours.observation_space
    assert env.action_space == ours.action_space
    assert env.single_action_space == ours.single_action_space
    env.action_space.seed(1)
    for _ in range(2):
        assert_same(env.reset(seed=7), ours.reset(seed=7))
        for _ in range(12):
            action = env.action_space.sample()
            got, expected = env.step(action), ours.step(action)
            np.testing.assert_array_equal(got[1], expected[1])
            assert_same(got, expected)
    env.close()


@pytest.mark.parametrize("make", [SyncVectorEnv, AsyncVectorEnv])
@pytest.mark.parametrize("env_id", VERSIONS)
def test_vectors_of_environments_made_by_hand(make, env_id):
    env = make([lambda: gymnasium.make(env_id, **SHORT)] * 2)
    observations, _ = env.reset(seed=[3, 9])
    alone = gymnasium.make(env_id, **SHORT)
    assert_same({key: value[1] for key, value in observations.items()}, alone.reset(seed=9)[0])
    assert env.call("short_term_oracle_slate" if make is SyncVectorEnv else "metadata")
    env.close()
    env.close()


SPECS = [
    {},
    {"omega": 0.5, "rel_threshold": 0.2, "propensities": [0.5] * 10, "click_only_once": True},
    {"preset": SlateConfig(omega=0.25, propensities=(0.5,) * 10)},
    {"render_mode": "ansi", "catalog": "focused", "catalog_seed": 3},
]


@pytest.mark.parametrize("overrides", SPECS, ids=lambda overrides: ",".join(overrides) or "none")
@pytest.mark.parametrize("env_id", VERSIONS)
def test_specs_survive_json(env_id, overrides):
    env = gymnasium.make(env_id, **overrides)
    spec = EnvSpec.from_json(env.spec.to_json())
    assert spec.version == int(env_id[-1])
    again = gymnasium.make(spec)
    assert again.unwrapped.config == env.unwrapped.config
    assert again.render_mode == env.render_mode
    assert again.spec.to_json() == env.spec.to_json()
    assert_same(again.reset(seed=1), env.reset(seed=1))
    envs = gymnasium.make_vec(env_id, num_envs=3, autoreset_mode="disabled", **overrides)
    made_again = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert made_again.num_envs == 3
    assert made_again.unwrapped.config == env.unwrapped.config
    assert made_again.metadata["autoreset_mode"] is gymnasium.vector.AutoresetMode.DISABLED


def test_specs_of_ones_own_embeddings_hold_the_file(tmp_path):
    np.save(tmp_path / "items.npy", np.random.default_rng(0).random((30, 20)))
    env = gymnasium.make(VERSIONS[1], item_embeddings=str(tmp_path / "items.npy"))
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.unwrapped.catalog.hash == env.unwrapped.catalog.hash
    with pytest.raises(TypeError, match="not JSON serializable"):  # an array has no place in a spec
        gymnasium.make(VERSIONS[1], item_embeddings=np.eye(20)).spec.to_json()


@pytest.mark.parametrize("env_id", IDS)
def test_a_copy_goes_on_with_the_session(env_id):
    env = gymnasium.make(env_id, **SHORT)
    env.reset(seed=4)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(5)]
    env.step(actions[0])
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]  # noqa: S301
    expected = [env.step(action) for action in actions[1:]] + [env.reset()]
    for twin in twins:
        assert_same([twin.step(action) for action in actions[1:]] + [twin.reset()], expected)


@pytest.mark.parametrize("env_id", VERSIONS)
def test_copies_of_a_vector_environment(env_id):
    envs = gymnasium.make_vec(env_id, num_envs=3, **SHORT)
    envs.reset(seed=4)
    actions = [envs.action_space.sample() for _ in range(7)]
    twins = [copy.deepcopy(envs), pickle.loads(pickle.dumps(envs))]  # noqa: S301
    expected = [envs.step(action) for action in actions]
    for twin in twins:
        assert_same([twin.step(action) for action in actions], expected)


def test_a_copy_made_before_the_first_reset():
    env = gymnasium.make(VERSIONS[0])
    twin = pickle.loads(pickle.dumps(copy.deepcopy(env)))  # noqa: S301
    assert_same(twin.reset(seed=1), env.reset(seed=1))


@pytest.mark.parametrize("env_id", VERSIONS)
def test_seeds_are_told(env_id):
    env = gymnasium.make(env_id)
    env.reset(seed=17)
    assert env.unwrapped.np_random_seed == 17
    env.reset()
    assert env.unwrapped.np_random_seed == 17
    envs = gymnasium.make_vec(env_id, num_envs=3)
    envs.reset(seed=17)
    assert envs.unwrapped.np_random_seed == (17, 18, 19)
    envs.reset(seed=[5, 1, 3])
    assert envs.unwrapped.np_random_seed == (5, 1, 3)


@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_spaces_are_sampled_by_their_own_seed(make):
    first, again, other = (make(VERSIONS[0]) for _ in range(3))
    for env, seed in ((first, 3), (again, 3), (other, 4)):
        env.action_space.seed(seed), env.observation_space.seed(seed)
    again.reset(seed=99)  # does not disturb them
    for space in ("action_space", "observation_space"):
        samples = [[getattr(env, space).sample() for _ in range(3)] for env in (first, again, other)]
        assert_same(samples[0], samples[1])
        with pytest.raises(AssertionError):
            assert_same(samples[0], samples[2])


@pytest.mark.parametrize("env_id", IDS)
def test_numbers_are_float32_everywhere(env_id):
    env = gymnasium.make(env_id)
    _, info = env.reset(seed=0)
    assert all_float32(info) and info["slate"].dtype == np.int64 and info["clicks"].dtype == np.int8
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert all_float32(info) and info["bored"].dtype == np.bool_
    assert (observation["slate"].dtype, observation["clicks"].dtype) == (np.int64, np.int8)
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    envs = gymnasium.make_vec(env_id, num_envs=2, **SHORT)
    _, infos = envs.reset(seed=0)
    assert all_float32(infos)
    for _ in range(5):
        _, rewards, terminations, truncations, infos = envs.step(envs.action_space.sample())
        assert rewards.dtype == np.float32
        assert terminations.dtype == truncations.dtype == np.bool_
        assert all_float32(infos)
    assert all_float32(infos["final_info"])


def session_return(env, seed):
    env.reset(seed=seed)
    total, steps, ended = 0.0, 0, False
    while not ended:
        _, reward, terminated, truncated, info = env.step(np.arange(10))
        total, steps, ended = total + reward, steps + 1, terminated or truncated
    return total, steps, info


@pytest.mark.parametrize("env_id", VERSIONS)
def test_record_episode_statistics(env_id):
    total, steps, info = session_return(RecordEpisodeStatistics(gymnasium.make(env_id)), 5)
    assert info["episode"]["r"] == total
    assert info["episode"]["l"] == steps == 100


@pytest.mark.parametrize("mode", ["same_step", "next_step"])
def test_record_episode_statistics_of_many(mode):
    envs = vector_wrappers.RecordEpisodeStatistics(
        gymnasium.make_vec(VERSIONS[1], num_envs=3, autoreset_mode=mode, **SHORT)
    )
    slate = np.arange(10)
    alone = [session_return(gymnasium.make(VERSIONS[1], **SHORT), 5 + i)[0] for i in range(3)]
    envs.reset(seed=5)
    for step in range(1, 6):
        *_, truncated, infos = envs.step(np.repeat(slate[None], 3, axis=0))
        assert truncated.all() == (step == 5)
    recorded = infos["final_info"]["episode"] if "episode" not in infos else infos["episode"]
    np.testing.assert_array_equal(recorded["r"], alone)
    assert recorded["l"].tolist() == [5, 5, 5]


def test_time_limit_and_max_episode_steps():
    for env in (TimeLimit(gymnasium.make(VERSIONS[0]), 7), gymnasium.make(VERSIONS[0], max_episode_steps=7)):
        assert session_return(env, 0)[1] == 7
    assert session_return(TimeLimit(gymnasium.make(VERSIONS[0]), 700), 0)[1] == 100


def test_flatten_observation():
    env = FlattenObservation(gymnasium.make(VERSIONS[0], num_items=30, slate_size=4))
    assert env.observation_space.shape == (4 * 30 + 4,)
    observation, _ = env.reset(seed=0)
    assert observation in env.observation_space
    assert observation.sum() >= 4  # one of 30 per position, and the clicks
    observation, *_ = env.step(np.array([1, 1, 2, 29]))
    assert observation in env.observation_space


@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_dict_info_to_list(mode):
    envs = gymnasium.make_vec(VERSIONS[0], num_envs=3, autoreset_mode=mode, **SHORT)
    listed = vector_wrappers.DictInfoToList(envs)
    twin = gymnasium.make_vec(VERSIONS[0], num_envs=3, autoreset_mode=mode, **SHORT)
    (_, infos), (_, expected) = listed.reset(seed=2), twin.reset(seed=2)
    actions = np.arange(30).reshape(3, 10)
    for step in range(6):
        assert len(infos) == 3
        for row, info in enumerate(infos):
            assert set(info) >= {"slate", "clicks", "scores", "relevances", "bored", "user_state"}
            np.testing.assert_array_equal(info["user_state"], expected["user_state"][row])
            if "final_info" in info:
                np.testing.assert_array_equal(
                    info["final_info"]["scores"], expected["final_info"]["scores"][row]
                )
        if mode == "disabled" and step == 5:
            break
        infos, expected = listed.step(actions)[4], twin.step(actions)[4]


def test_a_with_block_closes():
    with gymnasium.make(VERSIONS[0]) as env:
        env.reset(seed=0)
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        env.reset()


def test_six_worlds_in_two_versions():
    assert len(IDS) >= 12 and {env_id.split("-")[1] for env_id in IDS} >= set(PRESETS)
