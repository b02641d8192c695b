"""The program as a person runs it: commands, JSON on stdout, errors in one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gems_gym.commands import program as cli
from gems_gym.rankers import load_ranker

ENV = "GemsSlate-diffuse_mix-v0"


@pytest.fixture
def run(program, monkeypatch, tmp_path):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return program


def test_the_installed_program_answers():
    program = Path(sys.executable).with_name("gems-gym")
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    for command in (
        "list",
        "info",
        "pretrain",
        "collect",
        "train",
        "evaluate",
        "quickstart",
        "compare",
    ):
        assert command in done.stdout


def test_listing_loads_no_learning_library():
    code = (
        "import sys; from gems_gym.commands import program; sys.argv = ['gems-gym', 'list', '--json']\n"
        "try: program.main()\nexcept SystemExit: pass\n"
        "assert not {'torch', 'd3rlpy', 'stable_baselines3', 'minari'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_list_names_environments_and_parts(run):
    code, out, _ = run("list", "--json")
    listed = json.loads(out)
    assert code == 0
    assert ENV in listed["environments"] and len(listed["environments"]) >= 6
    assert {"td3_plus_bc", "bc", "iql", "cql", "awac", "sac"} <= {one["name"] for one in listed["agent"]}
    readable = run("list")[1]
    agents = {one["name"]: (one["learns_from"], one["observes"], one["actions"]) for one in listed["agent"]}
    assert agents["bc"] == ("dataset", "beliefs", "latents") and agents["slateq"][1:] == ("beliefs", "slates")
    assert agents["planner"] == ("environment", "slates", "slates")
    controls = readable[readable.index("negative control") : readable.index("click model")]
    assert re.findall(r"(\w+) +dataset: beliefs to latents", controls) == [
        "offline_reinforce",
        "offline_sac",
        "offline_td3",
    ]
    assert "boredom_aware_oracle" in readable and "searched_slates" in readable


def test_info_shows_an_environments_parameters(run):
    code, out, _ = run("info", ENV, "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["click_model"] == "mixPBM" and shown["episode_length"] == 100
    assert len(shown["catalog_hash"]) == 64
    assert shown["dynamics_version"] == 0
    assert shown["versions"] == [ENV, ENV.replace("v0", "v1")]
    assert json.loads(run("info", ENV.replace("v0", "v1"), "--json")[1])["dynamics_version"] == 1
    assert set(shown["versions"]) <= set(json.loads(run("list", "--json")[1])["environments"])


def test_evaluate_prints_what_was_asked_for(run):
    code, out, err = run("evaluate", "random", "--env", ENV, "--episodes", 50, "--seed", 1, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["episodes"] == 50 and 25 < result["mean_return"] < 45 and 0 < result["ci95"] < 5
    assert result["normalized_score"] == pytest.approx(0)
    assert result["seconds"] > 0 and "evaluating random" in err
    again = json.loads(
        run("evaluate", "random", "--env", ENV, "--episodes", 50, "--seed", 1, "--num-envs", 7, "--json")[1]
    )
    assert again["mean_return"] == result["mean_return"]
    planner = json.loads(run("evaluate", "boredom_aware_oracle", "--env", ENV, "--episodes", 50, "--json")[1])
    assert planner["normalized_score"] == pytest.approx(100)


@pytest.mark.slow
def test_collect_writes_a_dataset_that_minari_knows(run):
    arguments = ("--env", ENV, "--policy", "random", "--episodes", 6, "--seed", 3)
    code, out, _ = run("collect", *arguments, "--dataset-id", "test/random-v0", "--num-envs", 4, "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["dataset_id"], result["episodes"], result["transitions"]) == ("test/random-v0", 6, 600)
    assert result["seconds"] > 0 and result["peak_rss_mb"] > 10 and len(result["content_hash"]) == 64
    other = json.loads(
        run("collect", *arguments, "--dataset-id", "test/other-v0", "--num-envs", 1, "--json")[1]
    )
    assert other["content_hash"] == result["content_hash"]
    assert json.loads(run("info", "test/random-v0", "--json")[1])["content_hash"] == result["content_hash"]
    code, _, err = run("collect", *arguments, "--dataset-id", "test/random-v0")
    assert code == 2 and "test/random-v0" in err
    listed = subprocess.run(
        [Path(sys.executable).with_name("minari"), "list", "local"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "test/random-v0" in listed.stdout


@pytest.mark.slow
def test_an_interrupted_collection_says_so_and_goes_on(run, tmp_path):
    arguments = (
        "collect",
        "--env",
        ENV,
        "--policy",
        "random",
        "--dataset-id",
        "test/random-v0",
        "--episodes",
        "300",
    )
    program = subprocess.Popen(
        [Path(sys.executable).with_name("gems-gym"), *arguments, "--workers", "2"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a terminal's Ctrl-C reaches all processes of the group
    )
    while not list((tmp_path / "minari").glob(".*/chunks/*.npz")):
        assert program.poll() is None
        time.sleep(0.02)
    os.killpg(program.pid, signal.SIGINT)
    _, err = program.communicate()
    assert program.returncode == 130
    assert "interrupted" in err and "of 300 sessions are kept; rerun the same command to resume" in err
    assert "Traceback" not in err
    code, out, err = run(*arguments, "--json")
    assert code == 0 and "were kept" in err
    assert json.loads(out)["transitions"] == 30_000 and json.loads(out)["peak_rss_mb"] > 50


@pytest.mark.slow
def test_from_pretraining_to_an_offline_agent_by_command(run, tiny_env):
    world = ("--env", tiny_env, "--json")
    parts = ("--ranker", "ranker.safetensors", "--belief", "belief.safetensors")
    few = ("--sessions", 60, "--batches", 20)
    for kind in ("belief", "ranker"):
        code, out, err = run("pretrain", kind, *world, *few, "--out", f"{kind}.safetensors")
        assert code == 0, err
        assert json.loads(out)["file"] == f"{kind}.safetensors"
    code, out, _ = run("pretrain", "embeddings", *world, "--sessions", 60, "--out", "items.safetensors")
    assert code == 0
    sac = ("train", "sac", *world, *parts, "--steps", 400, "--validation-users", 10, "--num-envs", 10)
    small = ("--option", "learning_starts=100", "--option", "net_arch=[16]")
    code, out, err = run(*sac, *small, "--out", "sac")
    assert code == 0, err
    assert json.loads(out)["validation_return"] > 0
    code, _, err = run(*sac, "--out", "sac")
    assert code == 2 and "--overwrite" in err
    code, out, err = run("evaluate", "sac", *world, "--episodes", 10)
    assert code == 0 and json.loads(out)["mean_return"] > 0, err
    collected = (
        "collect",
        "--policy",
        "sac",
        *world,
        "--noise",
        0.2,
        "--episodes",
        5,
        "--dataset-id",
        "my/sac-v0",
    )
    code, out, err = run(*collected)
    assert code == 0 and json.loads(out)["transitions"] == 60, err
    bc = (
        "train",
        "bc",
        "--dataset",
        "my/sac-v0",
        "--steps",
        10,
        "--validation-users",
        10,
        "--out",
        "bc",
        "--json",
    )
    code, out, err = run(*bc)
    assert code == 0, err
    code, out, err = run("evaluate", "bc", *world, "--episodes", 10)
    assert code == 0 and json.loads(out)["episodes"] == 10, err
    code, _, err = run("train", "sac", *world, "--steps", 400, "--out", "x",
                       "--ranker", "belief.safetensors", "--belief", "belief.safetensors")  # fmt: skip
    assert code == 2 and "is a belief/gru; a ranker was expected" in " ".join(err.split())
    code, _, err = run("evaluate", "sac", "--env", ENV, "--episodes", 10)
    assert code == 2 and "catalogue" in err


def test_embeddings_of_every_kind_and_rankers_made_of_them(run, tiny_env):
    world, few = ("--env", tiny_env, "--json"), ("--sessions", 60, "--log", "log.npz")
    code, _, err = run("pretrain", "belief", *world, *few, "--batches", 5, "--out", "belief.safetensors")
    assert code == 0, err
    for kind in ("scratch", "co_click", "session_co_click", "matrix_factorization", "belief", "ideal"):
        made = ("pretrain", "embeddings", *world, *few, "--kind", kind, "--out", f"{kind}.safetensors")
        code, out, err = run(*made, *(("--belief", "belief.safetensors") if kind == "belief" else ()))
        assert code == 0, err
        settings = json.loads(out)["settings"]
        assert (settings["kind"], settings["size"]) == (kind, 20)
        assert settings["privileged"] == (kind == "ideal")
    for kind, options in (
        ("topk", {"search": "ivf"}),
        ("k_head_argmax", {"deduplicate": False}),
        ("wknn", {"k": 3}),
        ("softmax", {"temperature": 0.5}),
    ):
        given = [
            text for name, value in options.items() for text in ("--option", f"{name}={json.dumps(value)}")
        ]
        made = (
            "pretrain",
            "ranker",
            *world,
            "--kind",
            kind,
            "--embeddings",
            "co_click.safetensors",
            *given,
        )
        code, out, err = run(*made, "--out", "ranker.safetensors")
        assert code == 0, err
        assert json.loads(out)["settings"] == options
        ranker = load_ranker("ranker.safetensors")
        assert ranker.kind == f"ranker/{kind}" and options.items() <= ranker.options.items()
    gems = ("pretrain", "ranker", *world, *few, "--batches", 5, "--embeddings", "ideal.safetensors")
    code, out, err = run(*gems, "--option", "frozen=false", "--out", "gems.safetensors")
    assert code == 0, err
    assert load_ranker("gems.safetensors").header["item_embeddings"]["kind"] == "embeddings/ideal"
    code, _, err = run("pretrain", "ranker", "--env", ENV, "--kind", "topk", "--out", "x.safetensors",
                       "--embeddings", "co_click.safetensors")  # fmt: skip
    assert code == 2 and "was made for the catalogue" in " ".join(err.split())


def test_embeddings_report(run, tiny_env, tmp_path):
    asked = ("pretrain", "embeddings", "--report", "--env", tiny_env, "--sessions", 60)
    code, out, err = run(*asked, "--json")
    assert code == 0, err
    rows = json.loads(out)
    assert set(rows) == {"scratch", "co_click", "session_co_click", "matrix_factorization", "ideal"}
    assert rows["ideal"]["cosine_correlation"] == pytest.approx(1)
    assert rows["co_click"]["cosine_correlation"] > rows["scratch"]["cosine_correlation"]
    code, out, _ = run(*asked)
    assert code == 0 and "matrix_factor" in out and "1.000" in out
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("info", "GemsSlate-diffuse_mx-v0"), "GemsSlate-diffuse_m"),
        (("evaluate", "randm", "--env", ENV), "did you mean 'random'"),
        (("evaluate", "random", "--env", ENV, "--episodes", "0"), "integer from 1"),
        (("evaluate", "random", "--env", ENV, "--split", "tset"), "did you mean 'test'"),
        (("evaluate", "random", "--env", ENV, "--catalogue", "no.npy"), "no.npy"),
        (("evaluate", ".", "--env", ENV), "holds no trained agent"),
        (("collect", "--env", ENV, "--policy", "random", "--episodes", "0", "--dataset-id", "my/data-v0"), "episodes"),
        (("collect", "--env", ENV, "--policy", "rnd", "--episodes", "1", "--dataset-id", "aa/b-v0"), "'rnd'"),
        (("collect", "--env", ENV, "--policy", "random", "--episodes", "1", "--dataset-id", "a b"), "a b"),
        (("collect", "--env", ENV, "--policy", "random", "--episodes", "1", "--dataset-id", "my/data-v0",
          "--noise", "0.1"), "noise"),
        (("collect", "--env", ENV, "--policy", "random", "--episodes", "1"), "give --dataset-id"),
        (("collect", "--env", ENV, "--episodes", "1"), "give --policy or --level"),
        (("collect", "--env", ENV, "--policy", "random", "--level", "medium", "--episodes", "1"), "not both"),
        (("collect", "--env", ENV, "--level", "meduim", "--episodes", "1"), "did you mean 'medium'"),
        (("collect", "--env", ENV, "--level", "mixed", "--weights", "1,x", "--episodes", "1"), "'1,x'"),
        (("dev", "levels", "--env", ENV, "--out", "x"), "give GemsSlateLatent-WORLD-v0"),
        (("train", "sax", "--env", ENV, "--steps", "1", "--out", "x"), "did you mean 'sac'"),
        (("train", "sac", "--steps", "1", "--out", "x"), "--env"),
        (("train", "sac", "--dataset", "my/data-v0", "--steps", "1", "--out", "x"), "learns from environments"),
        (("train", "bc", "--env", ENV, "--steps", "1", "--out", "x"), "learns from datasets"),
        (("train", "sac", "--env", ENV, "--steps", "1", "--out", "x"), "--ranker"),
        (("train", "sac", "--env", ENV, "--steps", "1", "--out", "x", "--option", "gama=1"), "'gamma'"),
        (("train", "sac", "--env", ENV, "--steps", "1", "--out", "x", "--option", "gamma"), "name=value"),
        (("pretrain", "ranker", "--env", ENV, "--out", "r.safetensors", "--sessions", "0"), "sessions must be"),
        (("pretrain", "ranker", "--env", ENV, "--out", "r.safetensors", "--option", "bta=1"), "'beta'"),
        (("pretrain", "ranker", "--env", ENV, "--out", "r.safetensors", "--kind", "topk"), "--embeddings"),
        (("pretrain", "embeddings", "--env", ENV, "--out", "e.safetensors", "--kind", "idel"), "'ideal'"),
        (("pretrain", "embeddings", "--env", ENV, "--out", "e.safetensors", "--kind", "belief"), "--belief"),
        (("pretrain", "embeddings", "--env", ENV), "--report"),
        (("pretrain", "embeddings", "--env", ENV, "--out", "e.safetensors", "--report"), "--report"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_line_and_leave_nothing(run, tmp_path, arguments, words):
    code, out, err = run(*arguments)
    last = " ".join(err.split("error:")[-1].split())
    assert code == 2 and out == ""
    assert words in last
    assert "Traceback" not in err
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError("4 GiB asked for"), "error: not enough memory (4 GiB asked for)"),
        (FloatingPointError("overflow"), "error: overflow"),
        (OverflowError("too large"), "error: too large"),
    ],
)
def test_what_the_machine_can_not_do_is_one_line(program, monkeypatch, error, line):
    def fails(_: str) -> None:
        raise error

    monkeypatch.setattr(cli, "_dataset_info", fails)
    code, _, told = program("info", "a/b-v0")
    assert code == 2 and told.splitlines() == [line]


@pytest.mark.parametrize(
    "arguments",
    [("collect", "--out", ""), ("dev", "levels", "--out="), ("quickstart", "--seed", "1", "--out", "")],
)
def test_an_empty_value_is_refused(program, tmp_path, arguments):
    code, _, told = program(*arguments)
    assert code == 2 and told == "error: --out must not be empty\n"
    assert not [*tmp_path.iterdir()]
