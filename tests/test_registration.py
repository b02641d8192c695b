"""Presets and their ids: both versions of the dynamics, worlds of one's own, other processes."""

import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv

import gems_gym
from gems_gym import PRESETS, SlateConfig
from gems_gym.registration import VERSIONS, environment_id, environment_ids, register_environments

MINE = SlateConfig(omega=0.5, num_items=40, episode_length=7)


@pytest.fixture(autouse=True)
def registry_as_it_was():
    presets, registry = dict(PRESETS), dict(gymnasium.registry)
    yield
    for now, before in ((PRESETS, presets), (gymnasium.registry, registry)):
        now.clear()
        now.update(before)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_preset_has_an_id_for_each_version(preset, version):
    env_id = environment_id(preset, version)
    assert env_id == f"GemsSlate-{preset}-v{version}"
    assert env_id in environment_ids()
    env = gymnasium.make(env_id)
    assert env.spec.version == version
    assert env.unwrapped.config == PRESETS[preset].replace(dynamics_version=version)
    assert gymnasium.make_vec(env_id, num_envs=2).unwrapped.config == env.unwrapped.config


def test_the_ids_are_the_published_six_and_sardines_eight_in_two_versions():
    assert len(environment_ids()) == 28
    assert set(environment_ids()) <= set(gymnasium.registry)
    with pytest.raises(ValueError, match=r"version must be an integer from 0 to 1, got 2"):
        environment_id("diffuse_mix", 2)


def test_v0_is_not_called_out_of_date():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for env_id in environment_ids():
            gymnasium.make(env_id)
            gymnasium.make_vec(env_id)


def test_a_preset_of_ones_own_takes_one_call():
    gems_gym.register_preset("mine", MINE)
    assert PRESETS["mine"] is MINE
    for version in VERSIONS:
        env = gymnasium.make(environment_id("mine", version), boredom_timeout=2)
        assert env.unwrapped.config == MINE.replace(boredom_timeout=2, dynamics_version=version)
        again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
        assert again.unwrapped.config == env.unwrapped.config
        assert gymnasium.make_vec(environment_id("mine", version), num_envs=3).num_envs == 3
    gems_gym.register_preset("mine", SlateConfig(omega=0.5, num_items=40, episode_length=7))  # the very same
    assert len(environment_ids()) == 30


@pytest.mark.parametrize(
    ("name", "config", "error", "words"),
    [
        ("diffuse_mix", MINE, ValueError, "'diffuse_mix' exists already, with another configuration"),
        ("my-world", MINE, ValueError, "letters, digits and underscores.*'my-world'"),
        ("", MINE, ValueError, "letters, digits and underscores"),
        ("ümlaut", MINE, ValueError, "letters, digits and underscores"),
        ("fitted", MINE, ValueError, "can't be called 'fitted'"),
        ("sardine", MINE, ValueError, "can't be called 'sardine'"),
        (3, MINE, TypeError, "name must be a text, got 3"),
        ("mine", {"omega": 0.5}, TypeError, "'mine' must be a SlateConfig, got .* of type dict"),
        ("mine", "diffuse_mix", TypeError, "'mine' must be a SlateConfig"),
        ("mine", MINE.replace(dynamics_version=1), ValueError, "dynamics_version=1; leave it at 0"),
    ],
)
def test_what_cannot_be_registered_is_refused_and_changes_nothing(name, config, error, words):
    before = dict(PRESETS), set(gymnasium.registry)
    with pytest.raises(error, match=words):
        gems_gym.register_preset(name, config)
    assert (dict(PRESETS), set(gymnasium.registry)) == before


def test_an_id_that_somebody_else_registered_is_refused():
    gymnasium.register("GemsSlate-taken-v1", entry_point="gems_gym.envs.slate:SlateEnv")
    with pytest.raises(ValueError, match="'GemsSlate-taken-v1' is registered already, not by gems-gym"):
        gems_gym.register_preset("taken", MINE)
    assert "taken" not in PRESETS


def test_registering_again_changes_nothing():
    before = dict(gymnasium.registry)
    register_environments()
    assert gymnasium.registry == before


def test_an_unknown_preset_says_how_ones_own_becomes_known():
    with pytest.raises(ValueError, match=r"did you mean 'diffuse_mix'.*my_module:GemsSlate-difuse_mix-v0"):
        gymnasium.make("GemsSlate-diffuse_mix-v0", preset="difuse_mix")


OWN_MODULE = """
import gems_gym
gems_gym.register_preset("mine", gems_gym.SlateConfig(num_items=40, episode_length=7))
"""
SCRIPT = """
import gymnasium
from gymnasium.vector import AsyncVectorEnv

def make_by_module():
    return gymnasium.make("my_worlds:GemsSlate-mine-v1")

if __name__ == "__main__":
    env = AsyncVectorEnv([make_by_module] * 2, context="spawn")
    env.reset(seed=0)
    print(env.step(env.action_space.sample())[1].shape)
    env.close()
    spec = make_by_module().spec.to_json()
    print(spec)
"""


@pytest.mark.slow
def test_another_process_knows_a_preset_by_the_module_that_its_id_names(tmp_path: Path):
    (tmp_path / "my_worlds.py").write_text(OWN_MODULE)
    (tmp_path / "script.py").write_text(SCRIPT)

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    done = run("script.py")
    assert done.returncode == 0, done.stderr
    shape, spec = done.stdout.splitlines()
    assert shape == "(2,)"
    load = (
        f"import gymnasium, gems_gym; gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json({spec!r}))"
    )
    unknown = run("-c", load)
    assert "unknown preset 'mine'" in unknown.stderr and "my_module:GemsSlate-mine-v0" in unknown.stderr
    known = run("-c", f"import my_worlds; {load}")
    assert known.returncode == 0, known.stderr


def test_forked_workers_know_it_too():
    gems_gym.register_preset("mine", MINE)
    env = AsyncVectorEnv([lambda: gymnasium.make("GemsSlate-mine-v0")] * 2, context="fork")
    env.reset(seed=0)
    env.close()
