"""Policies of levels: which are picked, what their files say, and that every command knows them by name."""

import json
from pathlib import Path

import gymnasium
import minari
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from gems_gym.artifacts import shipped
from gems_gym.beliefs import GruBelief
from gems_gym.common.networks import FeedForward
from gems_gym.envs import SlateVectorEnv
from gems_gym.policies.actor import Actor
from gems_gym.rankers import GemsRanker
from gems_gym_agents.evaluation import References
from gems_gym_agents.online.checkpoints import Checkpoint, read_checkpoints
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.sac import SACAgent
from gems_gym_agents.pipeline import levels
from gems_gym_agents.pipeline.levels import NoLevelsError, Training, make_levels, pick

ENV = "GemsSlateLatent-small-v0"
STEPS, SEED = 720, 3
WEIGHTS = {"0.weight": np.eye(2), "0.bias": np.zeros(2)}
ACTOR = Actor(FeedForward(WEIGHTS, [["linear"], ["tanh"]]))


def way(*scores: float | None) -> list[Checkpoint]:
    return [Checkpoint(100 * number, None, score, ACTOR) for number, score in enumerate(scores, 1)]


def picked(*scores: float | None) -> tuple[int, int]:
    chosen = pick(way(*scores), References(random=50.0, boredom_aware_oracle=250.0))
    return chosen["medium"].interactions, chosen["expert"].interactions


def test_medium_is_the_first_past_half_of_the_best():
    assert picked(60, 99, 101, 120, 150, 140) == (300, 500)
    assert picked(60, 100.5, 150) == (200, 300)
    assert picked(60, 130, 90, 150, 150) == (200, 400)
    assert picked(None, 60, 101, 150, None) == (300, 400)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ((), "no better than random slates"),
        ((None,), "no better than random slates"),
        ((40, 50, 45), "normalised score is 0.0, no better than random"),
        (
            (60, 100, 150),
            "past half of expert's normalised score, 50.0, is expert itself, after 300 interactions",
        ),
    ],
)
def test_a_way_without_two_levels_is_told(scores, words):
    with pytest.raises(NoLevelsError, match=words):
        picked(*scores)


@pytest.fixture
def folder(tmp_path, monkeypatch, tiny_env):
    """A latent environment of the tiny world, its ranker and belief in the place of the shipped ones; little SAC."""
    out = tmp_path / "shipped"
    monkeypatch.setattr(shipped, "DIRECTORY", out)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.chdir(tmp_path)
    kwargs = gymnasium.spec(tiny_env).kwargs
    catalog_hash = gymnasium.make(tiny_env).unwrapped.catalog.hash
    sizes = {"num_items": 80, "slate_size": 5, "catalog_hash": catalog_hash, "seed": 0}
    for name, part in (
        ("gems", GemsRanker.random(**sizes, latent_size=4)),
        ("gru", GruBelief.random(**sizes)),
    ):
        file = f"{name}-diffuse_topdown.safetensors"
        entry = shipped.Entry(
            file=file,
            sha256=part.save(out / file),
            kind=part.kind,
            preset="diffuse_topdown",
            command="",
            metrics={},
        )
        shipped.record(out, f"{name}-diffuse_topdown", entry)
    latent = gymnasium.spec("GemsSlateLatent-diffuse_topdown-v0")
    gymnasium.register(
        ENV,
        entry_point=latent.entry_point,
        vector_entry_point=latent.vector_entry_point,
        kwargs={**latent.kwargs, **kwargs},
    )
    small = SACOptions(learning_starts=100, net_arch=(16,), batch_size=64, gradient_steps=1)
    monkeypatch.setattr(SACAgent, "presets", {"diffuse_topdown": small}, raising=False)
    for name, value in (("TRAINING_USERS", 10), ("VALIDATION_USERS", 8), ("VALIDATE_EVERY", 120)):
        monkeypatch.setattr(levels, name, value)
    # so that the six policies of this training hold two levels
    monkeypatch.setattr(levels, "measure_references", lambda env, users: References(7.0, 12.0))
    yield out
    del gymnasium.registry[ENV]


@pytest.fixture
def run(program, folder):
    def run(*arguments):
        code, out, err = program(*arguments, "--json")
        return code, out, " ".join(err.split())

    return run


