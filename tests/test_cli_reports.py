"""gems-gym pretrain ranker --report and pretrain belief --report: table, JSON, picture, what is refused."""

import json

import gymnasium
import numpy as np
import pytest

from gems_gym.beliefs import GruBelief
from gems_gym.embeddings import EmbeddingTable
from gems_gym.rankers import GemsRanker

BRIEF = ("--sessions", 10, "--search-sessions", 5000)
PNG = b"\x89PNG"


@pytest.fixture
def run(program, monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "150")

    def run(*arguments):
        code, out, err = program("pretrain", *arguments)
        return code, out, " ".join(err.split())

    return run


@pytest.fixture
def sizes(tiny_env):
    catalog_hash = gymnasium.make(tiny_env).unwrapped.catalog.hash
    return {"num_items": 80, "slate_size": 5, "catalog_hash": catalog_hash, "seed": 0}


def test_rankers(run, tiny_env, sizes, tmp_path, monkeypatch):
    monkeypatch.setattr("gems_gym.pretraining.ranker_report._RANDOM_LATENTS", 2_000)
    GemsRanker.random(latent_size=4, **sizes).save(tmp_path / "one_ranker.safetensors")
    vectors = np.random.default_rng(0).standard_normal((80, 4)).astype(np.float32)
    EmbeddingTable(vectors, "embeddings/test", sizes["catalog_hash"]).save(tmp_path / "vectors.safetensors")
    command = ("ranker", "--env", tiny_env, "--report", "--compare", "one_ranker.safetensors", *BRIEF)
    code, out, err = run(*command, "--embeddings", "vectors.safetensors", "--json", "--out", "picture.png")
    assert code == 0, err
    rows = json.loads(out)
    assert list(rows) == ["one_ranker.safetensors", "topk", "k_head_argmax"]
    assert rows["one_ranker.safetensors"]["action_size"] == 4
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
    code, out, err = run(*command)
    assert code == 0, err
    assert "one_ranker.safetensors" in out
    lines = {line.split("  ")[0].strip(): line.split()[-1] for line in out.splitlines()}
    assert lines["reach"] == f"{rows['one_ranker.safetensors']['reach']:.3f}"
    assert lines["slot accuracy own log"] == "–"


@pytest.mark.slow
def test_beliefs(run, tiny_env, sizes, tmp_path):
    pytest.importorskip("torch")
    GruBelief.random(**sizes).save(tmp_path / "one_belief.safetensors")
    command = (
        "belief",
        "--env",
        tiny_env,
        "--report",
        "--compare",
        "one_belief.safetensors",
        "--sessions",
        40,
    )
    code, out, err = run(*command, "--json", "--out", "picture.png")
    assert code == 0, err
    rows = json.loads(out)
    assert list(rows) == ["one_belief.safetensors", "recent clicks per topic"]
    assert (tmp_path / "picture.png").read_bytes().startswith(PNG)
    code, out, err = run(*command)
    assert code == 0, err
    lines = {line.split("  ")[0].strip(): line.split() for line in out.splitlines()}
    clicks = rows["one_belief.safetensors"]["clicks"]["random"]
    found = [clicks[f"log_loss{which}"] for which in ("_base", "", "_truth")]
    assert lines["log-loss, random"][-3:] == [f"{value:.3f}" for value in found]
    assert lines["AUC, all"][-3] == "0.500"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ranker", "--report"), "give --env"),
        (
            ("ranker", "--report", "--env", "ENV"),
            "gems-diffuse_topdown is for the catalogue",
        ),  # as the world's preset says
        (("ranker", "--report", "--env", "ENV", "--batches", 3), "--batches does not go with --report"),
        (("ranker", "--report", "--reproduce", "x"), "--reproduce does not go with --report"),
        (("ranker", "--env", "ENV", "--compare", "x"), "--compare goes with --report only"),
        (("ranker", "--env", "ENV", "--search-sessions", 9), "--search-sessions goes with --report only"),
        (("ranker", "--report", "--env", "ENV", "--out", "a.jpg"), "--out a.jpg must be a picture"),
        (("ranker", "--report", "--env", "ENV", "--compare", "gems-x"), "unknown shipped ranker 'gems-x'"),
        (("ranker", "--report", "--env", "ENV", "--compare", "gru-diffuse_mix"), "a ranker was expected"),
        (("belief", "--env", "ENV", "--compare", "x"), "--compare goes with --report only"),
        (("belief", "--report", "--env", "ENV", "--log", "x"), "--log does not go with --report"),
        (("belief", "--report", "--env", "OTHER"), "no belief is shipped for OTHER; give --compare"),
    ],
)
def test_what_does_not_go_together_is_told(run, tiny_env, arguments, words):
    pytest.importorskip("torch")
    other = "GemsSlate-tiny_other-v0"
    gymnasium.register(other, entry_point="gems_gym.envs.slate:SlateEnv", kwargs={"num_items": 80})
    try:
        names = {"ENV": tiny_env, "OTHER": other}
        code, out, err = run(*(names.get(one, one) for one in arguments))
    finally:
        del gymnasium.registry[other]
    assert (code, out) == (2, "")
    assert words.replace("OTHER", other) in err
