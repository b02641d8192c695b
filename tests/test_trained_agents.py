"""An agent's folder holds one agent: whatever is killed or swapped, never parts of two."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gems_gym import trained_agents
from gems_gym.beliefs import GruBelief
from gems_gym.common.files import write_json
from gems_gym.common.networks import FeedForward
from gems_gym.policies.actor import Actor
from gems_gym.rankers import GemsRanker
from gems_gym.trained_agents import (
    TrainedAgent,
    find_trained_agent,
    open_trained_agent,
    recorded_world,
    save_trained_agent,
)

BELIEFS = np.linspace(-1, 1, 60, dtype=np.float32).reshape(3, 20)


class Saved:
    """An agent as ``save_trained_agent`` meets it: it writes a policy and a record of its training."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        weights = {"0.weight": rng.normal(size=(8, 20)), "0.bias": rng.normal(size=8)}
        tensors = {name: array.astype(np.float32) for name, array in weights.items()}
        self.actor = Actor(FeedForward(tensors, [["linear"], ["tanh"]]))
        self.seed = seed

    def save(self, directory: Path) -> None:
        self.actor.save(directory / "policy.safetensors")
        write_json(directory / "training.json", {"seed": self.seed})


@pytest.fixture
def save(tmp_path: Path, tiny_ranker: GemsRanker, tiny_belief: GruBelief):
    def save(seed: int, folder: str = "agent") -> Path:
        save_trained_agent(tmp_path / folder, Saved(seed), "bc", tiny_ranker, tiny_belief, {"seed": seed})
        return tmp_path / folder

    return save


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_is_read_as_it_was_saved(save) -> None:
    folder = save(0)
    agent = open_trained_agent(folder)
    np.testing.assert_array_equal(agent.policy(BELIEFS), Saved(0).actor(BELIEFS))
    assert sorted(files(folder)) == [
        "agent.json", "belief.safetensors", "policy.safetensors", "ranker.safetensors", "training.json",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["policy.safetensors", "training.json", "ranker.safetensors"])
def test_a_swapped_file_is_refused(save, name: str, tiny_world: dict) -> None:
    folder, other = save(0), save(1, "other")
    if name == "ranker.safetensors":
        ranker = trained_agents.load_ranker(other / name)
        GemsRanker.random(
            num_items=60, slate_size=5, catalog_hash=ranker.catalog_hash, seed=5, latent_size=8
        ).save(other / name)
    shutil.copy(other / name, folder / name)
    with pytest.raises(
        ValueError, match=rf"'.*agent': .*{name.split('.')[0]}.* is not the one that agent\.json names"
    ):
        open_trained_agent(folder)


def test_a_removed_file_is_refused(save) -> None:
    folder = save(0)
    (folder / "policy.safetensors").unlink()
    with pytest.raises(ValueError, match=r"policy\.safetensors is not the one .* \(sha256 of no file"):
        open_trained_agent(folder)


def test_a_record_of_an_older_version_names_no_hashes(save) -> None:
    folder = save(0)
    record = json.loads((folder / "agent.json").read_text())
    del record["files_sha256"]
    write_json(folder / "agent.json", record)
    assert open_trained_agent(folder).record["seed"] == 0


def which_agent(folder: Path) -> int | None:
    """The seed of the agent that a folder holds; None if it is refused for want of a record."""
    if not (folder / "agent.json").exists():
        with pytest.raises(FileNotFoundError, match="holds no trained agent"):
            open_trained_agent(folder)
        return None
    agent = open_trained_agent(folder)
    np.testing.assert_array_equal(agent.policy(BELIEFS), Saved(agent.record["seed"]).actor(BELIEFS))
    return agent.record["seed"]


class Killed(BaseException):
    """Nothing that a program catches."""


@pytest.mark.parametrize("older", [False, True], ids=["this version", "an older version"])
def test_killed_while_it_replaces_an_agent_the_folder_is_never_mixed(
    save, older: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Stops before every single change to a file, as a kill would, until the new agent is saved."""
    seen: list[int | None] = []
    before = save(0)
    if older:
        record = json.loads((before / "agent.json").read_text())
        del record["files_sha256"]
        write_json(before / "agent.json", record)
    original = files(before)
    for moment in range(100):
        folder = tmp_path / "killed"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder)
        left = iter(range(moment))

        def counted(change, left=left):
            def changed(*args, **kwargs):
                if next(left, None) is None:
                    raise Killed
                return change(*args, **kwargs)

            return changed

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", counted(os.replace))
            patched.setattr(Path, "unlink", counted(Path.unlink))
            patched.setattr(shutil, "rmtree", counted(shutil.rmtree))  # a killed process does not tidy up
            try:
                save(1, "killed")
                break
            except Killed:
                pass
        seen.append(which_agent(folder))
        if seen[-1] == 0:
            assert {name: files(folder)[name] for name in original} == original
    assert seen == sorted(seen, key=[0, None, 1].index)
    assert set(seen) == {0, None, 1}
    assert open_trained_agent(folder).record["seed"] == 1
    assert not (folder / ".saving").exists()


def test_what_a_killed_process_left_is_removed(save, tmp_path: Path) -> None:
    (tmp_path / "agent" / ".saving").mkdir(parents=True)
    (tmp_path / "agent" / ".saving" / "rest.json").write_text("{}")
    assert "rest.json" not in str(sorted(files(save(0))))


def test_checkpoints_of_another_training_are_refused(save) -> None:
    """A training that was begun in an agent's folder and killed leaves its own."""
    folder = save(0)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/checkpoints.json").write_text("[]")
    save(0)
    with pytest.raises(ValueError, match="keeps no checkpoints"):  # those are the agent's
        open_trained_agent(folder, checkpoint=100)
    record = json.loads((folder / "agent.json").read_text())
    assert len(record["checkpoints_sha256"]) == 64
    (folder / "agent.json").write_text(json.dumps({**record, "agent": "sac"}))
    (folder / "checkpoints/checkpoints.json").write_text("[ ]")
    with pytest.raises(ValueError, match=r"checkpoints\.json is not the one that agent\.json names"):
        open_trained_agent(folder, checkpoint=100)


def test_a_policys_name_goes_before_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "random").mkdir()
    assert find_trained_agent("random") is None
    with pytest.raises(FileNotFoundError, match="'random' holds no trained agent"):
        find_trained_agent("./random")


def test_a_record_whose_worlds_file_is_gone_is_a_clear_error() -> None:
    record = {"env_spec": json.dumps({"id": "GemsSlate-fitted-v0", "kwargs": {"world": "/no/such/file"}})}
    with pytest.raises(ValueError, match="names no environment that can be made here .*no/such/file"):
        recorded_world(TrainedAgent("one", None, None, None, record))
