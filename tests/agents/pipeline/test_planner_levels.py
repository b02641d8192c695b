"""The level "planner": from the maintainers' command to datasets, and what its file holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest

from gems_gym.artifacts import shipped
from gems_gym.datasets import collect_level
from gems_gym.trained_agents import open_trained_agent
from gems_gym_agents.pipeline import planner_levels
from gems_gym_agents.pipeline.planner_levels import PlannerTraining
from gems_gym_agents.user_model.agent import PlannerAgent
from gems_gym_agents.user_model.options import PlannerOptions
from gems_gym_agents.user_model.planner import PlannerPolicy

NAME = "planner-diffuse_topdown"
SMALL = PlannerOptions(random_sessions=4096, exploration_sessions=512, atoms=64)


@pytest.fixture
def run(
    program: Callable[..., tuple[int, str, str]],
    tiny_env: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Any]:
    monkeypatch.setattr(shipped, "DIRECTORY", tmp_path / "shipped")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setattr(PlannerAgent, "presets", {"diffuse_topdown": SMALL}, raising=False)
    for name, value in (("TRAINING_USERS", 512), ("VALIDATION_USERS", 30)):
        monkeypatch.setattr(planner_levels, name, value)

    def run(*arguments: Any) -> Any:
        code, out, err = program(*arguments, "--json")
        return json.loads(out) if code == 0 else " ".join(err.split())

    return run


@pytest.mark.slow
def test_from_the_command_to_datasets(run: Callable[..., Any], tiny_env: str, tmp_path: Path) -> None:
    asked = ("dev", "levels", "--agent", "planner", "--env", tiny_env, "--steps", 1)
    made = run(*asked, "--out", shipped.DIRECTORY)["policies"]
    assert list(made) == shipped.names("policy") == shipped.names("policy/planner") == [NAME]
    entry, agent = shipped.manifest()[NAME], open_trained_agent(NAME)
    assert agent.record["metrics"] == entry.metrics
    assert agent.record["command"] == entry.command
    assert entry.command == f"gems-gym dev levels --agent planner --env {tiny_env} --steps 1 --seed 0"
    assert (agent.name, agent.record["level"], agent.record["preset"]) == (
        "planner", "planner", "diffuse_topdown"
    )  # fmt: skip

    (whole,) = (tmp_path / "runs/levels").glob("*/policy.safetensors")
    learned, stored = PlannerPolicy.load(whole), agent.policy
    assert isinstance(stored, PlannerPolicy)
    np.testing.assert_array_equal(stored.plans, learned.plans)
    np.testing.assert_array_equal(stored.model.items, learned.model.items.astype(np.float16))
    np.testing.assert_array_equal(stored.model.prior, learned.model.prior.astype(np.float16))
    assert stored.save(tmp_path / "again.safetensors") == entry.sha256
    assert run(*asked, "--out", "again")["policies"] == made  # reads what is there
    assert shipped.manifest(Path("again"))[NAME] == entry

    evaluated = run("evaluate", NAME, "--env", tiny_env, "--split", "validation", "--episodes", 30)
    assert evaluated["mean_return"] == entry.metrics["validation_return"] == made[NAME]["validation_return"]
    assert evaluated["normalized_score"] == made[NAME]["normalized_score"]

    collected = ("collect", "--env", tiny_env, "--episodes", 6)
    by_level = run(*collected, "--level", "planner", "--num-envs", 4)
    assert by_level["dataset_id"] == "gems-slate/diffuse_topdown/planner-v0"
    by_name = run(*collected, "--policy", NAME, "--dataset-id", "my/planner-v0")
    assert by_level["content_hash"] == by_name["content_hash"]
    dataset = minari.load_dataset(by_level["dataset_id"])
    metadata = dataset.storage.metadata
    assert metadata["level"] == "planner"
    assert metadata["levels"] == {
        "planner": {"share": 1.0, "policy": NAME, "policy_sha256": entry.sha256, "exploration_noise": 0.0}
    }
    assert (metadata["policy"], metadata["policy_sha256"], metadata["ranker_sha256"]) == (
        NAME, entry.sha256, None
    )  # fmt: skip
    assert np.asarray(dataset[0].actions).shape == (12, 5)

    assert "item ids mean other items there" in run(
        *collected, "--level", "planner", "--env-option", "num_items=90"
    )
    assert "item ids mean other items there" in run("evaluate", NAME, "--env", "GemsSlate-diffuse_mix-v0")


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        ("GemsSlate-tiny-v0", {"noise": 0.1}, "noise=0.1 does not go with the level 'planner', which shows slates"),
        ("GemsSlate-tiny-v0", {}, "no planner policy is shipped for the world 'diffuse_topdown'.*--agent planner"),
        ("GemsSlateLatent-diffuse_mix-v0", {}, "shows slates, and .* takes latents; give GemsSlate-diffuse_mix-v0"),
    ],
)  # fmt: skip
def test_mistakes_are_told(
    run: Callable[..., Any], env: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        collect_level(env, "planner", episodes=1, seed=0, **arguments)


def test_planners_learn_in_slate_environments_of_presets() -> None:
    with pytest.raises(ValueError, match="is no slate environment of a preset"):
        PlannerTraining.of("GemsSlateLatent-diffuse_mix-v0", 1, 0)
    assert (
        PlannerTraining.of(gymnasium.spec("GemsSlate-diffuse_mix-v1"), 1, 0).record["preset"] == "diffuse_mix"
    )
