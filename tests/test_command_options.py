"""Options that several commands share: which worlds, their parameters, a policy's options; recorded where data are."""

from __future__ import annotations

import json

import gymnasium
import pytest

from gems_gym.artifacts import shipped
from gems_gym.beliefs import load_belief
from gems_gym.commands.arguments import read_options
from gems_gym.commands.worlds import changed_parameters, chosen_world, chosen_worlds, in_world
from gems_gym.config import PRESETS
from gems_gym.embeddings import load_embeddings
from gems_gym.rankers import load_ranker, make_ranker
from gems_gym.registration import LATENT_PRESETS, environment_id

ENV = "GemsSlate-diffuse_mix-v0"
OTHER = "GemsSlate-diffuse_topdown-v0"
SHORT = ("--env-option", "episode_length=3")


@pytest.fixture
def run(program, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def run(*arguments):
        code, out, err = program(*arguments, "--json")
        return code, json.loads(out) if out else None, " ".join(err.split())

    return run


def test_parameters_become_part_of_the_spec():
    spec = chosen_world([ENV], ["omega=0.5", "propensities=null", "catalog=focused"])
    assert changed_parameters(spec) == {"omega": 0.5, "propensities": None, "catalog": "focused"}
    assert gymnasium.make(spec).unwrapped.config.omega == 0.5
    assert changed_parameters(gymnasium.spec(ENV)) == {}
    assert gymnasium.spec(ENV).kwargs == {"preset": "diffuse_mix"}, "the registered one stays as it is"


def test_all_means_the_six_worlds_each_once():
    ids = [spec.id for spec in chosen_worlds(["all", ENV])]
    assert ids == [environment_id(preset) for preset in LATENT_PRESETS]


def test_a_module_before_an_id_is_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = "import gems_gym\ngems_gym.register_preset('of_a_module', gems_gym.SlateConfig(omega=0.25))\n"
    (tmp_path / "registers_a_world.py").write_text(text)
    spec = chosen_world(["registers_a_world:GemsSlate-of_a_module-v0"])
    assert spec.id == "GemsSlate-of_a_module-v0"
    assert gymnasium.make(spec).unwrapped.config.omega == 0.25
    with pytest.raises(ImportError, match="no_such_module"):
        chosen_world([f"no_such_module:{ENV}"])
    del PRESETS["of_a_module"]  # other tests count them


def test_the_preset_in_a_text():
    spec = gymnasium.spec(ENV)
    assert in_world("expert-{preset}", spec) == "expert-diffuse_mix"
    assert in_world("{other}", spec) == "{other}"


@pytest.mark.parametrize(
    ("env", "options", "error", "words"),
    [
        ([], [], ValueError, "give --env"),
        ([ENV, OTHER], [], ValueError, "stands for 2 environments"),
        ([ENV], ["omeg=0.5"], ValueError, "did you mean 'omega'"),
        ([ENV], ["ranker=gems-diffuse_mix"], ValueError, "unknown --env-option"),
        ([ENV], ["omega=1.5"], ValueError, r"omega must be a number in \[0, 1\], got 1.5"),
        ([ENV], ["omega=half"], TypeError, r"omega must be a number in \[0, 1\], got 'half'"),
        ([ENV], ["omega"], ValueError, "--env-option must be name=value, got 'omega'"),
        (["GemsSlate-diffuse_mx-v0"], [], gymnasium.error.Error, "GemsSlate-diffuse_m"),
    ],
)
def test_what_no_world_can_be_made_of(env, options, error, words):
    with pytest.raises(error, match=words):
        chosen_world(env, options)


def test_which_option_is_malformed_is_said():
    with pytest.raises(ValueError, match="--policy-option must be name=value, got '=1'"):
        read_options(["=1"], "--policy-option")


def test_no_value_is_lost():
    with pytest.raises(ValueError, match="--env-option gives omega twice, the second time 'omega=1'"):
        chosen_world([ENV], ["omega=0.5", "omega=1"])


def test_info_shows_a_changed_world(run):
    code, shown, _ = run("info", ENV, "--env-option", "omega=0.5")
    assert (code, shown["omega"]) == (0, 0.5)
    code, _, err = run("info", "my/data-v0", "--env-option", "omega=0.5")
    assert code == 2
    assert "--env-option goes with an environment" in err


def test_evaluating_in_several_worlds_with_options(run):
    few = ("--episodes", 4, *SHORT, "--env-option", "omega=0.5")
    code, both, err = run("evaluate", "eps_greedy_oracle", "--env", ENV, "--env", OTHER, *few,
                          "--policy-option", "epsilon=0")  # fmt: skip
    assert code == 0, err
    assert [row["env"] for row in both["results"]] == [ENV, OTHER]
    one = both["results"][0]
    assert one["env_options"] == {"episode_length": 3, "omega": 0.5}
    assert one["policy_options"] == {"epsilon": 0}
    greedy = run("evaluate", "short_term_oracle", "--env", ENV, *few)[1]
    assert greedy["mean_return"] == one["mean_return"], "without random items it is the greedy oracle"
    assert run("evaluate", "short_term_oracle", "--env", ENV, *few[:4])[1]["env_options"] == {
        "episode_length": 3
    }


def test_a_shipped_policy_for_each_world(run):
    asked = (
        "evaluate",
        "expert-{preset}",
        "--env",
        ENV,
        "--env",
        "GemsSlate-focused_mix-v0",
        "--episodes",
        3,
        *SHORT,
    )
    code, shown, err = run(*asked)
    assert code == 0, err
    assert [row["policy"] for row in shown["results"]] == ["expert-diffuse_mix", "expert-focused_mix"]


def test_a_trained_policy_knows_its_world(run):
    code, shown, err = run("evaluate", "expert-diffuse_mix", "--episodes", 2)
    assert code == 0, err
    assert shown["env"] == "GemsSlateLatent-diffuse_mix-v0"


def test_collecting_in_several_worlds_with_options(run):
    minari = pytest.importorskip("minari")
    asked = (
        "collect",
        "--env",
        ENV,
        "--env",
        OTHER,
        *SHORT,
        "--policy",
        "eps_greedy_oracle",
        "--episodes",
        2,
    )
    options = ("--policy-option", "epsilon=0.25", "--dataset-id", "test/{preset}-v0")
    code, shown, err = run(*asked, *options)
    assert code == 0, err
    assert [one["dataset_id"] for one in shown["datasets"]] == [
        "test/diffuse_mix-v0",
        "test/diffuse_topdown-v0",
    ]
    dataset = minari.load_dataset("test/diffuse_mix-v0")
    assert dataset.storage.metadata["policy"] == "eps_greedy_oracle, epsilon=0.25"
    assert dataset.storage.metadata["policy_options"] == {"epsilon": 0.25}
    assert dataset.total_steps == 6
    assert dataset.recover_environment().unwrapped.config.episode_length == 3
    code, _, err = run(*asked, *options[:2], "--dataset-id", "test/one-v0")
    assert code == 2
    assert "2 worlds would get the dataset test/one-v0" in err
    code, _, err = run("collect", "--env", "GemsSlate-focused_mix-v0", *asked[1:], *options)
    assert code == 2
    assert "'test/diffuse_mix-v0' is already in use" in err
    assert "test/focused_mix-v0" not in minari.list_local_datasets(), (
        "the first one must not have been collected"
    )
    level = ("collect", "--env", ENV, "--env", OTHER, *SHORT, "--level", "random", "--episodes", 1)
    code, shown, err = run(*level)
    assert code == 0, err
    assert [one["dataset_id"] for one in shown["datasets"]] == [
        "gems-slate/diffuse_mix/random-v0",
        "gems-slate/diffuse_topdown/random-v0",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("evaluate", "random"), "give --env with the world: 'random' is no trained agent"),
        (("evaluate", "expert-diffuse_mix", "--env-option", "omega=0.5"), "give --env with the world"),
        (("evaluate", "random", "--env", ENV, "--policy-option", "e=0.5"), "unknown option of the policy 'random'"),
        (("evaluate", "eps_greedy_oracle", "--env", ENV, "--policy-option", "epsilo=1"), "did you mean 'epsilon'"),
        (("evaluate", "eps_greedy_oracle", "--env", ENV, "--policy-option", "epsilon=7"), "epsilon must be"),
        (("evaluate", "expert-diffuse_mix", "--env", ENV, "--policy-option", "epsilon=1"), "is a trained agent"),
        (("evaluate", "random", "--env", ENV, "--checkpoint", "5"), "--checkpoint 5 goes with the folder"),
        (("evaluate", "expert-diffuse_mix", "--env", ENV, "--checkpoint", "5"), "--checkpoint 5 goes with the folder"),
        (("collect", "--env", ENV, "--policy", "random", "--policy-option", "e=1", "--episodes", "1",
          "--dataset-id", "my/data-v0"), "unknown option of the policy 'random'"),
        (("collect", "--env", ENV, "--level", "random", "--policy-option", "e=1", "--episodes", "1"),
         "--policy-option goes with --policy"),
        (("collect", "--env", "all", "--policy", "expert-diffuse_mix", "--episodes", "1",
          "--dataset-id", "my/{preset}-v0"), "catalogue"),
        (("train", "sac", "--env", ENV, "--env", OTHER, "--steps", "1", "--out", "x"), "this command takes one"),
        (("train", "bc", "--dataset", "my/data-v0", "--env-option", "omega=1", "--steps", "1", "--out", "x"),
         "--env-option goes with --env"),
        (("train", "bc", "--dataset", "my/data-v0", "--num-envs", "3", "--steps", "1", "--out", "x"),
         "--num-envs is for learning in an environment"),
        (("dev", "levels", "--env", f"GemsSlateLatent-{ENV[10:]}", "--env-option", "omga=1", "--out", "x"), "'omega'"),
        (("quickstart", "--env", "all"), "this command takes one"),
        (("pretrain", "belief", "--env", ENV, "--env-option", "omga=1", "--out", "x.safetensors"), "'omega'"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_line_before_any_work(run, tmp_path, arguments, words):
    pytest.importorskip("stable_baselines3")
    code, out, err = run(*arguments)
    assert (code, out) == (2, None)
    assert words in err
    assert "Traceback" not in err
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []


def test_shipped_item_vectors_by_name(run):
    pytest.importorskip("torch")
    sha256 = shipped.manifest()["mf-diffuse_mix"].sha256
    asked = ("pretrain", "ranker", "--env", ENV, "--embeddings", "mf-diffuse_mix", "--out", "r.safetensors")
    small = ("--preset", "published", "--sessions", 20, "--batches", 2)
    for kind in (("--kind", "topk"), ("--kind", "gems", *small)):
        code, _, err = run(*asked, *kind)
        assert code == 0, err
        assert load_ranker("r.safetensors").header["item_embeddings"]["sha256"] == sha256
    code, _, err = run(*asked[:5], "mf-difuse_mix", *asked[6:], "--kind", "topk")
    assert code == 2
    assert "did you mean 'mf-diffuse_mix'" in err
    assert make_ranker("topk", "mf-diffuse_mix", 10).header["item_embeddings"]["sha256"] == sha256


def test_a_shipped_belief_by_name(run):
    asked = ("pretrain", "embeddings", "--env", ENV, "--kind", "belief", "--out", "e.safetensors")
    code, _, err = run(*asked, "--belief", "gru-diffuse_mix")
    assert code == 0, err
    vectors = load_belief("gru-diffuse_mix").tensors["item_embeddings"]
    assert (load_embeddings("e.safetensors").vectors == vectors).all()


@pytest.mark.slow
def test_pretraining_in_a_changed_world(run, tiny_env):
    pytest.importorskip("torch")
    changed = ("--env", tiny_env, "--env-option", "catalog_seed=5")
    catalog = gymnasium.make(tiny_env, catalog_seed=5).unwrapped.catalog.hash
    few = ("--sessions", 20, "--batches", 2)
    for kind, load, more in (
        ("embeddings", load_embeddings, ("--kind", "ideal")),
        ("belief", load_belief, few),
        ("ranker", load_ranker, few),
    ):
        code, _, err = run("pretrain", kind, *changed, *more, "--out", f"{kind}.safetensors")
        assert code == 0, err
        assert load(f"{kind}.safetensors").catalog_hash == catalog
