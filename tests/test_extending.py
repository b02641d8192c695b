"""The questions that authors ask: each part of a third party's package is used by our commands, and passes our checks.

The package is tests/plugins/gems_gym_dummy_plugin; docs/extending.md shows its code.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("d3rlpy")
pytest.importorskip("stable_baselines3")
from gems_gym import plugins
from gems_gym.beliefs import load_belief
from gems_gym.datasets import open_dataset
from gems_gym.embeddings import load_embeddings
from gems_gym.envs.latent import LatentSlateEnv
from gems_gym.rankers import load_ranker
from gems_gym.registration import register_environments
from gems_gym.testing import check_agent, check_belief, check_policy, check_ranker, check_world

ENV = "GemsSlate-diffuse_topdown-v0"
SIZES = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 6}
WORLD = ["--env", ENV, *(f"--env-option={name}={value}" for name, value in SIZES.items())]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(
    plugin_site: Path, program: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, registry_as_it_was: None
) -> Iterator[Run]:
    """Runs our program where the package is installed; returns what it prints as JSON."""
    monkeypatch.syspath_prepend(plugin_site)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    register_environments()  # as importing gems_gym does in a process of its own

    def run(*arguments: object) -> dict[str, Any]:
        code, out, err = program(*arguments, "--json")
        assert code == 0, err
        shown: dict[str, Any] = json.loads(out)
        return shown

    yield run
    for name in [one for one in sys.modules if one.startswith("gems_gym_dummy")]:
        del sys.modules[name]


@pytest.fixture
def parts(run: Run) -> list[str]:
    """Options of a ranker and a belief of the package, made by our commands."""
    logged = ["--sessions", "20", "--option", "tries=2"]
    run("pretrain", "ranker", *WORLD, "--kind", "linear_hash", *logged, "--out", "ranker.safetensors")
    run("pretrain", "belief", *WORLD, "--kind", "click_stack", "--out", "belief.safetensors")
    return ["--ranker", "ranker.safetensors", "--belief", "belief.safetensors"]


def evaluated(run: Run, *policy: object) -> float:
    found = run("evaluate", *policy, "--episodes", 6)["mean_return"]
    assert 0 <= found <= 6 * 5
    return float(found)


def test_a_click_model(run: Run) -> None:
    usual = evaluated(run, "short_term_oracle", *WORLD)
    own = evaluated(run, "short_term_oracle", *WORLD, "--env-option=click_model=first_only")
    always = evaluated(
        run, "short_term_oracle", *WORLD, "--env-option=click_model=first_only", "--env-option=click_propensity=0"
    )  # fmt: skip
    assert always <= 6 < own != usual, "one click a step at most where nobody looks below the first position"


def test_a_ranker_that_is_trained_and_a_belief(run: Run, parts: list[str]) -> None:
    ranker, belief = load_ranker("ranker.safetensors"), load_belief("belief.safetensors")
    assert (ranker.kind, belief.kind) == ("ranker/linear_hash", "belief/click_stack")
    assert ranker.seed in (0, 1), "the better one of two tries"  # type: ignore[attr-defined]
    check_ranker(ranker)
    check_belief(belief)


def test_item_embeddings(run: Run) -> None:
    run(
        "pretrain",
        "embeddings",
        *WORLD,
        "--kind",
        "click_rates",
        "--sessions",
        20,
        "--out",
        "items.safetensors",
    )
    table = load_embeddings("items.safetensors")
    assert table.kind == "embeddings/click_rates" and table.vectors.shape == (60, 8)
    run(
        "pretrain",
        "ranker",
        *WORLD,
        "--kind",
        "topk",
        "--item-vectors",
        "items.safetensors",
        "--out",
        "r.safetensors",
    )
    assert load_ranker("r.safetensors").action_size == 8


def test_an_offline_algorithm(run: Run, parts: list[str]) -> None:
    check_agent("mean_action", steps=3)
    short = ["--steps", 40, "--num-envs", 4, "--validation-users", 3]
    run("train", "best_latent", *WORLD, *parts, *short, "--out", "logging")
    run("collect", "--policy", "logging", *WORLD, "--episodes", 5, "--dataset-id", "my/logged-v0")
    run(
        "train",
        "mean_action",
        "--dataset",
        "my/logged-v0",
        "--steps",
        5,
        "--validation-users",
        3,
        "--out",
        "agent",
    )
    assert evaluated(run, "agent") == evaluated(run, "logging"), (
        "it always plays one latent, which is learned"
    )


def test_an_online_agent_that_acts_in_latents(run: Run, parts: list[str]) -> None:
    check_agent("best_latent", steps=40)
    trained = run("train", "best_latent", *WORLD, *parts, "--steps", 40, "--num-envs", 4, "--out", "agent")
    assert trained["agent"] == "best_latent"
    evaluated(run, "agent")


def test_an_agent_that_shows_slates(run: Run, program: Any, tmp_path: Path) -> None:
    check_agent("popular", steps=40)

    def refused(*arguments: object) -> str:
        code, _, err = program(*arguments)
        assert code == 2
        return " ".join(err.split())

    train = ["train", "popular", *WORLD, "--steps", 4_000, "--out", "agent"]
    assert "leave --ranker out" in refused(*train, "--ranker", "gems-diffuse_topdown")
    trained = run(*train)
    assert {file.name for file in (tmp_path / "agent").iterdir()} == {"agent.json", "policy.safetensors"}
    found = run("evaluate", "agent", "--episodes", 200)
    assert found["mean_return"] > 1.15 * found["random_return"]
    assert trained["validation_return"] == pytest.approx(found["mean_return"], rel=0.2)
    collect = ["collect", "--policy", "agent", *WORLD, "--dataset-id", "popular/all-v0", "--episodes", 50]
    collected = run(*collect)
    assert (collected["episodes"], collected["transitions"]) == (50, 300)
    assert "shows slates" in refused(*collect, "--noise", "0.1")
    latent = ["--env", "GemsSlateLatent-diffuse_topdown-v0", "--dataset-id", "popular/latent-v0"]
    assert "acts in latents" in refused("collect", "--policy", "agent", *latent, "--episodes", 5)


def test_a_policy_that_keeps_state(run: Run) -> None:
    check_policy("most_clicked")
    evaluated(run, "most_clicked", *WORLD)
    run("collect", "--policy", "most_clicked", *WORLD, "--episodes", 3, "--dataset-id", "my/clicked-v0")


def test_a_world(run: Run) -> None:
    for version in (0, 1):
        check_world(f"GemsSlate-impatient-v{version}", episode_length=4)
    assert run("evaluate", "random", "--env", "GemsSlate-impatient-v0", "--episodes", 2)["mean_return"] > 0


@pytest.mark.slow
def test_a_world_with_dynamics_of_its_own(
    run: Run, monkeypatch: pytest.MonkeyPatch, plugin_site: Path
) -> None:
    env = "GemsSlate-patient-v0"
    check_world(env, episode_length=8)
    assert env in run("list")["environments"]
    assert run("info", env)["dynamics"] == "patient"
    world = ["--env", env, *(f"--env-option={name}={value}" for name, value in SIZES.items())]
    changed = SIZES | {"episode_length": 30, "boredom_threshold": 2}
    users = [
        "--episodes",
        40,
        "--env",
        env,
        *(f"--env-option={name}={value}" for name, value in changed.items()),
    ]
    patient = run("evaluate", "short_term_oracle", *users)["mean_return"]
    bored = run("evaluate", "short_term_oracle", *users, "--env-option=dynamics=gems")["mean_return"]
    assert patient > 1.1 * bored
    run("pretrain", "ranker", *world, "--kind", "linear_hash", "--sessions", 20, "--out", "r.safetensors")
    run("pretrain", "belief", *world, "--kind", "click_stack", "--out", "b.safetensors")
    parts = ["--ranker", "r.safetensors", "--belief", "b.safetensors"]
    short = ["--steps", 40, "--num-envs", 4, "--validation-users", 3]
    run("train", "best_latent", *world, *parts, *short, "--out", "logging")
    run("collect", "--policy", "logging", *world, "--episodes", 5, "--dataset-id", "my/patient-v0")
    run("dataset", "verify", "my/patient-v0")
    made = open_dataset("my/patient-v0").recover_environment().unwrapped
    assert isinstance(made, LatentSlateEnv) and type(made.simulator).__name__ == "PatientSimulator"
    offline = ["--dataset", "my/patient-v0", "--steps", 5, "--validation-users", 3]
    run("train", "mean_action", *offline, "--out", "agent")
    assert evaluated(run, "agent") == evaluated(run, "logging")

    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != str(plugin_site)])
    with pytest.raises(ValueError, match="unknown (preset|dynamics) 'patient'"):
        open_dataset("my/patient-v0").recover_environment()


def test_a_dataset_field(run: Run, program: Any) -> None:
    collect = ["collect", "--policy", "short_term_oracle", *WORLD, "--episodes", 6]
    hashes = [
        run(*collect, "--field", "bored_share", *more, "--dataset-id", f"my/bored-v{number}")["content_hash"]
        for number, more in enumerate(([], ["--num-envs", 2, "--workers", 2]))
    ]
    assert len(set(hashes)) == 1
    run("dataset", "verify", "my/bored-v0")
    dataset = open_dataset("my/bored-v0")
    for episode in dataset.iterate_episodes():
        share = episode.infos["bored_share"]
        assert share.dtype == np.float32
        np.testing.assert_allclose(share, episode.infos["bored"].mean(axis=1))
    assert dataset.storage.metadata["fields"] == ["bored_share"]
    run(*collect, "--dataset-id", "my/plain-v0")
    assert "bored_share" not in open_dataset("my/plain-v0")[0].infos
    for field, words in {"bored_shares": "did you mean 'bored_share'", "clicks": "leave them out"}.items():
        code, _, err = program(*collect, "--field", field, "--dataset-id", "my/none-v0")
        assert code == 2 and words in " ".join(err.split())


@pytest.mark.slow
def test_a_table_column_and_an_executor(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(STUDY)
    shown = run("compare", "mine.toml", "--executor", "in_turn", "--out", "study")
    assert shown["failures"] == {} and len(shown["rows"]) > 1
    table = (tmp_path / "study/table.md").read_text()
    assert "| clicks per minute |" in table
    with_it = table.partition("| clicks per minute |")[2].splitlines()
    line = next(one for one in with_it if one.startswith("| popular_slates |"))
    assert np.isfinite(float(line.split("|")[-3]))


STUDY = """
name = "mine"
title = "A third party's agent"
seeds = [0]
test_users = 6
validation_users = 3
constant_slate_sessions = 1000
plan_steps = 1

