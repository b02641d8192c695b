"""Training that is killed or interrupted can be resumed, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from gems_gym.artifacts.unfinished import discard_unfinished, is_unfinished
from gems_gym_agents.online.sac import SACAgent
from tests.agents.tiny_env import TargetVectorEnv

SMALL = {"net_arch": (16,), "batch_size": 32, "learning_starts": 40, "buffer_size": 200, "validate_every": 80}


def hashes(folder: Path, without: tuple[str, ...] = ("logs", "unfinished")) -> dict[str, str]:
    """sha256 of every policy and curve; logs hold times, and so does the state, which holds the log."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not set(without) & set(file.parts)
    }


def log(folder: Path) -> list[dict[str, str]]:
    with (folder / "logs/progress.csv").open() as file:
        return [
            {key: text for key, text in row.items() if key not in ("time/fps", "time/time_elapsed")}
            for row in csv.DictReader(file)
        ]


@pytest.mark.slow
def test_killed_at_random_moments_training_ends_with_the_same_files(tmp_path):
    command = [sys.executable, "-m", "tests.agents.killed_training", str(tmp_path), "3", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 3  # the first began anew
    whole = hashes(tmp_path / "whole")
    assert {"policy.safetensors", "best.safetensors", "checkpoints/checkpoints.json"} < set(whole)
    assert len([name for name in whole if "actor_" in name]) == 6 + 1  # and the mean of late ones
    assert hashes(tmp_path / "killed") == whole
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    assert not (tmp_path / "killed" / "unfinished").exists()


class Interrupted(TargetVectorEnv):
    """Ctrl-C in the middle of the third round."""

    steps = 0

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self.steps += 1
        if self.steps == 25:
            raise KeyboardInterrupt
        return super().step(actions)


def score(act) -> float:
    return float(act(np.linspace(-1, 1, 30, dtype=np.float32).reshape(10, 3)).sum())


def fit(env: TargetVectorEnv, folder: Path | None, seed: int = 0, steps: int = 400, **options) -> SACAgent:
    agent = SACAgent(**(SMALL | options))
    agent.fit(env, steps=steps, seed=seed, directory=folder, evaluate=score, progress=False)
    return agent


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[SACAgent, Path]:
    """An agent whose training nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return fit(TargetVectorEnv(8), folder), folder


@pytest.fixture(scope="module")
def interrupted_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        fit(Interrupted(8), folder)
    return folder


@pytest.fixture
def interrupted(interrupted_once, tmp_path) -> Path:
    """A copy of what an interrupted training left."""
    return Path(shutil.copytree(interrupted_once, tmp_path / "run"))


def test_interrupted_by_ctrl_c(interrupted, whole):
    assert (interrupted / "checkpoints/actor_192.safetensors").exists()  # what there was
    agent = fit(TargetVectorEnv(8), interrupted)
    assert [one.describe() for one in agent.checkpoints] == [one.describe() for one in whole[0].checkpoints]
    assert hashes(interrupted) == hashes(whole[1])
    assert log(interrupted) == log(whole[1])


def test_interrupted_while_the_mean_of_late_policies_is_scored(tmp_path, whole):
    calls = []

    def interrupted(act):
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return score(act)

    with pytest.raises(KeyboardInterrupt):
        SACAgent(**SMALL).fit(
            TargetVectorEnv(8),
            steps=400,
            seed=0,
            directory=tmp_path / "run",
            evaluate=interrupted,
            progress=False,
        )
    assert (tmp_path / "run/checkpoints/actor_400.safetensors").exists()
    agent = fit(TargetVectorEnv(8), tmp_path / "run")
    assert [one.mean_of for one in agent.checkpoints] == [1, 1, 1, 1, 1, 3]
    assert hashes(tmp_path / "run") == hashes(whole[1])
    assert log(tmp_path / "run") == log(whole[1])


@pytest.fixture(scope="module")
def whole_of_two_starts(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("starts")
    fit(TargetVectorEnv(8), folder, starts=2)
    return folder


def test_interrupted_after_several_starts(tmp_path, whole_of_two_starts):
    env = Interrupted(8)
    env.steps = -15  # two starts of ten steps each, then one and a half rounds of one of them
    with pytest.raises(KeyboardInterrupt):
        fit(env, tmp_path / "run", starts=2)
    assert (tmp_path / "run/unfinished").is_dir()
    agent = fit(TargetVectorEnv(8), tmp_path / "run", starts=2)
    assert hashes(tmp_path / "run") == hashes(whole_of_two_starts)
    assert agent.interactions == 80 + 400
    assert log(tmp_path / "run") == log(whole_of_two_starts)


def test_interrupted_among_several_starts(tmp_path, whole_of_two_starts):
    env = Interrupted(8)
    env.steps = 10  # one start and a half
    with pytest.raises(KeyboardInterrupt):
        fit(env, tmp_path / "run", starts=2)
    assert (tmp_path / "run/checkpoints/actor_80.safetensors").exists()  # what there was
    agent = fit(TargetVectorEnv(8), tmp_path / "run", starts=2)  # begins anew
    assert hashes(tmp_path / "run") == hashes(whole_of_two_starts)
    assert agent.interactions == 80 + 400


def test_it_does_go_on(interrupted):
    env = TargetVectorEnv(8)
    steps = []
    env.step = lambda actions: steps.append(1) or TargetVectorEnv.step(env, actions)  # type: ignore[method-assign]
    fit(env, interrupted)
    assert len(steps) == (400 - 160) // 8


def test_a_finished_run_is_kept_until_it_is_saved(tmp_path, whole):
    run = Path(shutil.copytree(whole[1], tmp_path / "run"))  # its process was killed before it saved
    env = TargetVectorEnv(8)
    steps = []
    env.step = lambda actions: steps.append(1) or TargetVectorEnv.step(env, actions)  # type: ignore[method-assign]
    agent = fit(env, run)
    assert not steps
    agent.save(run)
    assert not (run / "unfinished").exists()
    other = Path(shutil.copytree(whole[1], tmp_path / "other"))
    whole[0].save(other)
    assert hashes(run) == hashes(other)


def test_saving_an_interrupted_agent_keeps_the_run(interrupted):
    agent = SACAgent(**SMALL)
    env = Interrupted(8)
    with pytest.raises(KeyboardInterrupt):
        agent.fit(env, steps=400, seed=0, directory=interrupted, evaluate=score, progress=False)
    agent.save(interrupted)
    assert is_unfinished(interrupted)


def test_rounds_meet_different_users():
    seeds = []
    env = TargetVectorEnv(8)
    env.reset = lambda *, seed=None, options=None: (  # type: ignore[method-assign]
        seeds.append(seed) or TargetVectorEnv.reset(env, seed=seed, options=options)
    )
    fit(env, None)
    assert len({user for users in seeds for user in users}) == 5 * 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, r"seed=0 \(now 1\)"),
        ({"steps": 480}, r"steps=400 \(now 480\)"),
        ({"gamma": 0.9}, r"options\.gamma=0\.8 \(now 0\.9\)"),
    ],
)
def test_other_arguments_are_refused(interrupted, changes, words):
    before = hashes(interrupted, ())
    with pytest.raises(ValueError, match=rf"unfinished run with {words}; .*--overwrite"):
        fit(TargetVectorEnv(8), interrupted, **changes)
    assert hashes(interrupted, ()) == before


def test_without_the_state_other_arguments_begin_anew(interrupted):
    discard_unfinished(interrupted)
    assert fit(TargetVectorEnv(8), interrupted, seed=1).checkpoints


def test_other_users_are_refused(interrupted):
    with pytest.raises(ValueError, match=r"num_envs=8 \(now 4\)"):
        fit(TargetVectorEnv(4), interrupted)


@pytest.mark.parametrize("file", ["unfinished/state.safetensors", "unfinished/transitions_80.safetensors"])
def test_an_altered_state_is_refused(interrupted, file):
    data = bytearray((interrupted / file).read_bytes())
    data[-1] ^= 1
    (interrupted / file).write_bytes(data)
    with pytest.raises(ValueError, match="can't be resumed: .*altered.*--overwrite"):
        fit(TargetVectorEnv(8), interrupted)


def test_a_missing_policy_is_told(interrupted):
    (interrupted / "checkpoints/actor_80.safetensors").unlink()
    with pytest.raises(ValueError, match=r"can't be resumed: .*actor_80\.safetensors"):
        fit(TargetVectorEnv(8), interrupted)


def test_only_transitions_still_in_the_buffer_are_kept(interrupted):
    def rows(folder: Path) -> list[str]:
        return sorted(file.name for file in folder.glob("unfinished/transitions_*"))

    assert rows(interrupted) == ["transitions_160.safetensors", "transitions_80.safetensors"]
    later = Interrupted(8)
    later.steps = -3  # interrupted in the last round
    with pytest.raises(KeyboardInterrupt):
        fit(later, interrupted)
    # 200 transitions fit in: those of the rounds up to 160, 240 and 320 interactions, and none before 120
    assert rows(interrupted) == [f"transitions_{end}.safetensors" for end in (160, 240, 320)]


def test_too_many_rounds_for_one_seed_are_refused():
    with pytest.raises(ValueError, match="validate less often"):
        fit(TargetVectorEnv(8), None, steps=2**21, validate_every=8)
