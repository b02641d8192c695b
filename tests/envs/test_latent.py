"""LatentSlateEnv and its vector twin: the wrappers' numbers, Gymnasium's habits, errors that help."""

import copy
import pickle
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from gems_gym.envs import SlateEnv, SlateVectorEnv
from gems_gym.envs.latent import LatentSlateEnv
from gems_gym.envs.latent_vector import LatentSlateVectorEnv
from gems_gym.policies import make_policy
from gems_gym.registration import is_latent, latent_environment_ids, slate_spec
from gems_gym.wrappers import BeliefObservation, LatentAction, VectorBeliefObservation, VectorLatentAction

IDS = latent_environment_ids()
ID = "GemsSlateLatent-diffuse_topdown-v0"
MODES = ["same_step", "next_step", "disabled"]
SEED = 5


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings(
            "ignore", message=".*multi-threaded, use of fork", category=DeprecationWarning
        )
        yield


@pytest.fixture
def parts(tiny_world, tiny_ranker, tiny_belief) -> dict[str, Any]:
    return {"ranker": tiny_ranker, "belief": tiny_belief, **tiny_world}


@pytest.fixture
def files(parts, tmp_path: Path) -> dict[str, Any]:
    """The same with files in the place of objects, as a spec holds them."""
    for name in ("ranker", "belief"):
        parts[name].save(tmp_path / f"{name}.safetensors")
    return {**parts, **{name: str(tmp_path / f"{name}.safetensors") for name in ("ranker", "belief")}}


