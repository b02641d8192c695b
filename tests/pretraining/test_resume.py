"""Pretraining that is interrupted or killed resumes, and ends with the same bytes."""

from __future__ import annotations

import csv
import dataclasses
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from gems_gym.artifacts import load_artifact
from gems_gym.artifacts.unfinished import Unfinished, making
from gems_gym.pretraining import session_log
from gems_gym.pretraining.belief import BeliefSettings
from gems_gym.pretraining.gems import GemsSettings, pretrain_gems
from gems_gym.pretraining.gru import pretrain_belief
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import Upkeep
from gems_gym.pretraining.transformer import TransformerSettings, pretrain_transformer
from gems_gym.trackers import choose_trackers
from tests.event_files import curves
from tests.forked import finish, kill, said, start
from tests.pretraining.test_gru import ITEMS, make_log

BATCHES, SAVE_EVERY = 9, 2
SAVES = 5  # after 2, 4, 6, 8 and 9 batches

BELIEF = functools.partial(BeliefSettings, batches=BATCHES, batch_sessions=8, embedding_size=6, size=7)
RANKER = functools.partial(
    GemsSettings, batches=BATCHES, batch_size=32, embedding_size=6, latent_size=4, hidden_sizes=(16, 16)
)
TRANSFORMER = functools.partial(
    TransformerSettings,
    batches=BATCHES,
    batch_sessions=8,
    embedding_size=6,
    size=7,
    width=8,
    layers=2,
    heads=2,
    context=5,
)
TRAINED: dict[str, tuple[Any, Any]] = {
    "belief": (pretrain_belief, BELIEF),
    "transformer": (pretrain_transformer, TRANSFORMER),
    "ranker": (pretrain_gems, RANKER),
}
Train = Callable[..., Path]


@pytest.fixture(params=["belief", "belief-best", "transformer", "ranker", "ranker-best", "ranker-frozen"])
def train(request: pytest.FixtureRequest) -> Train:
    """Trains into a file, as the commands do."""
    kind, _, variant = request.param.partition("-")
    function, make_settings = TRAINED[kind]
    options = {"keep": "best"} if variant == "best" else {}
    if kind == "ranker":
        options["item_embeddings"] = "co_click" if variant == "frozen" else "scratch"
    settings = make_settings(**options)

    def run(out: Path, log: SessionLog | None = None, **upkeep: Any) -> Path:
        with making(out, {"seed": 3}) as work:
            made, _ = function(
                log or make_log(),
                ITEMS,
                settings,
                seed=3,
                progress=False,
                upkeep=Upkeep(**{"unfinished": work, "save_every": SAVE_EVERY} | upkeep),
            )
            work.publish(made.save, out)
        return out

    return run


def interrupt_after_save(
    monkeypatch: pytest.MonkeyPatch, number: int, error: type[BaseException]
) -> list[int]:
    saves: list[int] = []
    save = Unfinished.save

    def save_and_stop(self: Unfinished, *state: Any) -> None:
        save(self, *state)
        saves.append(1)
        if len(saves) == number:
            raise error

    monkeypatch.setattr(Unfinished, "save", save_and_stop)
    return saves


def test_interrupted_after_each_save_it_ends_with_the_same_bytes(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tmp_path / "whole", unfinished=None).read_bytes()
    for number in range(1, SAVES + 1):
        out = tmp_path / f"interrupted_{number}"
        with monkeypatch.context() as patched:
            interrupt_after_save(patched, number, KeyboardInterrupt)
            with pytest.raises(KeyboardInterrupt):
                train(out)
        assert not out.exists()
        with monkeypatch.context() as patched:
            saves = interrupt_after_save(patched, 0, KeyboardInterrupt)
            train(out)
            assert len(saves) == SAVES - number  # it did resume
        assert out.read_bytes() == expected
    assert not list(tmp_path.glob(".*"))


def test_interrupted_again_and_again(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = train(tmp_path / "whole").read_bytes()
    for _ in range(SAVES):
        with monkeypatch.context() as patched:
            interrupt_after_save(patched, 1, MemoryError)
            with pytest.raises(MemoryError):
                train(tmp_path / "out")
    assert train(tmp_path / "out").read_bytes() == expected


def test_how_often_it_is_saved_changes_nothing(train: Train, tmp_path: Path) -> None:
    files = [train(tmp_path / f"{every}", save_every=every).read_bytes() for every in (1, 4, 100)]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("value", [0, 2.5])
def test_save_every_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ValueError, match="save_every must be an integer ≥ 1"):
        Upkeep(save_every=value)


