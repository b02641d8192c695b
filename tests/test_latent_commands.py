"""Latent ids in the program and in datasets: no --ranker, no --belief, and what does not go together."""

import importlib.util
import json

import minari
import numpy as np
import pytest

from gems_gym.artifacts import shipped
from gems_gym.datasets import collect, dataset_ranker, recover_latent_environment
from gems_gym.envs.latent import LatentSlateEnv
from gems_gym.policies import MemorylessPolicy
from gems_gym.rankers import GemsRanker
from gems_gym.trained_agents import RANKER_FILE

ENV = "GemsSlateLatent-diffuse_topdown-v0"
RAW = "GemsSlate-diffuse_topdown-v0"


@pytest.fixture
def run(program, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def run(*arguments):
        code, out, err = program(*arguments, "--json")
        return code, out, " ".join(err.split())

    return run


@pytest.fixture
def datasets_root(monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def resting() -> MemorylessPolicy:
    """Answers every belief with the latent zero."""
    return MemorylessPolicy(lambda beliefs: np.zeros((len(beliefs), 32), np.float32))


def test_list_and_info_know_them(run):
    assert ENV in json.loads(run("list")[1])["environments"]
    shown = json.loads(run("info", ENV)[1])
    assert (shown["ranker"], shown["belief"]) == ("gems-diffuse_topdown", "gru-diffuse_topdown")
    assert shown["action_space"] == "Box(-1.0, 1.0, (32,), float32)"
    assert "ranker" not in json.loads(run("info", RAW)[1])


def test_a_dataset_of_a_latent_environment_recovers_it(datasets_root):
    kwargs = {"episode_length": 6, "omega": 0.5}
    options = {
        "episodes": 4,
        "seed": 2,
        "env_kwargs": kwargs,
        "reference_scores": (1.0, 9.0),
        "progress": False,
    }
    dataset = collect(ENV, resting(), dataset_id="my/latent-v0", **options)
    raw = collect(
        RAW,
        resting(),
        dataset_id="my/raw-v0",
        ranker="gems-diffuse_topdown",
        belief="gru-diffuse_topdown",
        **options,
    )
    assert dataset.storage.metadata["content_hash"] == raw.storage.metadata["content_hash"]
    assert dataset.storage.metadata["ranker_sha256"] == shipped.manifest()["gems-diffuse_topdown"].sha256
    env = minari.load_dataset("my/latent-v0").recover_environment()
    assert isinstance(env.unwrapped, LatentSlateEnv)
    assert env.unwrapped.config.omega == 0.5
    copies = recover_latent_environment("my/latent-v0")
    assert copies.observation_space == env.observation_space == dataset.observation_space
    assert copies.action_space == env.action_space == dataset.action_space
    for one in (env, copies):
        episode = dataset[0]
        belief, _ = one.reset(seed=next(iter(dataset.storage.get_episode_metadata([0])))["seed"])
        np.testing.assert_array_equal(belief, episode.observations[0])
        for step, action in enumerate(episode.actions):
            belief, reward, *_ = one.step(action)
            np.testing.assert_array_equal(belief, episode.observations[step + 1])
            assert reward == episode.rewards[step]
    assert dataset_ranker(dataset).sha256 == dataset.storage.metadata["ranker_sha256"]


@pytest.mark.parametrize(
    ("policy", "changes", "words"),
    [
        ("random", {}, "'random' shows slates.*GemsSlate-"),
        (
            resting(),
            {"ranker": "gems-diffuse_mix", "belief": "gru-diffuse_mix"},
            "holds a ranker and a belief",
        ),
        (resting(), {"env_kwargs": {"ranker": "gems-difuse_mix"}}, "did you mean 'gems-diffuse_mix'"),
    ],
)
def test_what_a_latent_dataset_cannot_be_is_told(datasets_root, tmp_path, policy, changes, words):
    with pytest.raises(ValueError, match=words):
        collect(ENV, policy, dataset_id="my/latent-v0", episodes=2, seed=0, **changes)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.slow
def test_train_evaluate_and_collect_by_command(run, tmp_path):
    pytest.importorskip("stable_baselines3")
    small = ("--option", "learning_starts=100", "--option", "net_arch=[16]", "--validation-users", 4)
    code, _, err = run("train", "sac", "--env", ENV, "--steps", 300, "--num-envs", 4, *small, "--out", "sac")
    assert code == 0, err
    record = json.loads((tmp_path / "sac" / "agent.json").read_text())
    assert record["env"] == ENV
    assert record["ranker_sha256"] == shipped.manifest()["gems-diffuse_topdown"].sha256
    results = [run("evaluate", "sac", "--env", env, "--episodes", 5) for env in (ENV, RAW)]
    assert [code for code, _, _ in results] == [0, 0], results
    assert len({json.loads(out)["mean_return"] for _, out, _ in results}) == 1
    collected = ("--policy", "sac", "--episodes", 3, "--noise", 0.1)
    code, _, err = run("collect", "--env", ENV, *collected, "--dataset-id", "my/sac-v0")
    assert code == 0, err
    assert isinstance(minari.load_dataset("my/sac-v0").recover_environment().unwrapped, LatentSlateEnv)
    if importlib.util.find_spec("d3rlpy"):
        few = ("--steps", 5, "--validation-users", 4, "--out", "bc")
        code, _, err = run("train", "bc", "--dataset", "my/sac-v0", *few)
        assert code == 0, err
        assert run("evaluate", "bc", "--env", ENV, "--episodes", 3)[0] == 0
    # an agent with another ranker than the environment's
    ranker = GemsRanker.load(tmp_path / "sac" / RANKER_FILE)
    ranker.tensors["centre"] += 0.1
    record["ranker_sha256"] = ranker.save(tmp_path / "sac" / RANKER_FILE)
    (tmp_path / "sac" / "agent.json").write_text(json.dumps(record))
    for command in (("evaluate", "sac"), ("collect", *collected, "--dataset-id", "my/other-v0")):
        code, out, err = run(*command, "--env", ENV, *(("--episodes", 2) if command[0] == "evaluate" else ()))
        assert (code, out) == (2, "")
        assert f"trained with another ranker (sha256 {record['ranker_sha256']})" in err
        assert RAW in err
    assert run("evaluate", "sac", "--env", RAW, "--episodes", 2)[0] == 0


def test_slate_policies_are_played_in_the_world_inside(run):
    latent, raw = (
        json.loads(run("evaluate", "random", "--env", env, "--episodes", 20)[1]) for env in (ENV, RAW)
    )
    assert latent["mean_return"] == raw["mean_return"]
    assert latent["env"] == ENV


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "sac", "--env", ENV, "--steps", 1, "--out", "x", "--belief", "x"), f"give --env {RAW}"),
        (("train", "sac", "--env", RAW, "--steps", 1, "--out", "x"), "or a GemsSlateLatent environment"),
        (("train", "sac", "--env", RAW, "--steps", 1, "--out", "x", "--ranker", "gems-diffus_mix", "--belief",
          "gru-diffuse_mix"), "did you mean 'gems-diffuse_mix'"),
        (("quickstart", "--env", ENV, "--out", "x"), f"give --env {RAW}"),
        (("collect", "--env", ENV, "--policy", "random", "--episodes", 1, "--dataset-id", "my/x-v0"), "shows slates"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_line(run, tmp_path, arguments, words):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
