"""The planner through the program: train, evaluate, collect."""

import json
from collections.abc import Callable
from pathlib import Path

import minari
import numpy as np
import pytest

Program = Callable[..., tuple[int, str, str]]

OPTIONS = ("random_sessions=4096", "exploration_sessions=512", "atoms=64")


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    return tmp_path / "datasets"


@pytest.mark.slow
def test_train_evaluate_collect(program: Program, tiny_env: str, datasets: Path, tmp_path: Path) -> None:
    chosen = [word for option in OPTIONS for word in ("--option", option)]
    code, out, err = program(
        "train", "planner", "--env", tiny_env, "--steps", 1, "--out", "agent", "--num-envs", 512,
        "--validation-users", 50, *chosen, "--json",
    )  # fmt: skip
    assert code == 0, err
    trained = json.loads(out)
    assert {file.name for file in (tmp_path / "agent").iterdir()} == {
        "agent.json", "planner.json", "policy.safetensors"
    }  # fmt: skip

    code, out, err = program("evaluate", "agent", "--split", "validation", "--episodes", 50, "--json")
    assert code == 0, err
    evaluated = json.loads(out)
    assert evaluated["env"] == tiny_env
    assert evaluated["mean_return"] == pytest.approx(trained["validation_return"])

    code, out, err = program("user-model", "agent", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["env"] == tiny_env
    assert found["learned"].keys() == found["true"].keys()
    assert found["true"]["topics_right"] == 1.0 >= found["learned"]["topics_right"]
    assert found["misfit"]["sessions"] == 1024
    code, out, err = program("user-model", "agent")
    assert code == 0, err
    assert "kept per click" in out
    assert "the user model" in " ".join(err.split())

    code, _, err = program(
        "collect", "--env", tiny_env, "--policy", "agent", "--episodes", 4, "--dataset-id", "my/planner-v0"
    )
    assert code == 0, err
    episode = next(iter(minari.load_dataset("my/planner-v0").iterate_episodes()))
    slates = np.asarray(episode.actions)
    assert slates.shape == (12, 5)
    assert all(len(set(slate)) == 5 for slate in slates.tolist())


def test_a_ranker_is_refused(program: Program, tiny_env: str) -> None:
    code, _, err = program(
        "train", "planner", "--env", tiny_env, "--steps", 1, "--out", "agent", "--ranker", "gems-diffuse_mix"
    )
    assert code == 2
    assert "leave --ranker out" in " ".join(err.split())