def test_it_does_not_resume_on_other_sessions(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        interrupt_after_save(patched, 1, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "out")
    with pytest.raises(ValueError, match="unfinished run on other sessions"):
        train(tmp_path / "out", make_log(seed=1))
    assert train(tmp_path / "out").exists()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "progress.csv").open() as file:
        return list(csv.DictReader(file))


def test_curves(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    choose_trackers(["tensorboard"])
    train(tmp_path / "whole", log_dir=tmp_path / "logs")
    found = rows(tmp_path / "logs")
    assert [int(row["batch"]) for row in found] == list(range(1, BATCHES + 1))
    assert all(np.isfinite([float(row["training_loss"]), float(row["held_out_loss"])]).all() for row in found)
    with monkeypatch.context() as patched:
        interrupt_after_save(patched, 2, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "out", log_dir=tmp_path / "resumed")
    assert len(rows(tmp_path / "resumed")) == 4
    train(tmp_path / "out", log_dir=tmp_path / "resumed")
    assert rows(tmp_path / "resumed") == found
    for folder in ("logs", "resumed"):
        (curve,) = (one for tag, one in curves(tmp_path / folder).items() if tag.endswith("/held_out_loss"))
        assert [step for step, _ in curve] == list(range(1, BATCHES + 1))


def test_the_best_weights_are_those_with_the_lowest_held_out_loss(tmp_path: Path) -> None:
    """Four sessions are soon known by heart, which does not help with others."""
    settings = functools.partial(BELIEF, learning_rate=0.05, batches=100, batch_sessions=4, held_out=0.5)
    best, first = (
        pretrain_belief(log, ITEMS, one, seed=0, progress=False, upkeep=Upkeep(log_dir=tmp_path))[0]
        for log, one in ((make_log(8), settings(keep="best")), (make_log(8), settings(keep="last")))
    )
    losses = [float(row["held_out_loss"]) for row in rows(tmp_path)]
    assert losses[-1] > min(losses)
    assert not np.array_equal(best.tensors["weight_hh"], first.tensors["weight_hh"])
    assert best.header["metrics"]["all"]["log_loss"] < first.header["metrics"]["all"]["log_loss"]
    assert best.header["options"]["keep"] == "best"
    assert "keep" not in first.header["options"]  # files of earlier recipes come out again to the byte


@pytest.mark.parametrize("settings", [BELIEF, RANKER])
def test_keep_is_checked(settings: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="unknown keep 'bets': did you mean 'best'"):
        settings(keep="bets")


def test_the_log_is_collected_once(
    program: Callable[..., tuple[int, str, str]],
    tiny_env: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collected = []
    collect = session_log.collect_session_log
    monkeypatch.setattr(
        "gems_gym.pretraining.session_log.collect_session_log",
        lambda *arguments, **options: collected.append(1) or collect(*arguments, **options),
    )
    command = (
        "pretrain",
        "ranker",
        "--env",
        tiny_env,
        "--preset",
        "published",
        "--sessions",
        20,
        "--batches",
        6,
    )
    options = ("--option", "hidden_sizes=[16, 8]", "--save-every", 2)
    assert program(*command, *options, "--out", "whole")[0] == 0
    with monkeypatch.context() as patched:
        interrupt_after_save(patched, 2, KeyboardInterrupt)
        code, _, err = program(*command, *options, "--out", "out")
    assert code == 130
    assert "rerun the same command to resume, or give --overwrite to start anew" in " ".join(err.split())
    code, _, err = program(*command, *options, "--out", "out", "--seed", 1)
    assert code == 2
    assert "unfinished run with log.seed=0 (now 1)" in " ".join(err.split())
    code, _, err = program(*command, *options, "--out", "out", "--option", "beta=0.3")
    assert code == 2
    assert "ranker.beta=1.0 (now 0.3)" in " ".join(err.split())
    assert len(collected) == 2
    code, _, err = program(*command, *options, "--out", "out")
    assert code == 0, err
    assert "resuming the unfinished run" in " ".join(err.split())
    assert len(collected) == 2
    assert (tmp_path / "out").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "whole"]


def test_overwrite_starts_anew(
    program: Callable[..., tuple[int, str, str]], tiny_env: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("pretrain", "belief", "--env", tiny_env, "--sessions", 20, "--out", "out", "--save-every", 1)
    with monkeypatch.context() as patched:
        interrupt_after_save(patched, 1, KeyboardInterrupt)
        assert program(*command, "--batches", 3)[0] == 130
    assert program(*command, "--batches", 4)[0] == 2
    code, _, err = program(*command, "--batches", 4, "--overwrite", "--log-dir", "logs")
    assert code == 0, err
    assert "resuming" not in err
    assert load_artifact(Path("out"), "belief").header["options"]["batches"] == 4
    assert len(rows(Path("logs"))) == 4


@pytest.mark.parametrize("kind", ["ranker", "belief"])
def test_the_number_of_threads_decides_nothing(kind: str) -> None:
    log = make_log(num_sessions=100)
    items = np.random.default_rng(0).integers(0, 2_000, log.slates.shape).astype(np.int32)
    log = dataclasses.replace(log, slates=items)
    before = torch.get_num_threads()
    headers, tensors = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            if kind == "belief":
                settings = BeliefSettings(batches=2, held_out=0.05)
                made: Any = pretrain_belief(log, 2_000, settings, seed=0, progress=False)[0]
            else:
                made = pretrain_gems(log, 2_000, GemsSettings(batches=2), seed=0, progress=False)[0]
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        headers.append(made.header)
        tensors.append(made.tensors)
    assert headers[0] == headers[1]
    assert all(np.array_equal(tensors[0][name], tensors[1][name]) for name in tensors[0])


ENV = "GemsSlate-diffuse_mix-v0"
COMMANDS = {
    "ranker": ("--preset", "published", "--sessions", "40", "--batches", "200"),
    "belief": ("--sessions", "60", "--batches", "120"),
}


def command(kind: str, out: Path) -> list[str]:
    return ["pretrain", kind, "--env", ENV, *COMMANDS[kind], "--save-every", "5", "--out", str(out)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(COMMANDS))
def test_killed_five_times_it_ends_with_the_same_bytes(kind: str, tmp_path: Path) -> None:
    finish(tmp_path, *command(kind, tmp_path / "whole"))
    out, moments = tmp_path / "out", np.random.default_rng(0)
    state = tmp_path / ".out.unfinished" / "state.safetensors"

    def saved_at() -> int:
        """When weights were saved last; the state holds only the settings before."""
        found = state.stat() if state.exists() else None
        return found.st_mtime_ns if found is not None and found.st_size > 10_000 else 0

    for _ in range(5):
        before = saved_at()
        process = start(tmp_path, *command(kind, out))
        while saved_at() == before:
            assert process.is_alive(), said(tmp_path)
            time.sleep(0.002)
        time.sleep(moments.uniform(0.0, 0.1))
        kill(process)
        assert not out.exists()
    finish(tmp_path, *command(kind, out))
    assert "resuming the unfinished run" in " ".join(said(tmp_path).split())
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "said.txt", "whole"]


@pytest.mark.slow
def test_the_number_of_cores_decides_nothing(tmp_path: Path) -> None:
    files = set()
    for threads, cores in (("1", "0"), ("2", "0-1"), ("2", "0")):
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        outs = {kind: tmp_path / f"{kind}_{threads}_{cores}" for kind in COMMANDS}
        bound = ["taskset", "-c", cores] if Path("/usr/bin/taskset").exists() else []
        program = f"""if True:
            import sys
            from gems_gym.commands.program import main
            for arguments in {[command(kind, out) for kind, out in outs.items()]!r}:
                sys.argv = ["gems-gym", *arguments]
                try:
                    main()
                except SystemExit as ended:
                    assert not ended.code"""
        subprocess.run(
            [*bound, sys.executable, "-c", program], check=True, capture_output=True, env=environment
        )
        files |= {(kind, out.read_bytes()) for kind, out in outs.items()}
    assert len(files) == len(COMMANDS)
