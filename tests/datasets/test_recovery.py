"""``recover_environment`` of Minari and ours: the dataset's actions get its beliefs and rewards, wherever it lies."""

import json
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest

from gems_gym.artifacts import shipped
from gems_gym.datasets import (
    collect,
    collect_level,
    dataset_belief,
    dataset_ranker,
    merge,
    open_dataset,
    recover_latent_environment,
    relabel,
    subset,
)
from gems_gym.datasets.world import environment_spec
from gems_gym.envs.latent import LatentSlateEnv
from gems_gym.rankers import load_ranker
from gems_gym.registration import latent_environment_id
from tests.datasets.shipped_levels import PRESET, ship_levels
from tests.datasets.small_world import (
    ENV_ID,
    WORLD,
    NoisyLatents,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

LATENT_ID = latent_environment_id(PRESET)
OPTIONS: dict[str, Any] = {"episodes": 3, "seed": 3, "reference_scores": (1.0, 9.0), "progress": False}
COPIES = {part: f"dataset:small/latent-v0/{part}" for part in ("ranker", "belief")}


def check_plays_again(dataset_id: str, least: int = 1) -> LatentSlateEnv:
    """Steps all recovered environments with the dataset's actions; returns Minari's."""
    dataset = minari.load_dataset(dataset_id)
    theirs = dataset.recover_environment()
    seeds = [one["seed"] for one in dataset.storage.get_episode_metadata(range(dataset.total_episodes))]
    assert len(seeds) >= least
    for env in (
        theirs,
        open_dataset(dataset_id).recover_environment(),
        recover_latent_environment(dataset_id),
    ):
        assert env.observation_space == dataset.observation_space
        assert env.action_space == dataset.action_space
        for seed, episode in zip(seeds, dataset.iterate_episodes(), strict=True):
            belief, info = env.reset(seed=seed)
            np.testing.assert_array_equal(belief, episode.observations[0])
            np.testing.assert_array_equal(info["slate"], episode.infos["slate"][0])
            for step, action in enumerate(episode.actions):
                belief, reward, _, truncated, info = env.step(action)
                np.testing.assert_array_equal(belief, episode.observations[step + 1])
                np.testing.assert_array_equal(info["slate"], episode.infos["slate"][step + 1])
                assert (reward, truncated) == (episode.rewards[step], episode.truncations[step])
    made = theirs.unwrapped
    assert isinstance(made, LatentSlateEnv)
    assert made.ranker.sha256 == dataset_ranker(dataset).sha256
    assert made.belief.sha256 == dataset_belief(dataset).sha256
    return made


@pytest.mark.parametrize("env_id", [ENV_ID, LATENT_ID])
@pytest.mark.parametrize("level", ["random", "medium", "expert", "mixed"])
def test_every_level_and_both_ways_of_asking(
    level: str, env_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "DIRECTORY", tmp_path / "shipped")
    ship_levels(tmp_path / "shipped")
    dataset = collect_level(env_id, level, env_kwargs=WORLD, **OPTIONS)
    spec = dataset.env_spec
    assert spec.id == LATENT_ID
    assert spec.kwargs == {
        "preset": PRESET, **WORLD, "ranker": f"gems-{PRESET}", "belief": f"gru-{PRESET}",
    }  # fmt: skip
    check_plays_again(f"gems-slate/{PRESET}/{level}-v0", least=3)


def test_parts_of_ones_own_are_recovered_from_the_dataset(
    datasets_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.safetensors"
    small_ranker().save(file)
    dataset = collect_latents(ranker=file)
    file.unlink()
    assert dataset.env_spec.kwargs == {"preset": PRESET, **WORLD, **COPIES}
    check_plays_again("small/latent-v0", least=10)
    datasets_root.rename(tmp_path / "moved")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "moved"))
    check_plays_again("small/latent-v0", least=10)
    assert load_ranker(COPIES["ranker"]).sha256 == small_ranker().sha256
    with pytest.raises(ValueError, match="is a belief/gru; a ranker was expected"):
        load_ranker(COPIES["belief"])
    with pytest.raises(
        ValueError, match="unknown local dataset 'small/latents-v0': did you mean 'small/latent-v0'"
    ):
        load_ranker("dataset:small/latents-v0/ranker")
    small_ranker(1).save(tmp_path / "moved/small/latent-v0/data/artifacts/ranker.safetensors")
    with pytest.raises(
        ValueError, match="is not the ranker that dataset 'small/latent-v0' was recorded with"
    ):
        minari.load_dataset("small/latent-v0").recover_environment()


