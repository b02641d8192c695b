"""An agent trained in a changed world, from its training to datasets and agents made with it; and its checkpoints."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

import gymnasium
import minari
from PIL import Image

from gems_gym.beliefs import GruBelief
from gems_gym.commands.worlds import changed_parameters, chosen_world
from gems_gym.rankers import GemsRanker
from gems_gym.trained_agents import open_trained_agent, recorded_world
from gems_gym_agents.pipeline.levels import Training
from gems_gym_agents.pipeline.quickstart import QuickstartSettings, _Quickstart

CHANGES = {"omega": 0.5, "episode_length": 6}
OPTIONS = ("--env-option", "omega=0.5", "--env-option", "episode_length=6")
LATENT = "GemsSlateLatent-diffuse_mix-v0"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_env):
    """A folder for agents, with an untrained ranker and belief to train them with."""
    folder = tmp_path_factory.mktemp("trained")
    sizes = {
        "num_items": 80,
        "slate_size": 5,
        "catalog_hash": gymnasium.make(tiny_env).unwrapped.catalog.hash,
    }
    GemsRanker.random(**sizes, seed=0, latent_size=4).save(folder / "ranker.safetensors")
    GruBelief.random(**sizes, seed=0).save(folder / "belief.safetensors")
    return folder


@pytest.fixture
def run(program, tiny_env, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def run(*arguments):
        code, out, err = program(*arguments, "--json")
        return code, json.loads(out) if out else None, " ".join(err.split())

    return run


@pytest.fixture
def agent(run, trained, tiny_env):
    """Trains an agent in the changed world, once; its folder."""

    def train(name: str) -> Path:
        folder: Path = trained / name
        if not folder.exists():
            small = {"net_arch": [8], "validate_every": 40}
            if name == "recurrent_ppo":
                small |= {"rollout_steps": 5, "minibatches": 2, "lstm_size": 4}
            else:
                small |= {"learning_starts": 20, "batch_size": 16}
            small |= {"pretrained": "false", "window": 3} if name == "sac_end_to_end" else {}
            options = [part for one in small.items() for part in ("--option", f"{one[0]}={one[1]}")]
            code, _, err = run(
                "train", name, "--env", tiny_env, *OPTIONS, "--ranker", trained / "ranker.safetensors",
                "--belief", trained / "belief.safetensors", "--steps", 160, "--num-envs", 2,
                "--validation-users", 3, *options, "--out", folder,
            )  # fmt: skip
            assert code == 0, err
        return folder

    return train


@pytest.mark.slow
def test_the_world_goes_with_the_agent_and_its_data(run, agent, tiny_env):
    folder = agent("sac")
    assert changed_parameters(recorded_world(open_trained_agent(folder))) == CHANGES
    few = ("--episodes", 8)
    code, own, err = run("evaluate", folder, *few, "--beside", "random", "--video", "side.gif")
    assert code == 0, err
    assert Image.open("side.gif").n_frames == 7  # the opening and 6 steps
    assert (own["env"], own["env_options"]) == (tiny_env, CHANGES)
    given = run("evaluate", folder, *few, "--env", tiny_env, *OPTIONS)[1]
    assert given["mean_return"] == own["mean_return"]
    code, other, err = run("evaluate", folder, *few, "--env", tiny_env)
    assert other["env_options"] == {}
    assert other["mean_return"] != own["mean_return"], "sessions are twice as long there"
    assert (
        "trained with episode_length=6, omega=0.5, and is scored with the environment's own parameters" in err
    )

    code, _, err = run(
        "collect", "--policy", folder, "--env", tiny_env, *OPTIONS, *few, "--dataset-id", "my/sac-v0"
    )
    assert code == 0, err
    dataset = minari.load_dataset("my/sac-v0")
    assert {name: dataset.env_spec.kwargs[name] for name in CHANGES} == CHANGES
    bc = ("train", "bc", "--dataset", "my/sac-v0", "--steps", 2, "--validation-users", 3)
    code, _, err = run(*bc, "--out", "bc")
    assert code == 0, err
    assert changed_parameters(recorded_world(open_trained_agent("bc"))) == CHANGES
    code, _, err = run(*bc, "--out", "other", "--env", tiny_env)
    assert code == 2
    assert "omega=0.5 (--env: 0.9)" in err
    assert run(*bc, "--out", "same", "--env", tiny_env, *OPTIONS)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sac", "sac_end_to_end", "recurrent_ppo"])
def test_a_checkpoint_acts(run, agent, tiny_env, name):
    folder = agent(name)
    curve = json.loads((folder / "checkpoints/checkpoints.json").read_text())
    kept = [one for one in curve if one["mean_of"] == 1]
    assert len(kept) > 2
    assert len(curve) > len(kept), "the mean of late policies has the interactions of the last one"
    last, early = kept[-1], kept[0]
    for one in (early, last):
        interactions = one["interactions"]
        opened = open_trained_agent(folder, checkpoint=interactions)
        file = folder / "checkpoints" / one["file"]
        assert opened.policy.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        if name != "sac":
            belief = folder / "checkpoints" / one["belief_file"]
            assert opened.belief.sha256 == hashlib.sha256(belief.read_bytes()).hexdigest()
        code, shown, err = run("evaluate", folder, "--checkpoint", interactions, "--episodes", 4)
        assert code == 0, err
        assert shown["checkpoint"] == interactions
    asked = ("collect", "--policy", folder, "--env", tiny_env, *OPTIONS, "--episodes", 2, "--dataset-id")
    code, _, err = run(*asked, "my/early-v0", "--checkpoint", early["interactions"])
    assert code == 0, err
    metadata = minari.load_dataset("my/early-v0").storage.metadata
    assert metadata["policy"] == f"{name} after {early['interactions']} interactions, noise 0"
    assert metadata["policy_sha256"] == open_trained_agent(folder, early["interactions"]).policy.sha256
    numbers = ", ".join(str(one["interactions"]) for one in kept)
    for command in (("evaluate", folder), (*asked, "my/none-v0", "--policy", folder)):
        code, _, err = run(*command, "--checkpoint", 7)
        assert code == 2
        assert f"holds no checkpoint of 7 interactions; it holds {numbers}" in err


def test_an_agent_without_checkpoints_says_so(run, agent, tiny_env):
    folder = agent("sac")
    asked = ("--env", tiny_env, *OPTIONS, "--episodes", 4, "--dataset-id", "my/sac-v0")
    assert run("collect", "--policy", folder, *asked)[0] == 0
    bc = ("train", "bc", "--dataset", "my/sac-v0", "--steps", 2, "--validation-users", 3, "--out", "bc")
    assert run(*bc)[0] == 0
    code, _, err = run("evaluate", "bc", "--checkpoint", 2)
    assert code == 2
    assert "keeps no checkpoints" in err


@pytest.mark.parametrize(
    "forged",
    [
        {"id": "GemsSlate-tiny-v0", "entry_point": "os:system", "kwargs": {"command": "touch ran"}},
        {"id": "os:GemsSlate-tiny-v0", "kwargs": {}},
        {"id": "CartPole-v1", "kwargs": {}},
        {"id": ["GemsSlate-tiny-v0"]},
        [],
    ],
)
def test_a_forged_record_runs_nothing(agent, tmp_path, tiny_env, forged):
    opened = open_trained_agent(agent("sac"))
    opened.record["env_spec"] = json.dumps(forged)
    with pytest.raises(ValueError, match="the agent's record names .*give --env"):
        recorded_world(opened)
    opened.record["env_spec"] = json.dumps(
        {"id": tiny_env, "entry_point": "os:system", "kwargs": {}, "additional_wrappers": [{"name": "w"}]}
    )
    with pytest.raises(ValueError, match="names code that is not gems-gym's"):
        recorded_world(opened)
    opened.record["env_spec"] = json.dumps({"id": tiny_env, "entry_point": "gems_gym.x:Y", "kwargs": {}})
    assert recorded_world(opened) == gymnasium.spec(tiny_env), "only the id and the keywords count"
    assert not (tmp_path / "ran").exists()


def test_levels_record_a_changed_world():
    plain = Training.of(LATENT, 1000, 0).record
    assert "env_options" not in plain
    assert plain["command"] == f"gems-gym levels --env {LATENT} --steps 1000 --seed 0"
    changed = Training.of(chosen_world([LATENT], ["omega=0.5"]), 1000, 0)
    assert changed.record["env_options"] == {"omega": 0.5}
    assert (
        changed.record["command"]
        == f"gems-gym levels --env {LATENT} --env-option omega=0.5 --steps 1000 --seed 0"
    )
    assert changed.world.users(1).unwrapped.config.omega == 0.5


def test_the_quickstart_keys_its_stages_on_the_changed_world(tmp_path, tiny_env):
    runs = [
        _Quickstart(tmp_path, chosen_world([tiny_env], options), 0, QuickstartSettings(), "some/data-v0")
        for options in ([], ["omega=0.5"])
    ]
    assert [run.world[0].omega for run in runs] == [0.9, 0.5]
    assert "env_options" not in runs[0].base
    assert runs[1].base["env_options"] == {"omega": 0.5}
