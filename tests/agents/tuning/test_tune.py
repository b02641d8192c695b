"""``gems-gym tune``: spaces, rounds, seeds, kills, presets, agents of other packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import pytest

pytest.importorskip("optuna")

from gems_gym.beliefs import GruBelief
from gems_gym.common.jobs import Job
from gems_gym.rankers import GemsRanker
from gems_gym_agents.tuning.space import Between, OneOf, check_space, read_space
from gems_gym_agents.tuning.trials import PRESET_FILE, Search, Trial, best_of, run_trials

ENV = "GemsSlate-diffuse_topdown-v0"
WORLD = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 4}
SPACE = """
level = {low = -1.0, high = 1.0}
scale = {low = 0.001, high = 1.0, log = true}
shape = {choices = [[8], [8, 8]]}
"""
AGENT = '''
import numpy as np
from gems_gym.artifacts import load_artifact, save_artifact
from gems_gym.policies import MemorylessPolicy

class Constant:
    """Plays one latent for ever; nothing is learned."""

    learns_from = "environment"

    def __init__(self, level=0.0, scale=1.0, shape=(8,), fails=False, name=""):
        if not -1 <= level <= 1:
            raise ValueError(f"level must be a number in [-1, 1], got {level}")
        if not isinstance(shape, (list, tuple)):
            raise TypeError("shape must be a list")
        self.latent = np.float32(level * scale)
        self.fails = fails

    def fit(self, source, *, steps, seed, directory=None, device="cpu", evaluate=None, progress=True):
        if self.fails:
            raise RuntimeError("this one never learns")
        self.size = source.single_action_space.shape[0]

    @property
    def policy(self):
        latent = np.full((1, self.size), self.latent, np.float32)
        return MemorylessPolicy(lambda beliefs: np.repeat(latent, len(beliefs), axis=0))

    def save(self, directory):
        latent = np.full(self.size, self.latent, np.float32)
        save_artifact(directory / "policy.safetensors", "policy/constant", {"latent": latent}, {})

    @classmethod
    def load(cls, directory):
        agent, latent = cls(), load_artifact(directory / "policy.safetensors", "policy/constant").tensors["latent"]
        agent.size, agent.latent = len(latent), latent[0]
        return agent.policy
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a ranker, a belief and a space; and an agent of another package, by entry point."""
    site = tmp_path / "site"
    (site / "constant_agent-1.0.dist-info").mkdir(parents=True)
    (site / "constant_agent-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: constant-agent\nVersion: 1.0\n"
    )
    (site / "constant_agent-1.0.dist-info" / "entry_points.txt").write_text(
        "[gems_gym.agents]\nconstant = constant_agent:Constant\n"
    )
    (site / "constant_agent.py").write_text(AGENT)
    monkeypatch.syspath_prepend(site)
    catalog_hash = gymnasium.make(ENV, **WORLD).unwrapped.catalog.hash
    sizes: dict[str, Any] = {"num_items": 60, "slate_size": 5, "catalog_hash": catalog_hash, "seed": 0}
    GemsRanker.random(latent_size=8, **sizes).save(tmp_path / "ranker.safetensors")
    GruBelief.random(**sizes).save(tmp_path / "belief.safetensors")
    (tmp_path / "space.toml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(*more: object, agent: str = "constant") -> list[object]:
    world = [f"--env-option={name}={value}" for name, value in WORLD.items()]
    parts = ["--ranker", "ranker.safetensors", "--belief", "belief.safetensors"]
    few = ["--steps", 100, "--num-envs", 4, "--validation-users", 20]
    return ["tune", agent, "--space", "space.toml", "--env", ENV, *world, *parts, *few, *more]


def search(**changes: Any) -> Search:
    training = {
        "steps": 100, "env": [ENV], "env_option": [f"{name}={value}" for name, value in WORLD.items()],
        "ranker": "ranker.safetensors", "belief": "belief.safetensors", "seed": 0, "num_envs": 4,
        "validation_users": 20,
    }  # fmt: skip
    own: dict[str, Any] = {
        "agent": "constant",
        "space": read_space(Path("space.toml")),
        "options": {},
        "seed": 0,
    }
    return Search(**{**own, "training": training, **changes})


class InThisProcess:
    """An executor that does jobs here, and is interrupted before the n-th."""

    def __init__(self, interrupted_before: int | None = None) -> None:
        self.interrupted_before = interrupted_before
        self.done: list[str] = []

    def __call__(self, title: str, jobs: Sequence[Job], processes: int) -> dict[str, str]:
        failures = {}
        assert len(jobs) <= processes
        for job in reversed(jobs):  # which of a round ends first must not matter
            if len(self.done) == self.interrupted_before:
                raise KeyboardInterrupt
            self.done.append(job.name)
            try:
                job.find()(json.loads(json.dumps(job.request)))
            except RuntimeError as error:
                failures[job.name] = str(error)
        return failures


@pytest.mark.slow
def test_the_same_trials_again_however_often_it_is_interrupted(folder: Path) -> None:
    whole = run_trials(search(), Path("whole"), 14, 2, InThisProcess())
    assert [one.number for one in whole] == list(range(14))
    assert len({one.options["level"] for one in whole}) == 14
    assert {tuple(one.options["shape"]) for one in whole} == {(8,), (8, 8)}
    best = best_of(whole)
    assert best is not None
    assert best.validation_return == max(one.validation_return or 0 for one in whole)
    for moment in (0, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            run_trials(search(), Path("often"), 14, 2, InThisProcess(moment))
    again = InThisProcess()
    assert run_trials(search(), Path("often"), 14, 2, again) == whole
    assert len(again.done) < 14
    nothing = InThisProcess()
    assert run_trials(search(), Path("often"), 14, 2, nothing) == whole
    assert not nothing.done
    preset = Path("often/preset.json")
    before = preset.read_text()
    preset.unlink()  # as a process leaves it that is killed before the file is written
    run_trials(search(), Path("often"), 14, 2, nothing)
    assert preset.read_text() == before
    assert run_trials(search(), Path("grown"), 3, 1, InThisProcess()) == run_trials(
        search(), Path("grown"), 3, 1, nothing
    )
    assert run_trials(search(), Path("grown"), 6, 1, InThisProcess())[:3] == run_trials(
        search(), Path("small"), 3, 1, InThisProcess()
    )
    other = run_trials(search(seed=1), Path("other"), 4, 2, InThisProcess())
    assert {one.options["level"] for one in other}.isdisjoint(one.options["level"] for one in whole)


def test_a_journal_that_was_torn_is_mended(folder: Path) -> None:
    whole = run_trials(search(), Path("whole"), 4, 2, InThisProcess())
    run_trials(search(), Path("torn"), 2, 2, InThisProcess())
    journal = Path("torn/trials.journal")
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker_')
    Path("torn/trials.journal.lock").symlink_to(journal.absolute())
    begun = time.monotonic()
    assert run_trials(search(), Path("torn"), 4, 2, InThisProcess()) == whole
    assert time.monotonic() - begun < 25, "it waited for a lock that nobody holds"
    with pytest.raises(KeyboardInterrupt):
        run_trials(search(), Path("torn"), 6, 2, InThisProcess(0))
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]))  # the last trial has lost its last option
    ended = run_trials(search(), Path("torn"), 8, 2, InThisProcess())
    assert ended[:4] == whole
    never_torn = run_trials(search(), Path("eight"), 8, 2, InThisProcess())
    assert [one.options for one in ended] == [one.options for one in never_torn]


