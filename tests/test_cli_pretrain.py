"""gems-gym pretrain ranker and belief: presets, and what is refused before any work."""

import functools
import json

import pytest

from gems_gym.beliefs import load_belief
from gems_gym.pretraining.trainers import trainer_of
from gems_gym.rankers import GemsRanker, load_ranker

ENV = "GemsSlate-diffuse_mix-v0"
OUT = ("--out", "ranker.safetensors")


@pytest.fixture
def run(program):
    return functools.partial(program, "pretrain")


def test_a_preset_is_a_whole_recipe(run, tiny_env):
    pytest.importorskip("torch")
    few = ("--sessions", 20, "--batches", 3)
    code, out, err = run("ranker", "--env", tiny_env, *OUT, "--preset", "published", *few, "--json")
    assert code == 0, err
    settings = json.loads(out)["settings"]
    published = trainer_of("ranker/gems").presets["published"].settings
    assert settings["hidden_sizes"] == list(published.hidden_sizes)
    assert (settings["beta"], settings["item_embeddings"]) == (published.beta, "scratch")
    assert (settings["batches"], settings["deduplicate"]) == (3, False)
    ranker = load_ranker("ranker.safetensors")
    assert isinstance(ranker, GemsRanker)
    assert not ranker.deduplicate
    assert ranker.tensors["encoder.2.weight"].shape == (256, 512)
    assert ranker.header["log"] == {"policies": ["eps_greedy_oracle"], "sessions": 20}


def test_a_belief_has_presets_too(run, tiny_env):
    pytest.importorskip("torch")
    few = ("--sessions", 20, "--batches", 3)
    code, out, err = run(
        "belief", "--env", tiny_env, "--out", "b.safetensors", "--preset", "default", *few, "--json"
    )
    assert code == 0, err
    assert json.loads(out)["settings"]["batches"] == 3
    logged = load_belief("b.safetensors").header["log"]
    assert logged == {"policies": list(trainer_of("belief/gru").presets["default"].shares), "sessions": 20}
    code, _, err = run("belief", "--env", tiny_env, "--out", "c.safetensors", "--preset", "privileged")
    assert code == 2
    assert "did you mean 'unprivileged'" in " ".join(err.split())


def test_options_go_before_the_preset(run, tiny_env):
    pytest.importorskip("torch")
    few = ("--sessions", 20, "--batches", 3)
    options = ("--option", "hidden_sizes=[16, 8]", "--option", "deduplicate=true")
    code, out, err = run("ranker", "--env", tiny_env, *OUT, "--preset", "published", *few, *options, "--json")
    assert code == 0, err
    settings = json.loads(out)["settings"]
    assert (settings["hidden_sizes"], settings["deduplicate"], settings["beta"]) == ([16, 8], True, 1.0)
    assert load_ranker("ranker.safetensors").tensors["encoder.2.weight"].shape == (8, 16)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--env", ENV, *OUT, "--preset", "pubished"), "'pubished': did you mean 'published'?"),
        (("--env", ENV, *OUT, "--sessions", "0"), "sessions must be an integer from 1 to 1048576 or None, got 0"),
        (("--env", ENV, *OUT, "--preset", "published", "--sessions", "0"), "sessions must be an integer from 1"),
        (("--env", ENV, *OUT, "--option", "hidden_sizes=[8]"), "hidden_sizes must be a sequence of 2 integers"),
        (("--env", ENV, *OUT, "--search-sessions", "5000"), "--search-sessions goes with --report only"),
        (("--env", ENV, "--report", "--preset", "published"), "--preset does not go with --report"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_line_and_leave_nothing(run, tmp_path, arguments, words):
    pytest.importorskip("torch")
    code, out, err = run("ranker", *arguments)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split("error:")[-1].split())
    assert "searching" not in err
    assert list(tmp_path.iterdir()) == []


OF_TRAINING = {
    "--preset": "default",
    "--log": "log.npz",
    "--sessions": 20,
    "--batches": 3,
    "--save-every": 2,
    "--log-dir": "logs",
}


@pytest.mark.parametrize("option", OF_TRAINING)
@pytest.mark.parametrize(("part", "kind"), [("ranker", "topk"), ("belief", "none")])
def test_what_is_not_trained_takes_no_options_of_training(run, tmp_path, part, kind, option):
    pytest.importorskip("torch")
    code, _, err = run(part, "--env", ENV, "--kind", kind, *OUT, option, OF_TRAINING[option])
    assert code == 2
    assert f"{option} goes with a kind that is trained, and {kind} is not" in " ".join(err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["SingleItem-Static", "SlateRerank-Static"])
def test_recipes_fit_few_items_and_single_ones(run, task):
    pytest.importorskip("torch")
    few = ("--sessions", 16, "--batches", 3, "--json")
    code, out, err = run("belief", "--env", f"Sardine-{task}-v0", "--out", "b.safetensors", *few)
    assert code == 0, err
    settings = json.loads(out)["settings"]
    expected = ("scratch", 20) if task.startswith("Single") else ("co_click", 9)
    assert (settings["item_embeddings"], settings["embedding_size"]) == expected


def test_kinds_of_item_embeddings_are_not_compared_on_one_log(run, tiny_env):
    code, _, err = run("embeddings", "--env", tiny_env, "--report", "--log", "log.npz")
    assert code == 2
    assert "--log does not go with --report" in " ".join(err.split())
