"""An offline training that is killed or interrupted is resumed, and ends as if nothing had happened."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

import torch

from gems_gym.artifacts.unfinished import discard_unfinished, is_unfinished
from gems_gym.policies import Policy
from gems_gym.trackers import choose_trackers
from gems_gym_agents.base import DivergedError
from gems_gym_agents.offline import (
    BCAgent,
    CQLAgent,
    DecisionDiffuserAgent,
    DecisionTransformerAgent,
    TD3PlusBCAgent,
    divergence,
)
from gems_gym_agents.offline.agent import OfflineAgent
from tests.agents.offline_agents import AGENTS, act_once, warmed_up
from tests.datasets.small_world import collect_latents
from tests.event_files import curves
from tests.forked import begin

SMALL: dict[str, Any] = {"hidden_units": (16, 16), "batch_size": 32, "steps_per_epoch": 10}
STEPS = 35
BELIEFS = np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield collect_latents("offline/resumed-v0")


def up_and_down(policy: Policy) -> float:
    """A score whose best is not always the last; it draws from the global generators, which must not matter."""
    torch.rand(3), np.random.random(3)  # noqa: NPY002
    return float(np.sin(1e3 * act_once(policy, BELIEFS).sum()))


def fit(
    dataset: Any,
    folder: Path | None,
    kind: type[OfflineAgent] = TD3PlusBCAgent,
    seed: int = 0,
    **changes: Any,
) -> OfflineAgent:
    of_fit = {"steps": STEPS, "save_every": None} | {
        name: changes.pop(name) for name in ("steps", "save_every") if name in changes
    }
    agent = kind(**(SMALL | warmed_up(kind, 15) | changes))
    agent.fit(dataset, seed=seed, directory=folder, evaluate=up_and_down, progress=False, **of_fit)
    return agent


def saved(agent: OfflineAgent, folder: Path) -> dict[str, bytes]:
    agent.save(folder)
    return {name: (folder / name).read_bytes() for name in ("policy.safetensors", "training.json")}


def interrupt(monkeypatch: pytest.MonkeyPatch, update: int) -> list[int]:
    """Ctrl-C at an update of a process; returns a list with one item per update."""
    updates: list[int] = []
    for kind in (OfflineAgent, DecisionDiffuserAgent, DecisionTransformerAgent):
        monkeypatch.setattr(kind, "sample", _interrupted(kind.sample, updates, update))
    return updates


def _interrupted(original: Callable[..., Any], updates: list[int], update: int) -> Callable[..., Any]:
    def sample(self: OfflineAgent, buffer: Any) -> Any:
        updates.append(1)
        if len(updates) == update:
            raise KeyboardInterrupt
        return original(self, buffer)

    return sample


@pytest.mark.parametrize("name", AGENTS)
def test_interrupted_in_every_epoch_it_ends_with_the_same_bytes(
    dataset: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, run = AGENTS[name], tmp_path / "run"
    for _ in range(3):
        with monkeypatch.context() as patched:
            interrupt(patched, update=15)  # each time in the middle of the epoch after the one that was saved
            with pytest.raises(KeyboardInterrupt):
                fit(dataset, run, kind)
        assert is_unfinished(run)
    updates = interrupt(monkeypatch, update=0)
    agent = fit(dataset, run, kind)
    assert len(updates) == 5  # of the last, short epoch
    uninterrupted = fit(dataset, None, kind)
    assert saved(agent, run) == saved(uninterrupted, tmp_path / "whole")
    assert agent.history == uninterrupted.history
    np.testing.assert_array_equal(act_once(agent.last, BELIEFS), act_once(uninterrupted.last, BELIEFS))
    assert not is_unfinished(run)


@pytest.mark.parametrize("kind", [TD3PlusBCAgent, CQLAgent])
def test_states_within_epochs(
    dataset: Any, kind: type[OfflineAgent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    for update in (6, 17):  # saved after 4 updates, and after 20
        with monkeypatch.context() as patched:
            updates = interrupt(patched, update=update)
            with pytest.raises(KeyboardInterrupt):
                fit(dataset, run, kind, save_every=4, steps_per_epoch=15)
    updates = interrupt(monkeypatch, update=0)
    agent = fit(dataset, run, kind, save_every=9, steps_per_epoch=15)  # how often does not matter
    assert len(updates) == STEPS - 20
    assert saved(agent, run) == saved(fit(dataset, None, kind, steps_per_epoch=15), tmp_path / "whole")


def test_the_curves_of_a_resumed_training_are_those_of_one(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose_trackers(["tensorboard"])
    with monkeypatch.context() as patched:
        interrupt(patched, update=15)
        with pytest.raises(KeyboardInterrupt):
            fit(dataset, tmp_path)
    agent = fit(dataset, tmp_path)
    curve = curves(tmp_path / "tensorboard")["offline/score"]
    assert curve == [(line["step"], pytest.approx(line["score"])) for line in agent.history]
    discard_unfinished(tmp_path)
    fit(dataset, tmp_path, steps_per_epoch=15)
    assert [step for step, _ in curves(tmp_path / "tensorboard")["offline/score"]] == [15, 30, 35]


@pytest.fixture(scope="module")
def interrupted_once(dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupt(monkeypatch, update=15)
        with pytest.raises(KeyboardInterrupt):
            fit(dataset, folder)
    return folder


@pytest.fixture
def interrupted(interrupted_once: Path, tmp_path: Path) -> Path:
    """A copy of what an interrupted training left."""
    return Path(shutil.copytree(interrupted_once, tmp_path / "run"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, r"seed=0 \(now 1\)"),
        ({"steps": 40}, r"steps=35 \(now 40\)"),
        (
            {"alpha": 0.25, "batch_size": 16},
            r"options\.alpha=0\.5 \(now 0\.25\), options\.batch_size=32 \(now 16\)",
        ),
        ({"kind": BCAgent}, r"agent='TD3PlusBCAgent' \(now 'BCAgent'\)"),
    ],
)
def test_other_arguments_are_refused(dataset: Any, interrupted: Path, changes: dict, words: str) -> None:
    state = (interrupted / "unfinished/state.safetensors").read_bytes()
    with pytest.raises(ValueError, match=rf"unfinished run with .*{words}.*; .*--overwrite"):
        fit(dataset, interrupted, **changes)
    assert (interrupted / "unfinished/state.safetensors").read_bytes() == state
    discard_unfinished(interrupted)
    assert fit(dataset, interrupted, **changes).history


def test_other_sessions_of_as_many_transitions_are_refused(dataset: Any, tmp_path: Path) -> None:
    parts = [dataset.filter_episodes(lambda one, left=left: one.id in left) for left in ((1, 2), (3, 4))]
    fit(parts[0], tmp_path)
    with pytest.raises(ValueError, match=r"unfinished run with rows_sha256='\w+' \(now '\w+'\)"):
        fit(parts[1], tmp_path)


def test_an_altered_state_is_refused(dataset: Any, interrupted: Path) -> None:
    file = interrupted / "unfinished/state.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match="can't be resumed: .*altered.*--overwrite"):
        fit(dataset, interrupted)


def test_a_finished_training_is_kept_until_it_is_saved(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit(dataset, tmp_path / "run")  # and the process is killed before it saves
    updates = interrupt(monkeypatch, update=0)
    agent = fit(dataset, tmp_path / "run")
    assert not updates
    assert saved(agent, tmp_path / "run") == saved(first, tmp_path / "other")
    assert not (tmp_path / "run" / "unfinished").exists()


def test_saving_an_interrupted_agent_keeps_the_run(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = BCAgent(**SMALL)
    interrupt(monkeypatch, update=15)
    with pytest.raises(KeyboardInterrupt):
        agent.fit(dataset, steps=STEPS, seed=0, directory=tmp_path, progress=False)
    agent.save(tmp_path)
    assert (tmp_path / "policy.safetensors").exists()
    assert is_unfinished(tmp_path)


@pytest.mark.slow
def test_a_diverged_training_leaves_nothing_to_resume_but_the_way_to_its_best_policy(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "WARM_UP", 150)
    diverged = {
        "gamma": 0.99, "reward_scale": 100.0, "tau": 0.5, "critic_learning_rate": 3e-3, "actor_learning_rate": 3e-3,
        "alpha": 1e4, "steps_per_epoch": 100,
    }  # fmt: skip
    agent = TD3PlusBCAgent(**(SMALL | diverged))
    with pytest.raises(DivergedError, match=r"a score of .* comes out again with steps=\d+0$") as stopped:
        agent.fit(dataset, steps=2_000, seed=0, directory=tmp_path, evaluate=up_and_down, progress=False)
    assert not is_unfinished(tmp_path)
    again = fit(dataset, None, steps=int(str(stopped.value).rpartition("=")[2]), **diverged)
    np.testing.assert_array_equal(again.policy(BELIEFS), agent.policy(BELIEFS))


@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_save_every_is_checked(dataset: Any, value: Any) -> None:
    with pytest.raises(
        (TypeError, ValueError), match=f"save_every must be an integer.* or None, got {value}"
    ):
        BCAgent().fit(dataset, steps=1, seed=0, save_every=value)


@pytest.mark.slow
@pytest.mark.parametrize("agent", AGENTS)
def test_killed_at_random_moments_training_ends_with_the_same_bytes(agent: str, tmp_path: Path) -> None:
    from tests.agents.killed_offline_training import survive_offline  # imports what takes seconds

    process = begin(survive_offline, agent, tmp_path, 4, 1)
    process.join(1_800)
    assert process.exitcode == 0
    assert (tmp_path / "resumed.txt").read_text() == "4"  # the first started anew
    whole, survived = tmp_path / "whole", tmp_path / "killed"
    for name in ("policy.safetensors", "training.json"):
        assert (survived / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (survived / "unfinished").exists()
