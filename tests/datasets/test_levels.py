"""Datasets of levels in latents: who plays which session, what is recorded, one hash however they are made."""

from pathlib import Path
from typing import Any

import minari
import numpy as np
import pytest

from gems_gym.artifacts import shipped
from gems_gym.datasets import DatasetWriter, collect, collect_level, dataset_ranker, merge
from gems_gym.datasets.levels import NOISE
from gems_gym.policies.actor import NoisyActor
from gems_gym.trained_agents import find_trained_agent, open_trained_agent
from tests.datasets.shipped_levels import PRESET, ship_levels, small_actor
from tests.datasets.small_world import ENV_ID, LENGTH, WORLD, small_belief, small_ranker


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.setattr(shipped, "DIRECTORY", tmp_path / "shipped")
    ship_levels(tmp_path / "shipped")
    return tmp_path / "shipped"


def made(level: str, **changes: Any) -> minari.MinariDataset:
    arguments: dict[str, Any] = {
        "episodes": 12,
        "seed": 3,
        "num_envs": 5,
        "env_kwargs": WORLD,
        "reference_scores": (1.0, 9.0),
        "progress": False,
    }
    return collect_level(changes.pop("env_id", ENV_ID), level, **(arguments | changes))


def test_each_level_is_what_it_says() -> None:
    for level in ("random", "medium", "expert"):
        dataset = made(level)
        assert dataset.id == f"gems-slate/{PRESET}/{level}-v0"
        metadata = dataset.storage.metadata
        assert metadata["level"] == level
        assert list(metadata["levels"]) == [level]
        assert metadata["levels"][level]["share"] == 1
        assert metadata["exploration_noise"] == (0 if level == "random" else NOISE)
        assert metadata["ranker_sha256"] == shipped.manifest()[f"gems-{PRESET}"].sha256
        if level != "random":
            assert metadata["policy"] == f"{level}-{PRESET}, noise {NOISE:g}"
            assert metadata["policy_sha256"] == shipped.manifest()[f"{level}-{PRESET}"].sha256
        ranker = dataset_ranker(dataset)
        for episode in dataset.iterate_episodes():
            assert episode.observations.shape == (LENGTH + 1, 4)
            assert episode.actions.shape == (LENGTH, 6)
            assert "level" not in episode.infos
            np.testing.assert_array_equal(episode.infos["slate"][1:], ranker.rank(episode.actions))
    actions = np.concatenate([one.actions for one in minari.load_dataset(f"gems-slate/{PRESET}/random-v0")])
    assert np.abs(actions.mean(axis=0)).max() < 0.25
    np.testing.assert_allclose(actions.std(axis=0), 3**-0.5, atol=0.1)
    assert len(np.unique(actions)) > 0.99 * actions.size


def test_medium_is_what_collecting_with_its_policy_gives() -> None:
    agent = open_trained_agent(f"medium-{PRESET}")
    beliefs = np.random.default_rng(0).uniform(-1, 1, (7, 4)).astype(np.float32)
    np.testing.assert_array_equal(agent.policy(beliefs), small_actor(1)(beliefs))
    by_hand = collect(
        ENV_ID, NoisyActor(agent.policy, 0.1), dataset_id="small/hand-v0", episodes=12, seed=3, progress=False,
        ranker=agent.ranker, belief=agent.belief, env_kwargs=WORLD, reference_scores=(1.0, 9.0),
    )  # fmt: skip
    by_level = made("medium", noise=0.1)
    for name in ("content_hash", "exploration_noise", "policy_sha256", "ranker_sha256", "belief_sha256"):
        assert by_level.storage.metadata[name] == by_hand.storage.metadata[name]


def test_a_mixture_takes_turns_and_says_so() -> None:
    parts = {level: made(level) for level in ("random", "medium", "expert")}
    mixed = made("mixed", weights=(1, 2, 1))
    levels = mixed.storage.metadata["levels"]
    assert {name: one["share"] for name, one in levels.items()} == {
        "random": 0.25,
        "medium": 0.5,
        "expert": 0.25,
    }
    assert levels["random"]["exploration_noise"] == 0
    assert levels["medium"]["exploration_noise"] == levels["expert"]["exploration_noise"] == NOISE
    assert levels["expert"]["policy_sha256"] == parts["expert"].storage.metadata["policy_sha256"]
    played = []
    for index, episode in enumerate(mixed.iterate_episodes()):
        (level,) = set(episode.infos["level"].tolist())
        played.append(level)
        same = parts[list(levels)[level]][index]
        np.testing.assert_array_equal(episode.actions, same.actions)
        np.testing.assert_array_equal(episode.rewards, same.rewards)
    assert played == [0, 1, 1, 2] * 3
    experts = mixed.filter_episodes(lambda episode: episode.infos["level"][0] == 2)
    assert experts.total_episodes == 3
    assert (
        merge([parts["medium"], parts["expert"]], dataset_id="small/two-v0", progress=False).total_episodes
        == 24
    )