def test_the_example_is_a_space_of_sac() -> None:
    from gems_gym_agents.online.sac import SACAgent

    file = Path(__file__).parents[3] / "examples" / "sac_space.toml"
    space = read_space(file)
    check_space(space, SACAgent, {}, file)
    text = (file.parents[1] / "docs" / "tuning.md").read_text()
    assert all(f"{name} = {{" in text for name in space)


def test_failed_trials_are_kept_apart(folder: Path) -> None:
    space = {"level": Between(low=-1.0, high=1.0), "fails": OneOf(choices=(True, False))}
    trials = run_trials(search(space=space), Path("out"), 8, 4, InThisProcess())
    for one in trials:
        assert (one.validation_return is None) == one.options["fails"]
    assert {one.options["fails"] for one in trials} == {True, False}
    best = best_of(trials)
    assert best is not None
    assert not best.options["fails"]
    assert json.loads(Path("out", PRESET_FILE).read_text())["options"] == best.options
    failing = search(options={"fails": True})
    assert best_of(run_trials(failing, Path("failing"), 2, 1, InThisProcess())) is None
    assert not Path("failing", PRESET_FILE).exists()
    assert best_of([Trial(0, {}, None), Trial(1, {}, 2.0), Trial(2, {}, 2.0)]) == Trial(1, {}, 2.0)


@pytest.mark.slow
def test_by_command_the_best_becomes_a_preset_that_train_takes(folder: Path, program: Any) -> None:
    given = arguments("--trials", 2, "--jobs", 2, "--out", "tuned", "--option", "name=x", "--json")
    code, out, err = program(*given)
    assert code == 0, err
    result = json.loads(out)
    assert len(result["trials"]) == 2
    assert result["failed"] == 0
    assert "gems-gym train constant --preset tuned/preset.json" in err
    preset = json.loads(Path("tuned/preset.json").read_text())
    assert preset["agent"] == "constant"
    assert preset["options"] == {**result["best"]["options"], "name": "x"}
    assert preset["search"]["training"]["validation_users"] == 20
    train = ["train", *arguments(agent="constant")[1:2], *arguments()[4:], "--preset", "tuned/preset.json"]
    code, out, err = program(*train, "--out", "best", "--json")
    assert code == 0, err
    assert json.loads(out)["validation_return"] == result["best"]["validation_return"]
    code, out, err = program(*train, "--out", "other", "--option", "level=0.0", "--json")
    assert code == 0, err
    code, out, _ = program(*given)
    assert code == 0
    assert json.loads(out) == result
    code, _, err = program(*arguments("--trials", 2, "--out", "tuned", "--option", "name=y"))
    assert code == 2
    assert "options was {'name': 'x'}, is {'name': 'y'}" in " ".join(err.split())
    code, _, err = program("train", "sac", *train[2:], "--out", "sac")
    assert code == 2
    assert "is of the agent 'constant', not of 'sac'" in " ".join(err.split())