def test_files_given_to_a_latent_environment_are_recovered_too(tmp_path: Path) -> None:
    files = {"ranker": tmp_path / "ranker.safetensors", "belief": tmp_path / "belief.safetensors"}
    small_ranker().save(files["ranker"])
    small_belief().save(files["belief"])
    parts = {part: str(file) for part, file in files.items()}
    dataset = collect(
        LATENT_ID, NoisyLatents(), dataset_id="small/latent-v0", env_kwargs=WORLD | parts, **OPTIONS
    )
    assert dataset.env_spec.kwargs == {"preset": PRESET, **WORLD, **COPIES}
    for file in files.values():
        file.unlink()
    check_plays_again("small/latent-v0", least=3)


@pytest.mark.parametrize("env_id", ["GemsSlate-diffuse_topdown-v1", "GemsSlate-small-v0", "Small-v0"])
def test_worlds_that_have_no_latent_id(env_id: str) -> None:
    parts = {"ranker": small_ranker(), "belief": small_belief()}
    kwargs = WORLD
    if env_id not in gymnasium.registry:
        gymnasium.register(
            env_id,
            entry_point="gems_gym.envs.slate:SlateEnv",
            vector_entry_point="gems_gym.envs.slate_vector:SlateVectorEnv",
            kwargs={"preset": PRESET, **WORLD},
        )
        kwargs = {}
    try:
        dataset = collect(
            env_id, NoisyLatents(), dataset_id="small/own-v0", env_kwargs=kwargs, **parts, **OPTIONS
        )
        assert dataset.env_spec.id == env_id.replace("GemsSlate-", "GemsSlateLatent-")
        made = check_plays_again("small/own-v0", least=3)
        assert made.config.dynamics_version == (1 if env_id.endswith("v1") else 0)
    finally:
        if kwargs == {}:
            del gymnasium.registry[env_id]


def test_datasets_of_datasets_name_their_own_copies() -> None:
    collect_latents()
    collect_latents("small/more-v0", seed=4)
    subset("small/latent-v0", dataset_id="small/part-v0", episodes=4, progress=False)
    merge(["small/part-v0", "small/more-v0"], dataset_id="small/both-v0", progress=False)
    for name in ("part", "both"):
        spec = open_dataset(f"small/{name}-v0").env_spec
        assert spec.kwargs["ranker"] == f"dataset:small/{name}-v0/ranker"
        check_plays_again(f"small/{name}-v0", least=4)
    other = relabel("small/latent-v0", small_ranker(1), dataset_id="small/other-v0", progress=False)
    assert other.recover_environment().unwrapped.ranker.sha256 == small_ranker(1).sha256
    collect_slates()
    made = relabel(
        "small/slate-v0", small_ranker(), belief=small_belief(), dataset_id="small/latents-v0", progress=False
    )
    assert made.recover_environment().action_space == made.action_space


def test_slates_stay_slates() -> None:
    dataset = collect_slates()
    assert dataset.env_spec.id == ENV_ID
    env = dataset.recover_environment()
    episode = dataset[0]
    env.reset(seed=next(iter(dataset.storage.get_episode_metadata([0])))["seed"])
    assert [env.step(action)[1] for action in episode.actions] == episode.rewards.tolist()


def test_datasets_of_before_merge_with_those_of_now(datasets_root: Path) -> None:
    """They record the slate environment inside."""
    collect_latents()
    collect_latents("small/more-v0", seed=4)
    file = datasets_root / "small/more-v0/data/metadata.json"
    metadata = json.loads(file.read_text())
    spec = environment_spec(ENV_ID, WORLD)
    file.write_text(json.dumps(metadata | {"env_spec": spec.to_json()}))
    assert (
        merge(["small/more-v0", "small/latent-v0"], dataset_id="small/both-v0", progress=False).total_episodes
        == 20
    )
    check_plays_again("small/both-v0")
    assert (
        recover_latent_environment("small/more-v0").action_space == open_dataset("small/more-v0").action_space
    )


def test_d3rlpy_evaluates_in_it() -> None:
    d3rlpy = pytest.importorskip("d3rlpy")
    from gems_gym_agents.offline import load_replay_buffer

    collect_latents()
    env = minari.load_dataset("small/latent-v0").recover_environment()
    algorithm = d3rlpy.algos.BCConfig(batch_size=8).create(device="cpu")
    score = d3rlpy.metrics.EnvironmentEvaluator(env, n_trials=2)
    found = algorithm.fit(
        load_replay_buffer("small/latent-v0"), n_steps=2, n_steps_per_epoch=2, evaluators={"clicks": score},
        show_progress=False, logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )  # fmt: skip
    assert 0 <= found[0][1]["clicks"] <= 5 * 9