def test_files_say_how_they_were_made(folder, tmp_path):
    training = Training.of(ENV, STEPS, SEED)
    entries = make_levels(training, folder, tmp_path / "runs")
    assert (
        shipped.names("policy") == list(entries)[::-1] == ["expert-diffuse_topdown", "medium-diffuse_topdown"]
    )
    (directory,) = (tmp_path / "runs").iterdir()
    policies = {one.interactions: one for one in read_checkpoints(directory)}
    beliefs = np.random.default_rng(0).uniform(-1, 1, (200, 20)).astype(np.float32)
    scores = {}
    for name, entry in entries.items():
        actor = Actor.load(shipped.path(name, "policy"))
        made, picked = actor.metadata, policies[entry.metrics["interactions"]]
        assert made["level"] == name.partition("-")[0]
        assert made["metrics"] == entry.metrics == shipped.manifest()[name].metrics
        assert (made["agent"], made["steps"], made["seed"]) == ("sac", STEPS, SEED)
        assert made["options"]["net_arch"] == [16]
        for kind, prefix in (("ranker", "gems"), ("belief", "gru")):
            part = f"{prefix}-diffuse_topdown"
            assert made[kind] == {"name": part, "sha256": shipped.manifest()[part].sha256}
        assert made["curve"] == [[one.interactions, one.score] for one in policies.values()]
        assert made["references"] == {"random": 7.0, "boredom_aware_oracle": 12.0}
        assert made["scores"][made["level"]] == entry.metrics["normalized_score"]
        assert (
            made["command"] == entry.command == f"gems-gym levels --env {ENV} --steps {STEPS} --seed {SEED}"
        )
        assert picked.score == entry.metrics["validation_return"]
        assert actor.half_precision
        assert entry.metrics["float16"]["largest_difference"] < levels.SAME_ACTIONS
        np.testing.assert_allclose(actor(beliefs), picked.actor(beliefs), atol=levels.SAME_ACTIONS)
        scores[made["level"]] = picked.score
    assert scores["expert"] == max(one.score for one in policies.values()) > scores["medium"]


def test_whole_precision_where_half_would_act_otherwise(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(levels, "SAME_ACTIONS", 0.0)
    entries = make_levels(Training.of(ENV, STEPS, SEED), folder, tmp_path / "runs")
    for name, entry in entries.items():
        assert not Actor.load(shipped.path(name, "policy")).half_precision
        assert "float16" not in entry.metrics


@pytest.mark.slow
def test_from_the_command_to_datasets(run, folder, monkeypatch):
    asked = ("dev", "levels", "--env", ENV, "--steps", STEPS, "--seed", SEED)
    with monkeypatch.context() as patched:
        step, steps = SlateVectorEnv.step, []

        def interrupted(self, actions):
            steps.append(self.num_envs == levels.TRAINING_USERS)
            if sum(steps) == 40:
                raise KeyboardInterrupt
            return step(self, actions)

        patched.setattr(SlateVectorEnv, "step", interrupted)
        assert run(*asked, "--out", folder)[0] == 130
    assert shipped.names("policy") == []
    code, out, err = run(*asked, "--out", folder)
    assert code == 0, err
    made = json.loads(out)["policies"]
    assert set(made) == set(shipped.names("policy"))
    assert (
        made["expert-diffuse_topdown"]["normalized_score"]
        > made["medium-diffuse_topdown"]["normalized_score"]
    )
    assert run(*asked, "--out", "whole", "--runs", "other")[0] == 0
    for entry in shipped.manifest(Path("whole")).values():
        assert shipped.manifest()[Path(entry.file).stem] == entry
    before = sorted(Path("runs").rglob("*"))
    assert run(*asked, "--out", "again")[0] == 0  # reads what is there
    assert sorted(Path("runs").rglob("*")) == before

    results = [
        json.loads(run("evaluate", policy, "--env", env, "--episodes", 6)[1])["mean_return"]
        for policy in ("expert-diffuse_topdown", "whole/expert-diffuse_topdown.safetensors")
        for env in (ENV, "GemsSlate-tiny-v0")
    ]
    assert len(set(results)) == 1
    for level in ("random", "medium", "expert", "mixed"):
        code, out, err = run("collect", "--env", "GemsSlate-tiny-v0", "--level", level, "--episodes", 6)
        assert code == 0, err
        assert json.loads(out)["dataset_id"] == f"gems-slate/diffuse_topdown/{level}-v0"
    named = ("collect", "--env", ENV, "--policy", "medium-diffuse_topdown", "--noise", 0.2, "--episodes", 6)
    code, out, err = run(*named, "--dataset-id", "my/medium-v0")
    assert code == 0, err
    by_level = minari.load_dataset("gems-slate/diffuse_topdown/medium-v0").storage.metadata
    assert json.loads(out)["content_hash"] == by_level["content_hash"]


def test_a_failure_is_told_and_the_others_go_on(run, folder, monkeypatch):
    monkeypatch.setattr(levels, "measure_references", lambda env, users: References(20.0, 40.0))
    code, out, err = run("dev", "levels", "--env", ENV, "--steps", STEPS, "--out", folder)
    assert code == 1
    assert json.loads(out)["policies"] == {}
    assert "no better than random slates: train with more steps" in json.loads(out)["failures"][ENV]
    assert f"failed: {ENV}" in err