@pytest.mark.parametrize(
    ("space", "more", "words"),
    [
        ("", (), "space.toml names no option to search"),
        ("level = ", (), "--space space.toml:"),
        ("level = 3", (), "level must be {low, high}, {low, high, log} or {choices}, got 3"),
        ("level = {low = 0}", (), "level must be {low, high}, {low, high, log} or {choices}"),
        ("level = {low = 0.5, high = 0.5}", (), "low must be less than high, got low=0.5 and high=0.5"),
        ("level = {low = 0, high = 1, log = true}", (), "low must be > 0 with log, got 0"),
        ("level = {low = 0, high = 'x'}", (), "high must be"),
        ("level = {low = 0, high = 1, lgo = true}", (), "unknown field 'lgo'"),
        ("level = {choices = [1]}", (), "choices must be"),
        ("level = {choices = [1, 2]}", (), "level must be a number in [-1, 1], got 2"),
        ("level = {low = -1, high = 7}", (), "level must be a number in [-1, 1], got 7"),
        ("levle = {low = -1, high = 7}", (), "levle"),
        ("when = {choices = [1979-05-27, 1979-05-28]}", (), "--space space.toml:"),
        (SPACE, ("--option", "level=0"), "--option level is one of those that --space space.toml searches"),
        (SPACE, ("--trials", 0), "trials must be an integer ≥ 1"),
        (SPACE, ("--jobs", 0), "jobs must be an integer from 1 to 1024"),
        (SPACE, ("--space", "none.toml"), "none.toml"),
        (SPACE, ("--executor", "rai"), "unknown executor 'rai': did you mean 'ray'"),
        (SPACE, ("--ray-address", "auto"), "--ray-address auto goes with --executor ray"),
        (SPACE, ("--dataset", "a/b-v0"), "agent 'constant' learns from environments: give --env and no --dataset"),
        (SPACE, ("--ranker", "none.safetensors"), "none.safetensors"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_any_work(
    folder: Path, program: Any, space: str, more: tuple[object, ...], words: str
) -> None:
    (folder / "space.toml").write_text(space)
    before = sorted(folder.rglob("*"))
    code, out, err = program(*arguments("--trials", 2, "--out", "out"), *more)
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert sorted(one for one in folder.rglob("*") if "__pycache__" not in one.parts) == before


@pytest.mark.slow
def test_a_killed_search_loses_no_finished_trial(folder: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(Path(__file__).parents[3])]),
    }

    def command(out: str) -> list[str]:
        given = arguments("--trials", 6, "--jobs", 2, "--out", out, "--json")
        return [sys.executable, "-m", "gems_gym", *map(str, given)]

    whole = subprocess.run(command("whole"), env=environment, capture_output=True, text=True, check=True)
    process = subprocess.Popen(command("killed"), env=environment, stderr=subprocess.DEVNULL)
    while not Path("killed/trial-0002/agent.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.5)  # jobs end within a second
    finished = {file: file.stat().st_mtime_ns for file in Path("killed").glob("trial-*/agent.json")}
    assert len(finished) >= 3
    again = subprocess.run(command("killed"), env=environment, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["trials"] == json.loads(whole.stdout)["trials"]
    assert {file: file.stat().st_mtime_ns for file in finished} == finished


@pytest.mark.slow
def test_sac_is_tuned_and_an_interrupted_training_resumed(folder: Path, program: Any) -> None:
    pytest.importorskip("stable_baselines3")
    (folder / "space.toml").write_text(
        "gamma = {choices = [0.8, 0.9]}\nlearning_rate = {low = 0.0001, high = 0.01, log = true}\n"
    )
    few = [
        f"--option={one}"
        for one in ("learning_starts=40", "net_arch=[8]", "validate_every=80", "batch_size=16")
    ]
    code, out, err = program(*arguments("--trials", 2, "--out", "out", *few, "--json", agent="sac"))
    assert code == 0, err
    made = json.loads(out)
    assert [one["validation_return"] is not None for one in made["trials"]] == [True, True]
    options = json.loads(Path("out/trial-0001/sac.json").read_text())["options"]
    assert options["learning_rate"] == made["trials"][1]["options"]["learning_rate"]
    assert options["net_arch"] == [8]


@pytest.mark.slow
def test_trials_on_ray(folder: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(folder / "site"))  # the agent's package is installed on every node
    given = arguments("--trials", 2, "--jobs", 2, "--json")
    code, local, err = program(*given, "--out", "local")
    assert code == 0, err
    code, out, err = program(*given, "--out", "ray", "--executor", "ray")
    assert code == 0, err
    assert json.loads(out)["trials"] == json.loads(local)["trials"]