[[worlds]]
name = "small"
preset = "diffuse_topdown"
overrides = {num_items = 60, slate_size = 5, num_topics = 5, episode_length = 6}

[[variants]]
name = "popular_slates"
description = "the most clicked latent"
agent = "best_latent"
steps = 40
num_envs = 4
belief = {name = "stack", kind = "belief/gru", sessions = 40, settings = {batches = 2}}
ranker = {name = "hash", kind = "ranker/linear_hash", sessions = 20}
"""


def test_a_tracker(run: Run, parts: list[str], tmp_path: Path) -> None:
    """Of a ranker or belief, an agent that learns from users, and one that learns from a dataset."""
    chosen = ["--tracker", "json_lines"]
    trained = ["--sessions", 40, "--batches", 4, "--log-dir", "logs", "--out", "gru.safetensors", *chosen]
    run("pretrain", "belief", *WORLD, *trained)
    assert [line["step"] for line in tracked(tmp_path / "logs", "training_loss")] == [1, 2, 3, 4]
    small = [
        f"--option={one}"
        for one in ("net_arch=[8]", "batch_size=8", "learning_starts=20", "validate_every=40")
    ]
    online = ["--steps", 80, "--num-envs", 4, "--validation-users", 3, *small]
    run("train", "sac", *WORLD, *parts, *online, "--out", "sac", *chosen)
    assert tracked(tmp_path / "sac", "validation/clicks_per_session")[-1]["step"] == 80
    run("collect", "--policy", "sac", *WORLD, "--episodes", 5, "--dataset-id", "my/sac-v0")
    small = [f"--option={one}" for one in ("hidden_units=[8]", "batch_size=8", "steps_per_epoch=5")]
    offline = ["--steps", 10, "--validation-users", 3, *small]
    run("train", "bc", "--dataset", "my/sac-v0", *offline, "--out", "bc", *chosen)
    assert [line["step"] for line in tracked(tmp_path / "bc", "score")] == [5, 10]


def tracked(folder: Path, measurement: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "tracked.jsonl").read_text().splitlines()]
    found = [line for line in lines if measurement in line]
    assert all(np.isfinite(line[measurement]) for line in found)
    return found


def test_every_group_has_a_member_of_the_package(run: Run) -> None:
    for group in plugins.GROUPS:
        owners = {one.distribution for one in plugins.describe(group)}
        assert "gems-gym-dummy-plugin" in owners, f"{group} is not tried out by a third party's part"
