"""Forty SIGKILLs of real commands: nothing is lost, and the commands, given again, end with the same bytes."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from gems_gym.datasets import compute_content_hash, open_dataset
from tests.forked import finish, kill, said, start

pytestmark = pytest.mark.slow

KILLS = 4
"""For each of the ten commands."""

_ENV = "GemsSlate-diffuse_topdown-v0"
_SIZES = ("num_items=60", "slate_size=5", "num_topics=5", "episode_length=10")
_WORLD = ["--env", _ENV, *(f"--env-option={one}" for one in _SIZES)]
_SAVING = ["--sessions", "400", "--save-every", "20"]
_PARTS = ["--ranker", "ranker.safetensors", "--belief", "belief.safetensors"]
_SAC = [
    f"--option={one}"
    for one in ("net_arch=[16,16]", "batch_size=32", "learning_starts=200", "validate_every=400")
]
_USERS = ["--validation-users", "10"]
_OFFLINE = [
    "--dataset",
    "killed/agent-v0",
    "--steps",
    "600",
    "--validation-users",
    "10",
    "--option=steps_per_epoch=60",
]
_OFFLINE += ["--option=hidden_units=[16,16]", "--option=batch_size=32"]


def _bytes(*files: str) -> Callable[[Path], list[str]]:
    """Hashes of files."""
    return lambda folder: [hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in files]


def _content(dataset_id: str) -> Callable[[Path], list[str]]:
    """The content hash of a dataset, computed from what is on disk."""
    return lambda folder: [compute_content_hash(dataset_id)]


@dataclass(frozen=True)
class Killed:
    """A command that is killed.

    Attributes:
        arguments: Of ``gems-gym``.
        result: What has to be the same, of the folder that it ran in.
        kept: A dataset that has to be there, complete, after every kill.
    """

    arguments: list[str]
    result: Callable[[Path], list[str]]
    kept: str | None = None


COMMANDS = {
    "pretrain belief": Killed(
        ["pretrain", "belief", *_WORLD, *_SAVING, "--batches", "400", "--out", "b.safetensors"],
        _bytes("b.safetensors"),
    ),
    "pretrain ranker": Killed(
        ["pretrain", "ranker", *_WORLD, *_SAVING, "--batches", "600", "--out", "r.safetensors"],
        _bytes("r.safetensors"),
    ),
    "train sac": Killed(
        ["train", "sac", *_WORLD, *_PARTS, *_SAC, "--steps", "2000", "--num-envs", "20", *_USERS, "--out", "sac"],
        _bytes("sac/policy.safetensors"),
    ),
    "train td3_plus_bc": Killed(
        ["train", "td3_plus_bc", *_OFFLINE, "--out", "td3"], _bytes("td3/policy.safetensors", "td3/training.json")
    ),
    "train iql": Killed(
        ["train", "iql", *_OFFLINE, "--out", "iql"], _bytes("iql/policy.safetensors", "iql/training.json")
    ),
    "collect": Killed(
        ["collect", *_WORLD, "--policy", "random", "--episodes", "1600", "--dataset-id", "killed/random-v0"],
        _content("killed/random-v0"),
    ),
    "subset": Killed(
        ["dataset", "subset", "killed/own-v0", "--dataset-id", "killed/own-v0", "--overwrite", "--min-return", "0"],
        _content("killed/own-v0"),
        kept="killed/own-v0",
    ),
    "merge": Killed(
        ["dataset", "merge", "killed/agent-v0", "killed/more-v0", "--dataset-id", "killed/merged-v0", "--overwrite"],
        _content("killed/merged-v0"),
        kept="killed/merged-v0",
    ),
    "relabel": Killed(
        ["dataset", "relabel", "killed/agent-v0", "--ranker", "r2.safetensors", "--dataset-id", "killed/relabelled-v0"],
        _content("killed/relabelled-v0"),
    ),
    "import": Killed(
        ["dataset", "import", "export.npz", "--dataset-id", "killed/imported-v0"], _content("killed/imported-v0")
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ranker, a belief, an agent, three datasets and an exported file."""
    folder = tmp_path_factory.mktemp("workshop")
    short = ["--sessions", "100", "--batches", "40"]
    finish(folder, "pretrain", "belief", *_WORLD, *short, "--out", "belief.safetensors")
    for name, seed in (("ranker", "0"), ("r2", "1")):
        finish(folder, "pretrain", "ranker", *_WORLD, *short, "--seed", seed, "--out", f"{name}.safetensors")
    finish(
        folder, "train", "sac", *_WORLD, *_PARTS, *_SAC,
        "--steps", "400", "--num-envs", "20", *_USERS, "--out", "agent",
    )  # fmt: skip
    for name, seed, episodes in (("agent", 0, 800), ("more", 1, 400), ("own", 2, 800)):
        finish(
            folder, "collect", *_WORLD, "--policy", "agent", "--seed", str(seed), "--episodes", str(episodes),
            "--dataset-id", f"killed/{name}-v0",
        )  # fmt: skip
    finish(
        folder, "dataset", "merge", "killed/agent-v0", "killed/more-v0", "--dataset-id", "killed/merged-v0"
    )
    finish(folder, "dataset", "export", "killed/agent-v0", "--out", "export.npz")
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_loses_nothing(
    name: str, workshop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed, generator = COMMANDS[name], np.random.default_rng(list(name.encode()))
    quiet, folder = tmp_path / "quiet", tmp_path / "killed"
    for one in (quiet, folder):
        shutil.copytree(workshop, one)

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(quiet / "datasets"))
    begun = time.monotonic()
    finish(quiet, *killed.arguments)
    seconds = time.monotonic() - begun
    expected = killed.result(quiet)

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder / "datasets"))
    for share in generator.uniform(0.3, 0.95, KILLS):
        process = start(folder, *killed.arguments)
        process.join(share * seconds)
        if process.exitcode is None:
            kill(process)
        else:  # it resumed near its end, or was refused: what is there must be finished, then
            assert process.exitcode in (0, 2), said(folder)
            assert killed.result(folder) == expected
        if killed.kept is not None:
            assert open_dataset(killed.kept).total_episodes > 0
    try:
        finished = killed.result(folder) == expected
    except (OSError, ValueError):
        finished = False
    if not finished:
        finish(folder, *killed.arguments)
        # What a process leaves that was killed after its dataset was in place goes with the next one that writes.
        leftovers = [one.name for one in (folder / "datasets").glob(".unfinished-*") if any(one.iterdir())]
        assert not leftovers
    assert killed.result(folder) == expected
