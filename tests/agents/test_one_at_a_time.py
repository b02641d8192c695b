"""Two processes never write into one folder: the second ends with one line, and the first's result is kept."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

from gems_gym.artifacts.unfinished import UNFINISHED_FOLDER, Unfinished, discard_unfinished
from gems_gym.common.locks import locked_folder
from gems_gym.trained_agents import open_trained_agent
from gems_gym_agents.online.sac import SACAgent
from gems_gym_agents.pipeline import levels
from gems_gym_agents.pipeline.levels import Training
from tests.processes import held_elsewhere, in_another_process, wait_until

TRAIN = (
    "train", "sac", "--env", "GemsSlateLatent-diffuse_topdown-v0", "--steps", 200, "--num-envs", 2,
    "--validation-users", 2, "--out", "run",
    "--option", "learning_starts=10", "--option", "net_arch=[8]", "--option", "validate_every=100",
)  # fmt: skip


def test_of_two_trainings_in_one_folder_the_second_ends_at_once(program, tmp_path, monkeypatch):
    """The second begins in the middle of the first; a thread's lock keeps out as a process's does."""
    fit, seconds = SACAgent.fit, []

    def fit_beside_another(self, *given, **named):
        monkeypatch.setattr(SACAgent, "fit", fit)
        seconds.append(program(*TRAIN, "--seed", 2, "--overwrite"))
        fit(self, *given, **named)

    monkeypatch.setattr(SACAgent, "fit", fit_beside_another)
    code, _, err = program(*TRAIN, "--seed", 1)
    assert code == 0, err
    ((code, out, err),) = seconds
    assert (code, out) == (2, "")
    told = " ".join(err.split())
    assert f"error: --out run is being written by another process, {os.getpid()} on " in told
    assert open_trained_agent(tmp_path / "run").record["seed"] == 1
    assert not (tmp_path / "run/.lock").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("train", "sac", "--env", "GemsSlateLatent-diffuse_topdown-v0", "--steps", 200),
        ("train", "bc", "--dataset", "none/such-v0", "--steps", 200),
        ("quickstart",),
        ("compare", "own"),
    ],
    ids=["train", "train offline", "quickstart", "compare"],
)
def test_a_folder_in_use_is_left_alone(program, tmp_path, command):
    out = tmp_path / "run"
    with held_elsewhere(lambda: locked_folder(out, ""), tmp_path) as holder:
        code, printed, err = program(*command, "--out", "run")
        assert (code, printed) == (2, "")
        assert f"--out run is being written by another process, {holder.pid} " in " ".join(err.split())
        assert [one.name for one in out.iterdir()] == [".lock"]


def _train_for_long(training: Training, runs: Path, begun: Path) -> None:
    def fit(*arguments: object, **settings: object) -> None:
        begun.touch()
        time.sleep(60)

    levels.fit = fit  # in this process only
    training.policies(runs)


def test_one_process_trains_the_levels_of_a_world(program, tmp_path):
    env = "GemsSlateLatent-diffuse_topdown-v0"
    begun = tmp_path / "begun"
    holder = in_another_process(_train_for_long, Training.of(env, 40, 0), tmp_path / "runs", begun)
    try:
        wait_until(begun.exists, holder)
        code, _, err = program("dev", "levels", "--env", env, "--steps", 40, "--out", "out", "--runs", "runs")
    finally:
        holder.kill()
        holder.join()
    assert code == 2
    told = " ".join(err.split())
    assert "error: the training in runs/diffuse_topdown-" in told
    assert f"is being written by another process, {holder.pid} " in told


@pytest.mark.parametrize("work", [discard_unfinished, lambda run: Unfinished(run / UNFINISHED_FOLDER, {})])
def test_a_link_in_place_of_an_unfinished_run_is_refused(tmp_path, work):
    """Going on with one removes files that it doesn't know."""
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/state.safetensors").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/unfinished").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="unfinished is a symbolic link"):
        work(tmp_path / "run")
    assert (tmp_path / "victim/state.safetensors").read_text() == "precious"
