"""Options of commands are checked before any work: exit code 2, one line that names the option, and no file."""

from pathlib import Path

import numpy as np
import pytest

WORLD = ("--env", "GemsSlate-diffuse_topdown-v0")
LATENT = ("--env", "GemsSlateLatent-diffuse_topdown-v0")
RANKER = ("pretrain", "ranker", *WORLD)
BELIEF = ("pretrain", "belief", *WORLD)
OFFLINE = ("--steps", 5, "--dataset", "aa/bb-v0", "--out", "out")
ONLINE = ("--steps", 20_000, *LATENT, "--out", "out")
COLLECT = ("collect", *WORLD, "--policy", "random", "--dataset-id", "aa/bb-v0")
HUGE = 10**12

CASES = [
    ((*RANKER, "--out", "x", "--option", "deduplicate=no"), "deduplicate must be True or False, got 'no'"),
    ((*RANKER, "--out", "x", "--option", "latent_size=2.5"), "latent_size must be an integer"),
    ((*RANKER, "--out", "x", "--option", "frozen=nope"), "frozen must be True or False or None"),
    ((*RANKER, "--out", "x", "--option", "beta=NaN"), "beta must be a finite number"),
    ((*RANKER, "--out", "x", "--option", "batches=1e400"), "batches must be an integer"),
    ((*RANKER, "--out", "x", "--option", "bta=1"), "unknown option of the ranker 'gems': 'bta': did you mean 'beta'"),
    ((*RANKER, "--out", "x", "--batches", -1), "batches must be an integer ≥ 1"),
    ((*RANKER, "--out", "x", "--sessions", HUGE), "sessions must be an integer from 1 to 1048576"),
    ((*RANKER, "--out", "x", "--seed", -1), "seed must be an integer from 0"),
    ((*RANKER, "--out", "x", "--device", "é"), "device must be a torch device"),
    ((*RANKER, "--out", "folder"), "--out must be a file to write, got the folder 'folder'"),
    ((*RANKER, "--out", ""), "--out must not be empty"),
    ((*RANKER, "--out", "file/x"), "--out 'file/x' can't be written"),
    ((*RANKER, "--out", "x", "--log", "folder"), "--log must be a file"),
    ((*RANKER, "--out", "x", "--log", "file"), "log: 'file' is no .npz file of arrays"),
    ((*RANKER, "--out", "x", "--catalogue", "file"), "item_embeddings: 'file' is no .npy file"),
    ((*RANKER, "--out", "x", "--catalogue", "folder"), "item_embeddings: 'folder' is a folder"),
    ((*RANKER, "--out", "x", "--catalogue", "huge.npy"), "item_embeddings: 'huge.npy' is no .npy file"),
    ((*RANKER, "--out", "x", "--embeddings", "file"), "file is not a gems-gym artefact"),
    ((*BELIEF, "--out", "folder"), "--out must be a file to write"),
    ((*BELIEF, "--out", "x", "--device", "cuda:99999"), "device must be"),
    ((*BELIEF, "--out", "x", "--batches", 0), "batches must be an integer ≥ 1"),
    (("pretrain", "embeddings", *WORLD, "--out", "x", "--size", 0), "size must be an integer from 1"),
    (("pretrain", "embeddings", *WORLD, "--out", "folder"), "--out must be a file to write"),
    (("dev", "ship", "--out", "file"), "--out must be a folder to write to, got the file 'file'"),
    ((*RANKER, "--out", "x", "--kind", "gmes"), "unknown ranker 'gmes': did you mean 'gems'?"),
    (
        ("pretrain", "embeddings", *WORLD, "--out", "x", "--belief", "gru-diffuse_topdown"),
        "--belief goes with --kind belief and --report, not with --kind co_click",
    ),
    (("evaluate", "file", *WORLD), "NAME.safetensors, got the file 'file'"),
    (
        ("collect", *WORLD, "--episodes", 2, "--level", "expert", "--weights", "1,1,1"),
        "--weights goes with --level mixed, not with --level expert",
    ),
    (("train", "dqn", *WORLD, "--steps", 10, "--out", "x"), "give --belief, shipped names"),
    (("train", "sac", *WORLD, "--steps", 10, "--out", "x"), "give --ranker and --belief, shipped names"),
    (
        ("train", "sac", *WORLD, "--steps", 10, "--out", "x", "--preset", "nowhere"),
        "--preset: there is no file 'nowhere'",
    ),
    (("info", "all"), "all stands for 6 environments"),
    (("info", ""), "the argument after 'info' must not be empty"),
    (("info", "GemsSlate-fitted-v0", "--env-option", "world=folder"), "path='folder' is a folder; a world/fitted"),
    (("train", "bc", *OFFLINE, "--option", "gamma=1", "--option", "gamma=2"), "--option gives gamma twice"),
    (("train", "bc", *OFFLINE, "--option", "hidden_units=5"), "hidden_units must be a filled sequence of integers"),
    (("train", "iql", *OFFLINE, "--option", "expectile=NaN"), r"expectile must be a number in (0, 1), got nan"),
    (("train", "cql", *OFFLINE, "--option", "conservative_weight=Infinity"), "conservative_weight must be a finite"),
    (("train", "awac", *OFFLINE, "--option", "temprature=1"), "did you mean 'temperature'"),
    (("train", "td3_plus_bc", *OFFLINE, "--option", "alpha=x"), "alpha must be a finite number > 0, got 'x'"),
    (("train", "bc", *OFFLINE, "--device", "é"), "device must be a torch device"),
    (("train", "bc", *OFFLINE[:4], "--out", "file"), "--out must be a folder to write to"),
    (("train", "bc", *OFFLINE[:4], "--out", "file/x"), "--out 'file/x' can't be written"),
    (("train", "bc", "--steps", 0, *OFFLINE[2:]), "steps must be an integer ≥ 1, got 0"),
    (("train", "bc", "--steps", 10**30, *OFFLINE[2:]), "steps must be an integer from 1 to 9223372036854775807"),
    (("train", "bc", *OFFLINE, "--validation-users", HUGE), "validation_users must be an integer from 1"),
    (("train", "sac", *ONLINE, "--option", "gamma=1"), "gamma must be a number in [0, 1), got 1"),
    (("train", "sac", *ONLINE, "--option", "buffer_size=1e15"), "buffer_size must be an integer"),
    (("train", "sac", *ONLINE, "--option", f"buffer_size={10**14}"), f"buffer_size={10**14} takes at least"),
    (("train", "sac", *ONLINE, "--option", "validate_every=1", "--steps", HUGE), "validate less often"),
    (("train", "sac_end_to_end", *ONLINE, "--option", "window=0"), "window must be an integer ≥ 1, got 0"),
    (("train", "td3", *ONLINE, "--option", "policy_delay=0"), "policy_delay must be an integer ≥ 1, got 0"),
    (("train", "tqc", *ONLINE, "--option", "dropped_quantiles=25"), "dropped_quantiles must be less than quantiles=25"),
    (("train", "crossq", *ONLINE, "--option", "tau=0.1"), "unknown option of crossq 'tau'"),
    (("train", "ppo", *ONLINE, "--option", "clip_range=0"), "clip_range must be a finite number > 0, got 0"),
    (("train", "ppo", *ONLINE, "--option", "minibatches=7"), "minibatches=7 must divide the rollout_steps=20 steps"),
    (("train", "recurrent_ppo", *ONLINE, "--option", "lstm_size=0"), "lstm_size must be an integer from 1 to 65536"),
    (("pretrain", "belief", *WORLD, "--kind", "lstm", "--out", "x"), "is learned by an agent"),
    (("train", "sac", *ONLINE, "--num-envs", 0), "num_envs must be an integer ≥ 1, got 0"),
    (("train", "sac", *ONLINE, "--num-envs", HUGE), f"num_envs={HUGE} takes at least"),
    ((*COLLECT, "--episodes", 0), "episodes must be an integer from 1 to 1048576, got 0"),
    ((*COLLECT, "--episodes", HUGE), "episodes must be an integer from 1 to 1048576"),
    ((*COLLECT, "--episodes", 1, "--num-envs", -5), "num_envs must be an integer ≥ 1, got -5"),
    ((*COLLECT, "--episodes", 1, "--field", "no_such"), "unknown dataset field 'no_such'"),
    ((*COLLECT, "--episodes", 1, "--policy-option", "a=1"), "of the policy 'random': 'a': there are none here"),
    ((*COLLECT, "--episodes", 1, "--workers", 0), "workers must be an integer from 1 to 1024, got 0"),
    ((*COLLECT, "--episodes", 1, "--noise", "nan"), "noise must be a finite number ≥ 0 or None, got nan"),
    (("evaluate", "random", *WORLD, "--episodes", 0), "episodes must be an integer from 1 to 1048576, got 0"),
    (("evaluate", "random", *WORLD, "--num-envs", 0), "num_envs must be an integer ≥ 1, got 0"),
    (("evaluate", "agent", *WORLD), "is no record of a trained agent"),
    (("evaluate", "random", *WORLD, "--video", "file/x.gif"), "--video 'file/x.gif' can't be written"),
    (
        ("evaluate", "random", *WORLD, "--catalogue", "file", "--env-option", "item_embeddings=x"),
        "give --catalogue or --env-option item_embeddings=FILE, not both",
    ),
    (("evaluate", "random", *WORLD, "--catalogue", "file"), "item_embeddings: 'file' is no .npy file"),
    (("compare", "own", "--jobs", 0), "jobs must be an integer from 1 to 1024, got 0"),
    (("compare", "own", "--seeds", "-1"), "--seeds must be from 0 to 262143, got '-1'"),
    (("compare", "own", "--seeds", "600000"), "--seeds must be from 0 to 262143"),
    (("quickstart", "--seed", "600000"), "seed must be"),
    (("pretrain", "ranker", "--reproduce", "gems-diffuse_mix", "--log", "x.npz"), "--log does not go with --reproduce"),
    (("compare", "own", "--out", "file"), "--out must be a folder to write to"),
    (("ope", "aa/bb-v0", "random", "--seed", -1), "seed must be an integer from 0 to 4294967295, got -1"),
    (("quickstart", "--out", "file"), "--out must be a folder to write to"),
    (("logs", "fit", "aa/bb-v0", "--out", "file"), "--out must be a folder to write to"),
    (("logs", "fit", "aa/bb-v0", "--out", "x", "--held-out", 1), "held_out must be a number in (0, 1), got 1"),
    (("logs", "world", "aa/bb-v0", "--out", "file"), "--out must be a folder to write to"),
    (("logs", "world", "aa/bb-v0", "--out", "x", "--picture", "x.txt"), "--picture x.txt must be a picture"),
    (("evaluate", "random", "--env", "GemsSlate-fitted-v0"), "a fitted world needs its file"),
    (
        ("evaluate", "random", "--env", "GemsSlate-fitted-v0", "--env-option", "wrld=x"),
        "unknown --env-option of GemsSlate-fitted-v0: 'wrld': did you mean 'world'?",
    ),
    (("quickstart", "--episodes", 0), "episodes must be an integer from 1"),
    (("dev", "levels", "--out", "file"), "--out must be a folder to write to"),
    (("dev", "levels", "--out", "x", "--runs", "file"), "--runs must be a folder to write to"),
    (("logs", "import", "file", "--out", "aa/bb-v0", "--item-column", "id"), "--item-column goes with --items FILE"),
    (("dataset", "report", "aa/bb-v0", "--out", "folder"), "--out folder must be a picture"),
    (("dataset", "report", "aa/bb-v0", "--out", "file/x.png"), "--out 'file/x.png' can't be written"),
    (("dataset", "pull", "aa/bb-v0", "--from", "file"), "a remote must be a folder, got the file 'file'"),
    (("dataset", "export", "aa/bb-v0", "--out", "folder"), "--out must be a file to write"),
    (("dataset", "import", "file", "--dataset-id", "aa/bb-v0"), "file: 'file' is no .npz file of arrays"),
    (("dataset", "subset", "aa/cc-v0", "--dataset-id", "aa/bb-v0", "--episodes", 0), "episodes must be an integer ≥ 1"),
    (
        ("dataset", "subset", "aa/cc-v0", "--dataset-id", "aa/bb-v0", "--min-return", "nan"),
        "min_return must be a finite number or None, got nan",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"), CASES, ids=lambda one: " ".join(map(str, one[-3:])) if one else None
)
def test_a_wrong_option_is_told_at_once(arguments, words, program, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("no such thing")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "agent.json").write_text("[]")
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 20), }\n"
    (tmp_path / "huge.npy").write_bytes(b"\x93NUMPY\x01\x00" + np.uint16(len(header)).tobytes() + header)
    before = sorted(path for path in tmp_path.rglob("*") if path.name != "minari")
    code, out, err = program(*arguments)
    assert (code, out) == (2, "")
    told = " ".join(err.split())  # a narrow terminal wraps lines
    assert told.startswith("error: ")
    assert words in told
    assert "Traceback" not in err
    assert sorted(path for path in tmp_path.rglob("*") if path.name != "minari") == before
