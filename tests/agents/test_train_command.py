"""``gems-gym train``: presets, interruption, and datasets of another world."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

import gymnasium

from gems_gym.beliefs import GruBelief
from gems_gym.envs import SlateVectorEnv
from gems_gym.rankers import GemsRanker
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.sac import SACAgent
from gems_gym_agents.training_world import dataset_world
from gems_gym_agents.user_model.agent import PlannerAgent
from gems_gym_agents.user_model.options import SEARCH_STEPS
from tests.datasets.small_world import WORLD, collect_latents, small_belief, small_ranker

SMALL = ("--option", "learning_starts=10", "--option", "net_arch=[8]", "--option", "validate_every=20")
ASKED = (
    "--ranker",
    "ranker.safetensors",
    "--belief",
    "belief.safetensors",
    "--steps",
    100,
    "--num-envs",
    2,
    *SMALL,
)


@pytest.fixture
def run(program, tiny_env):
    def run(*arguments):
        code, out, err = program(*arguments, "--json")
        return code, out, " ".join(err.split())

    return run


@pytest.fixture
def parts(tmp_path, tiny_env):
    """An untrained ranker and belief for the registered tiny world."""
    sizes = {
        "num_items": 80,
        "slate_size": 5,
        "catalog_hash": gymnasium.make(tiny_env).unwrapped.catalog.hash,
    }
    GemsRanker.random(**sizes, seed=0, latent_size=4).save(tmp_path / "ranker.safetensors")
    GruBelief.random(**sizes, seed=0).save(tmp_path / "belief.safetensors")


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and "logs" not in file.parts
    }


def interrupt(monkeypatch, after: int) -> None:
    """Ctrl-C at a step of training; the users that validate have no autoreset."""
    step, steps = SlateVectorEnv.step, []

    def interrupted(self, actions):
        if self.num_envs == 2:
            steps.append(1)
            if len(steps) == after:
                raise KeyboardInterrupt
        return step(self, actions)

    monkeypatch.setattr(SlateVectorEnv, "step", interrupted)


@pytest.mark.slow
def test_the_same_command_goes_on(run, parts, tmp_path, tiny_env, monkeypatch):
    asked = ("train", "sac", "--env", tiny_env, *ASKED, "--validation-users", 3)
    with monkeypatch.context() as patched:
        interrupt(patched, after=40)
        code, out, err = run(*asked, "--out", "run")
    assert (code, out) == (130, "")
    assert "rerun the same command to resume the training" in err
    code, _, err = run(*asked, "--out", "run", "--seed", 1)
    assert code == 2
    assert "unfinished run with seed=0 (now 1)" in err
    assert "--overwrite" in err
    code, _, err = run(*asked, "--out", "run")
    assert code == 0, err
    assert "resuming the unfinished run in run" in err
    assert run(*asked, "--out", "whole")[0] == 0
    assert hashes(tmp_path / "run") == hashes(tmp_path / "whole")
    code, _, err = run(*asked, "--out", "run")
    assert code == 2
    assert "holds a trained agent" in err
    before = hashes(tmp_path / "run")
    with monkeypatch.context() as patched:
        interrupt(patched, after=40)
        assert run(*asked, "--out", "run", "--overwrite", "--seed", 1)[0] == 130
    assert hashes(tmp_path / "run")["policy.safetensors"] == before["policy.safetensors"]
    assert run(*asked, "--out", "run", "--seed", 1)[0] == 0  # goes on with it
    assert json.loads((tmp_path / "run/agent.json").read_text())["seed"] == 1
    assert hashes(tmp_path / "run")["policy.safetensors"] != before["policy.safetensors"]


def test_a_worlds_preset_is_used_and_recorded(run, parts, tmp_path, tiny_env, monkeypatch):
    own = {"diffuse_topdown": SACOptions(gamma=0.5, tau=0.1)}
    monkeypatch.setattr(SACAgent, "presets", own, raising=False)
    asked = ("train", "sac", "--env", tiny_env, *ASKED, "--validation-users", 3)
    assert run(*asked, "--option", "tau=0.2", "--out", "run")[0] == 0
    options = json.loads((tmp_path / "run/sac.json").read_text())["options"]
    assert (options["gamma"], options["tau"], options["net_arch"]) == (0.5, 0.2, [8])
    assert json.loads((tmp_path / "run/agent.json").read_text())["preset"] == "diffuse_topdown"
    monkeypatch.delattr(SACAgent, "presets")
    assert run(*asked, "--out", "other")[0] == 0
    assert json.loads((tmp_path / "other/agent.json").read_text())["preset"] is None


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return collect_latents("my/latent-v0")


OFFLINE = (
    "train", "td3_plus_bc", "--dataset", "my/latent-v0", "--steps", 25, "--validation-users", 3,
    "--option", "hidden_units=[8]", "--option", "batch_size=16", "--option", "steps_per_epoch=10",
)  # fmt: skip


def test_the_same_command_resumes_an_offline_training(dataset, run, tmp_path, monkeypatch):
    pytest.importorskip("d3rlpy")
    import d3rlpy

    update, updates = d3rlpy.algos.TD3PlusBC.update, []

    def interrupted(self, batch):
        updates.append(1)
        if len(updates) == 18:
            raise KeyboardInterrupt
        return update(self, batch)

    monkeypatch.setattr(d3rlpy.algos.TD3PlusBC, "update", interrupted)
    code, out, err = run(*OFFLINE, "--save-every", 4, "--out", "run")
    assert (code, out) == (130, "")
    assert "rerun the same command to resume the training" in err
    code, _, err = run(*OFFLINE, "--option", "alpha=2.5", "--out", "run")
    assert code == 2
    assert "unfinished run with options.alpha=0.5 (now 2.5)" in err
    updates.clear()
    updates += [1] * 18  # no further interruption
    code, _, err = run(*OFFLINE, "--out", "run")
    assert code == 0, err
    assert "resuming the unfinished run in run" in err
    assert len(updates) == 18 + 25 - 16
    assert run(*OFFLINE, "--out", "whole")[0] == 0
    both = [
        {name: digest for name, digest in hashes(tmp_path / one).items() if "tensorboard" not in name}
        for one in ("run", "whole")
    ]
    assert both[0] == both[1] and "training.json" in both[0]
    assert not any("unfinished" in name for name in both[0])
    assert run(*OFFLINE, "--out", "run")[0] == 2  # it holds a trained agent
    assert run(*OFFLINE, "--out", "run", "--option", "alpha=2.5", "--overwrite")[0] == 0


def test_save_every_is_refused_where_it_means_nothing(run, parts, tiny_env):
    code, _, err = run("train", "sac", "--env", tiny_env, *ASKED, "--save-every", 5, "--out", "run")
    assert code == 2
    assert "agent 'sac' takes no --save-every; agents that learn with --env save their state every" in err


def test_a_dataset_of_another_world_is_refused(dataset, run):
    with pytest.raises(ValueError, match=r"num_items=40 \(--env: 1000\), slate_size=5 \(--env: 10\)"):
        dataset_world("my/latent-v0", "GemsSlate-diffuse_topdown-v0")
    asked = (
        "--dataset",
        "my/latent-v0",
        "--env",
        "GemsSlateLatent-focused_mix-v0",
        "--steps",
        1,
        "--out",
        "x",
    )
    code, out, err = run("train", "bc", *asked)
    assert (code, out) == (2, "")
    assert "recorded in another world than --env GemsSlateLatent-focused_mix-v0" in err
    assert "click_model='tdPBM' (--env: 'mixPBM')" in err


def test_another_ranker_or_belief_than_the_datasets_is_refused(dataset, tmp_path):
    for role, own, other in (
        ("ranker", small_ranker(), small_ranker(1)),
        ("belief", small_belief(), small_belief(1)),
    ):
        own.save(tmp_path / "own.safetensors")
        other.save(tmp_path / "other.safetensors")
        world, _ = dataset_world("my/latent-v0", **{role: str(tmp_path / "own.safetensors")})
        assert world.users(3).num_envs == 3
        with pytest.raises(ValueError, match=rf"recorded with another {role} \(sha256 \w+\) than '.*other"):
            dataset_world("my/latent-v0", **{role: str(tmp_path / "other.safetensors")})


def test_agents_say_what_they_learn_from(run, dataset):
    asked = ("--dataset", "my/latent-v0", "--env", "GemsSlate-diffuse_mix-v0", "--steps", 1, "--out", "x")
    code, _, err = run("train", "sac", *asked)
    assert code == 2
    assert "'sac' learns from environments: give --env and no --dataset" in err


def test_steps_may_be_left_out_where_the_recipe_says_them(run, monkeypatch):
    code, _, err = run("train", "sac", "--env", "GemsSlateLatent-diffuse_mix-v0", "--out", "x")
    assert code == 2
    assert "--steps is missing: the recipe of agent 'sac' does not say" in " ".join(err.split())
    asked = []

    def stop(self, users, run, steps, *_):
        asked.append(steps)
        raise KeyboardInterrupt

    monkeypatch.setattr(PlannerAgent, "_train", stop)
    code, _, _ = run("train", "planner", "--env", "GemsSlate-diffuse_mix-v0", "--out", "x")
    assert (code, asked) == (130, [SEARCH_STEPS])


def test_an_agent_records_the_world_of_its_dataset(dataset, run, tmp_path):
    """Its folder has the ranker and the belief: it must not need the dataset's copies, which may be gone."""
    pytest.importorskip("d3rlpy")
    code, _, err = run(
        "train", "bc", "--dataset", "my/latent-v0", "--steps", 1, "--validation-users", 2, "--out", "bc"
    )
    assert code == 0, err
    spec = json.loads(json.loads((tmp_path / "bc/agent.json").read_text())["env_spec"])
    assert spec["id"] == "GemsSlate-diffuse_topdown-v0"
    assert spec["kwargs"] == {"preset": "diffuse_topdown", **WORLD}