@pytest.mark.slow
def test_neither_num_envs_nor_workers_change_the_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random latents and actors with noise are played in a mixture."""
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 7)
    hashes = {
        made("mixed", dataset_id=f"small/n{num_envs}w{workers}-v0", num_envs=num_envs, workers=workers, episodes=16)
        .storage.metadata["content_hash"]
        for num_envs, workers in ((1, 1), (5, 1), (256, 1), (5, 2))
    }  # fmt: skip
    assert len(hashes) == 1


def test_interrupted_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 4)
    whole = made("mixed", dataset_id="small/whole-v0").storage.metadata["content_hash"]
    act, calls = NoisyActor.act, []

    def interrupted(self: NoisyActor, state: Any, observations: np.ndarray) -> Any:
        calls.append(1)
        if len(calls) > 50:
            raise KeyboardInterrupt
        return act(self, state, observations)

    with monkeypatch.context() as patch:
        patch.setattr(NoisyActor, "act", interrupted)
        with pytest.raises(KeyboardInterrupt):
            made("mixed")
    with pytest.raises(ValueError, match=r"begun with other arguments.*levels was"):
        made("mixed", noise=0.1)
    assert made("mixed").storage.metadata["content_hash"] == whole


def test_a_latent_environment_has_levels_too() -> None:
    dataset = made("expert", env_id="GemsSlateLatent-diffuse_topdown-v0", dataset_id="small/latent-v0")
    assert dataset.spec.env_spec.id == "GemsSlateLatent-diffuse_topdown-v0"
    assert dataset.storage.metadata["content_hash"] == made("expert").storage.metadata["content_hash"]
    assert made("random", env_id="GemsSlate-diffuse_topdown-v1").id == f"gems-slate/{PRESET}/random-v1"


@pytest.mark.parametrize(
    ("level", "changes", "message"),
    [
        ("experts", {}, "unknown level 'experts': did you mean 'expert'"),
        ("random", {"noise": 0.1}, "noise=0.1 does not go with the level 'random'"),
        ("medium", {"noise": -0.1}, "noise must be a finite number ≥ 0 or None, got -0.1"),
        ("mixed", {"weights": (1, 0, 1)}, r"weights must be a sequence of 3 integers ≥ 1, got \(1, 0, 1\)"),
        ("mixed", {"weights": (1, 1)}, "weights must be a sequence of 3 integers ≥ 1"),
        ("expert", {"weights": (1, 1, 2)}, "goes with the level 'mixed' only, not with 'expert'"),
        ("mixed", {"env_id": "GemsSlate-focused_mix-v0"},
         "for the world 'focused_mix'; worlds that have one: diffuse_topdown. Make it with: gems-gym dev levels --env"),
        ("medium", {"env_kwargs": {}}, "catalogue"),
    ],
)  # fmt: skip
def test_mistakes_are_told(level: str, changes: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        made(level, **changes)
    assert not [path for path in (tmp_path / "datasets").rglob("*") if path.is_file()]


def test_metadata_of_ones_own(folder: Path) -> None:
    options: dict[str, Any] = {"episodes": 1, "seed": 0, "env_kwargs": WORLD, "reference_scores": (1.0, 9.0)}
    dataset = collect(ENV_ID, "random", dataset_id="small/own-v0", metadata={"purpose": "a test"}, **options)
    assert dataset.storage.metadata["purpose"] == "a test"
    with pytest.raises(ValueError, match="metadata has policy, which every dataset records itself"):
        collect(ENV_ID, "random", dataset_id="small/x-v0", metadata={"policy": "mine"}, **options)


def test_a_policy_acts_through_what_it_was_trained_with(folder: Path) -> None:
    name = f"expert-{PRESET}"
    agent = find_trained_agent(name)
    assert agent is not None
    assert agent.ranker.sha256 == small_ranker().sha256
    assert agent.belief.sha256 == small_belief().sha256
    assert find_trained_agent(str(folder / f"{name}.safetensors")).policy.sha256 == agent.policy.sha256
    assert find_trained_agent("random") is None
    with pytest.raises(
        ValueError, match="unknown policy 'expert-difuse_topdown': did you mean 'expert-diffuse_topdown'"
    ):
        find_trained_agent("expert-difuse_topdown")
    small_actor(0).save(folder / "alone.safetensors")
    with pytest.raises(ValueError, match="names no ranker and belief to act through"):
        open_trained_agent(folder / "alone.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_trained_agent(folder / "none.safetensors")
    entry = shipped.manifest()[f"gems-{PRESET}"]
    sha256 = small_ranker(1).save(folder / entry.file)
    shipped.record(folder, f"gems-{PRESET}", shipped.Entry(**{**vars(entry), "sha256": sha256}))
    with pytest.raises(
        ValueError, match=r"trained with another ranker .* than 'gems-diffuse_topdown' is now .*--out"
    ):
        made("expert")
    assert made("random").storage.metadata["ranker_sha256"] == sha256