def assert_same(first: Any, second: Any) -> None:
    """Nested dictionaries, tuples and arrays hold the same bits."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, tuple | list) or (isinstance(first, np.ndarray) and first.dtype == object):
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    else:
        assert getattr(first, "dtype", None) == getattr(second, "dtype", None)
        np.testing.assert_array_equal(first, second)


def latents(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def test_the_six_worlds_have_an_id():
    assert len(IDS) == 6
    for env_id in IDS:
        assert set(gymnasium.spec(env_id).kwargs) == {"preset", "ranker", "belief"}


def test_registering_them_loads_nothing_heavy():
    code = (
        "import sys, gymnasium, gems_gym; gymnasium.spec('GemsSlateLatent-diffuse_mix-v0')\n"
        "sys.exit(' '.join({'numba', 'torch', 'safetensors', 'minari'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("env_id", IDS)
def test_checkers_find_nothing_to_say(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # what the libraries say when they are imported
        sb3_check = pytest.importorskip("stable_baselines3.common.env_checker")
    for render_mode in (None, "ansi"):
        env = gymnasium.make(env_id, render_mode=render_mode, episode_length=5)
        check_env(env.unwrapped)
        sb3_check.check_env(env)
        env.reset(seed=0)
        for _ in range(3):  # the passive checker looks at every call
            env.step(env.action_space.sample())
        env.close()
    assert env.observation_space == gymnasium.spaces.Box(-1, 1, (20,), np.float32)
    assert env.action_space == gymnasium.spaces.Box(-1, 1, (32,), np.float32)


@pytest.mark.parametrize("env_id", [ID, "GemsSlateLatent-focused_divpen-v0"])
def test_a_session_is_the_wrappers_bit_for_bit(env_id):
    env = gymnasium.make(env_id)
    kwargs = gymnasium.spec(env_id).kwargs
    by_hand = LatentAction(BeliefObservation(SlateEnv(kwargs["preset"]), kwargs["belief"]), kwargs["ranker"])
    assert_same(env.reset(seed=SEED), by_hand.reset(seed=SEED))
    for latent in latents(100, 32):
        got = env.step(latent)
        assert_same(got, by_hand.step(latent))
    assert got[3]
    assert_same(env.reset(), by_hand.reset())  # the next user of the same generator


@pytest.mark.parametrize("mode", MODES)
def test_many_users_are_the_vector_wrappers_bit_for_bit(mode, parts, tiny_world, tiny_ranker, tiny_belief):
    envs = LatentSlateVectorEnv(3, autoreset_mode=mode, **parts)
    raw = SlateVectorEnv(3, autoreset_mode=mode, **tiny_world)
    by_hand = VectorLatentAction(VectorBeliefObservation(raw, tiny_belief), tiny_ranker)
    for name in ("observation_space", "action_space", "single_observation_space", "single_action_space"):
        assert getattr(envs, name) == getattr(by_hand, name)
    assert envs.metadata["autoreset_mode"] is AutoresetMode[mode.upper()]
    assert_same(envs.reset(seed=SEED), by_hand.reset(seed=SEED))
    for actions in latents(10, 3, 8):
        got = envs.step(actions)
        assert_same(got, by_hand.step(actions))
        if mode == "disabled" and got[3].all():
            assert_same(envs.reset(), by_hand.reset())


@pytest.mark.parametrize("vectorisation", ["sync", "async", "vector_entry_point"])
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_every_vectorisation_gives_the_sessions_of_single_environments(vectorisation, mode, files):
    how = {"autoreset_mode": mode}
    how = how if vectorisation == "vector_entry_point" else {"vector_kwargs": how}
    envs = gymnasium.make_vec(ID, num_envs=2, vectorization_mode=vectorisation, **how, **files)
    singles = [gymnasium.make(ID, **files) for _ in range(2)]
    observations, infos = envs.reset(seed=SEED)
    for user, env in enumerate(singles):
        first, info = env.reset(seed=SEED + user)
        np.testing.assert_array_equal(observations[user], first)
        np.testing.assert_array_equal(infos["slate"][user], info["slate"])
    for actions in latents(4, 2, 8):
        observations, rewards, _, truncated, infos = envs.step(actions)
        for user, env in enumerate(singles):
            belief, reward, _, ended, info = env.step(actions[user])
            assert (rewards[user], truncated[user]) == (reward, ended)
            shown = infos["final_obs"] if ended and mode is AutoresetMode.SAME_STEP else observations
            np.testing.assert_array_equal(shown[user], belief)
    assert truncated.all()
    if mode is AutoresetMode.SAME_STEP:
        np.testing.assert_array_equal(observations[1], singles[1].reset()[0])
    envs.close()


@pytest.mark.parametrize("make", [SyncVectorEnv, AsyncVectorEnv])
def test_vectors_of_environments_made_by_hand(make, files):
    envs = make([lambda: gymnasium.make(ID, **files)] * 2)
    observations, _ = envs.reset(seed=[3, 9])
    np.testing.assert_array_equal(observations[1], gymnasium.make(ID, **files).reset(seed=9)[0])
    envs.close()


@pytest.mark.parametrize("overrides", [{}, {"omega": 0.5, "episode_length": 7, "render_mode": "ansi"}])
def test_specs_survive_json(overrides):
    env = gymnasium.make(ID, **overrides)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec.to_json() == env.spec.to_json()
    assert again.unwrapped.config == env.unwrapped.config
    assert again.unwrapped.ranker.sha256 == env.unwrapped.ranker.sha256
    assert_same(again.reset(seed=1), env.reset(seed=1))
    envs = gymnasium.make_vec(ID, num_envs=3, autoreset_mode="disabled", **overrides)
    again = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert (again.num_envs, again.unwrapped.config) == (3, env.unwrapped.config)


def test_specs_of_files_survive_json(files):
    env = gymnasium.make(ID, **files)
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert_same(again.reset(seed=1), env.reset(seed=1))


def pickled(env: Any) -> Any:
    return pickle.loads(pickle.dumps(env))  # noqa: S301


@pytest.mark.parametrize("carry", [copy.deepcopy, pickled])
@pytest.mark.parametrize("kind", ["make", "class", "vector"])
def test_a_copy_goes_on_with_the_session(carry, kind, files):
    env: Any = {
        "make": lambda: gymnasium.make(ID, **files),
        "class": lambda: LatentSlateEnv(**files),
        "vector": lambda: LatentSlateVectorEnv(2, **files),
    }[kind]()
    actions = latents(9, *env.action_space.shape)
    env.reset(seed=SEED)
    env.step(actions[0])
    other = carry(env)
    for action in actions[1:4]:
        assert_same(env.step(action), other.step(action))
    assert_same(env.reset(), other.reset())


def test_the_world_inside_is_in_sight(parts):
    for env in (LatentSlateEnv(**parts), LatentSlateVectorEnv(1, **parts)):
        env.reset(seed=SEED)
        assert env.unwrapped.config.num_items == 60
        assert env.unwrapped.catalog.hash == parts["ranker"].catalog_hash
        assert env.unwrapped.ranker is parts["ranker"]
        assert env.unwrapped.belief is parts["belief"]
        assert make_policy("short_term_oracle", env).simulator is env.unwrapped.simulator
    single = LatentSlateEnv(**parts)
    raw = SlateEnv(**{name: parts[name] for name in parts if name not in ("ranker", "belief")})
    for env in (single, raw):
        env.reset(seed=SEED)
    np.testing.assert_array_equal(single.short_term_oracle_slate(), raw.short_term_oracle_slate())


def test_there_is_one_generator(parts):
    env, raw = LatentSlateEnv(**parts), SlateEnv(num_items=60, slate_size=5, num_topics=5)
    for one in (env, raw):
        one.reset(seed=SEED)
    assert env.np_random_seed == raw.np_random_seed == SEED
    env.np_random.random()
    assert env.np_random is env._core.np_random
    envs = LatentSlateVectorEnv(2, **parts)
    envs.reset(seed=[4, 8])
    assert envs.np_random_seed == (4, 8)
    assert len(envs.np_random) == 2


def test_reset_options_reach_the_world(parts):
    options = {"user": np.arange(10.0), "first_slate": np.arange(5)}
    world = {name: parts[name] for name in parts if name not in ("ranker", "belief")}
    _, info = LatentSlateEnv(**parts).reset(seed=SEED, options=options)
    _, expected = SlateEnv(**world).reset(seed=SEED, options=options)
    assert_same(info, expected)
    _, infos = LatentSlateVectorEnv(2, **parts).reset(seed=SEED, options=options)
    np.testing.assert_array_equal(infos["slate"], [np.arange(5)] * 2)
    with pytest.raises(ValueError, match="did you mean 'first_slate'"):
        LatentSlateEnv(**parts).reset(options={"first_slat": np.arange(5)})


def test_it_shows_itself_as_the_raw_world_does(files):
    world = {name: files[name] for name in files if name not in ("ranker", "belief")}
    env = gymnasium.make(ID, render_mode="ansi", **files)
    raw = gymnasium.make("GemsSlate-diffuse_topdown-v0", render_mode="ansi", **world)
    env.reset(seed=SEED)
    raw.reset(seed=SEED)
    *_, info = env.step(latents(8))
    raw.step(info["slate"])
    assert env.render() == raw.render().replace("GemsSlate-diffuse", "GemsSlateLatent-diffuse")
    envs = gymnasium.make_vec(ID, num_envs=2, render_mode="ansi", **files)
    envs.reset(seed=SEED)
    assert len(envs.render()) == 2
    assert LatentSlateEnv(**files).render() is None
    with pytest.raises(ValueError, match="unknown render_mode 'ansy'"):
        LatentSlateEnv(render_mode="ansy", **files)


def test_wrong_calls_are_told(parts):
    env = LatentSlateEnv(**parts)
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(latents(8))
    env.reset(seed=0)
    for action, words in (
        (np.full(8, np.nan, np.float32), "finite"),
        (np.full(8, 1.5, np.float32), r"in \[-1, 1\]"),
        (np.zeros(7, np.float32), r"shape \(7,\)"),
        (np.zeros(8, int), "dtype"),
    ):
        with pytest.raises(ValueError, match=words):
            env.step(action)
    for _ in range(4):
        env.step(latents(8))
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(latents(8))
    env.close()
    env.close()
    with pytest.raises(gymnasium.error.ClosedEnvironmentError):
        env.reset()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"ranker": "gems-difuse_topdown"}, ValueError, "did you mean 'gems-diffuse_topdown'.*pretrain ranker"),
        ({"belief": "gru-mine"}, ValueError, "unknown shipped belief 'gru-mine'.*gems-gym pretrain belief"),
        ({"belief": "gems-diffuse_topdown"}, ValueError, "is a ranker/gems; a belief was expected"),
        ({"ranker": "gru-diffuse_topdown"}, ValueError, "is a belief/gru; a ranker was expected"),
        ({"ranker": "no/such.safetensors"}, FileNotFoundError, "no such file"),
        ({"preset": "focused_topdown"}, ValueError, "was made for the catalogue"),
        ({"catalog_seed": 1}, ValueError, "was made for the catalogue"),
        ({"slate_size": 5}, ValueError, "slates of 10"),
        ({"omga": 1.0}, TypeError, "did you mean 'omega'"),
        ({"ranker": 3}, TypeError, "a ranker was expected"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_when_it_is_made(changes, error, words):
    with pytest.raises(error, match=words):
        gymnasium.make(ID, **changes)
    with pytest.raises(error, match=words):
        gymnasium.make_vec(ID, num_envs=2, **changes)


def test_one_worlds_ranker_serves_another_with_the_same_catalogue():
    env = gymnasium.make("GemsSlateLatent-diffuse_mix-v0", ranker="gems-diffuse_topdown")
    assert env.unwrapped.config.click_model == "mixPBM"
    assert env.reset(seed=0)[0].shape == (20,)


def test_the_spec_of_the_world_inside():
    spec = gymnasium.make(ID, omega=0.5).spec
    assert is_latent(spec)
    assert is_latent(ID)
    inner = slate_spec(spec)
    assert not is_latent(inner)
    assert inner.id == "GemsSlate-diffuse_topdown-v0"
    assert gymnasium.make(inner).unwrapped.config == gymnasium.make(spec).unwrapped.config
    assert gymnasium.make_vec(inner, num_envs=2).unwrapped.config.omega == 0.5
    assert slate_spec(inner) is inner
    assert spec.kwargs["ranker"] == "gems-diffuse_topdown"  # as it was
