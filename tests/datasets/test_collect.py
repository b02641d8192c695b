"""gems_gym.datasets.collect: aligned, whole or not there, the same numbers whatever the number of environments."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest

from gems_gym.common.networks import FeedForward
from gems_gym.datasets import (
    DatasetWriter,
    artifact_file,
    collect,
    compute_content_hash,
    dataset_belief,
    dataset_ranker,
    recover_latent_environment,
    subset,
)
from gems_gym.datasets.recording import _keep
from gems_gym.policies.actor import Actor, NoisyActor
from gems_gym.rankers import GemsRanker, load_ranker
from gems_gym.user_splits import user_seeds
from gems_gym.wrappers import BeliefObservation, LatentAction
from tests.datasets.small_world import (
    ENV_ID,
    LENGTH,
    SLATE_SIZE,
    WORLD,
    NoisyLatents,
    catalog_hash,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)


@pytest.fixture(autouse=True)
def datasets_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "datasets"
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return root


def files_under(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()] if root.exists() else []


def test_latent_dataset_is_aligned() -> None:
    dataset = collect_latents()
    assert (dataset.total_episodes, dataset.total_steps) == (10, 10 * LENGTH)
    assert dataset.observation_space == gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    assert dataset.action_space == gymnasium.spaces.Box(-1, 1, (6,), np.float32)
    ranker, belief = dataset_ranker(dataset), dataset_belief(dataset)
    for episode in dataset.iterate_episodes():
        infos = episode.infos
        assert episode.observations.dtype == episode.actions.dtype == np.float32
        assert episode.observations.shape == (LENGTH + 1, 4)
        assert episode.actions.shape == (LENGTH, 6)
        np.testing.assert_array_equal(infos["slate"][1:], ranker.rank(episode.actions))
        np.testing.assert_array_equal(infos["clicks"][1:].sum(axis=1), episode.rewards)
        state = belief.initial(1)
        for t in range(LENGTH + 1):
            state = belief.update(state, infos["slate"][None, t], infos["clicks"][None, t])
            np.testing.assert_array_equal(episode.observations[t], state[0])
        assert not episode.terminations.any()
        np.testing.assert_array_equal(episode.truncations, [False] * (LENGTH - 1) + [True])


def test_slate_dataset_is_aligned() -> None:
    for episode in collect_slates().iterate_episodes():
        np.testing.assert_array_equal(episode.infos["slate"][1:], episode.actions)
        np.testing.assert_array_equal(episode.observations["slate"], episode.infos["slate"])
        np.testing.assert_array_equal(episode.observations["clicks"], episode.infos["clicks"])
        np.testing.assert_array_equal(episode.infos["clicks"][1:].sum(axis=1), episode.rewards)
        assert episode.infos["slate"].dtype == np.int16
        assert episode.infos["clicks"].dtype == np.int8
        assert episode.infos["bored"].dtype == np.bool_
        assert episode.infos["bored"].shape == (LENGTH + 1, 10)
        assert episode.infos["user_state"].shape == (LENGTH + 1, 20)


def test_sessions_are_what_a_single_environment_gives() -> None:
    dataset = collect_latents()
    env = gymnasium.make(ENV_ID, **WORLD)
    env = LatentAction(BeliefObservation(env, small_belief()), small_ranker())
    for index, seed in enumerate(user_seeds("logging", 3, 10)):
        episode, policy = dataset[index], NoisyLatents()
        observation, info = env.reset(seed=seed)
        state = policy.open([seed])
        for t in range(LENGTH):
            np.testing.assert_array_equal(episode.observations[t], observation)
            (action,), state = policy.act(state, observation[None])
            np.testing.assert_array_equal(episode.actions[t], action)
            observation, reward, _, _, info = env.step(action)
            assert reward == episode.rewards[t]
            np.testing.assert_array_equal(info["user_state"], episode.infos["user_state"][t + 1])
        np.testing.assert_array_equal(episode.observations[LENGTH], observation)


@pytest.mark.parametrize("recorded", [collect_latents, collect_slates])
def test_content_hash_does_not_depend_on_num_envs(recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 4)
    hashes = set()
    for num_envs in (1, 3, 8):
        dataset = recorded(f"small/n{num_envs}-v0", num_envs=num_envs)
        hashes.add(dataset.storage.metadata["content_hash"])
        assert compute_content_hash(dataset) == dataset.storage.metadata["content_hash"]
        assert [episode["seed"] for episode in dataset.storage.get_episode_metadata(range(10))] == user_seeds(
            "logging", 3, 10
        )
    assert len(hashes) == 1
    assert recorded("small/other-v0", seed=4).storage.metadata["content_hash"] not in hashes


def test_metadata() -> None:
    metadata = collect_latents(policy_name="noisy .3").storage.metadata
    spec = json.loads(metadata["env_spec"])
    assert spec["id"] == "GemsSlateLatent-diffuse_topdown-v0"
    copies = {part: f"dataset:small/latent-v0/{part}" for part in ("ranker", "belief")}
    assert spec["kwargs"] == {"preset": "diffuse_topdown", **WORLD, **copies}
    assert metadata["policy"] == metadata["algorithm_name"] == "noisy .3"
    assert (metadata["user_split"], metadata["user_seed"]) == ("logging", 3)
    assert (metadata["ref_min_score"], metadata["ref_max_score"]) == (1.0, 9.0)
    assert metadata["catalog_hash"] == catalog_hash()
    assert len(metadata["ranker_sha256"]) == len(metadata["belief_sha256"]) == 64
    assert metadata["minari_version"] == minari.__version__
    assert metadata["exploration_noise"] == 0.0 and metadata["policy_sha256"] is None
    dataset = minari.load_dataset("small/latent-v0")
    np.testing.assert_allclose(
        minari.get_normalized_score(dataset, np.array([1.0, 5.0, 9.0])), [0.0, 0.5, 1.0]
    )


def test_noise_is_recorded_and_what_was_executed_is_stored(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = {"0.weight": rng.normal(size=(6, 4)), "0.bias": np.zeros(6)}
    actor = Actor(FeedForward(weights, [["linear"], ["tanh"]]))
    sha256 = actor.save(tmp_path / "actor.safetensors")
    exact = collect_latents("small/exact-v0", policy=NoisyActor(actor, 0.0))
    noisy = collect_latents(policy=NoisyActor(actor, 0.25))
    assert noisy.storage.metadata["exploration_noise"] == 0.25
    assert noisy.storage.metadata["policy_sha256"] == exact.storage.metadata["policy_sha256"] == sha256
    ranker = dataset_ranker(noisy)
    off = []
    for one, other in zip(exact.iterate_episodes(), noisy.iterate_episodes(), strict=True):
        np.testing.assert_array_equal(one.actions, actor(one.observations[:-1]))
        np.testing.assert_array_equal(other.infos["slate"][1:], ranker.rank(other.actions))
        off.append(other.actions - actor(other.observations[:-1]))
    assert 0.1 < np.std(off) < 0.26  # clipped to the box


def test_reference_scores_are_measured() -> None:
    metadata = collect_slates(reference_scores=None, episodes=2).storage.metadata
    assert 0 < metadata["ref_min_score"] < metadata["ref_max_score"] <= LENGTH * SLATE_SIZE


def test_environments_are_recovered() -> None:
    dataset = collect_latents()
    raw = dataset.recover_environment()
    assert raw.unwrapped.config.num_items == 40
    env = recover_latent_environment("small/latent-v0")
    assert env.observation_space == dataset.observation_space
    assert env.action_space == dataset.action_space
    observation, _ = env.reset(seed=user_seeds("logging", 3, 1)[0])
    np.testing.assert_array_equal(observation, dataset[0].observations[0])


def test_minari_program_lists_shows_and_deletes(datasets_root: Path) -> None:
    collect_latents()
    program = [sys.executable, "-m", "minari.cli"]
    for arguments, expected in (
        (["list", "local"], "small/latent-v0"),
        (["show", "small/latent-v0"], "GemsSlateLatent-diffuse_topdown-v0"),
        (["delete", "small/latent-v0"], "deleted"),
    ):
        run = subprocess.run(program + arguments, input="y\n", capture_output=True, text=True, timeout=120)
        assert run.returncode == 0, run.stderr
        assert expected in run.stdout
    assert not list(datasets_root.rglob("*.safetensors"))


def test_ranker_and_belief_travel_with_the_dataset(tmp_path: Path) -> None:
    file = tmp_path / "mine.safetensors"
    sha256 = small_ranker().save(file)
    loaded = collect_latents("small/loaded-v0", ranker=load_ranker(file))
    assert loaded.storage.metadata["ranker_sha256"] == sha256
    dataset = collect_latents(ranker=file)
    file.unlink()
    assert dataset.storage.metadata["ranker_sha256"] == sha256 == dataset_ranker(dataset).sha256
    GemsRanker.random(num_items=40, slate_size=5, catalog_hash=catalog_hash(), seed=1, latent_size=6).save(
        artifact_file(dataset, "ranker")
    )
    with pytest.raises(
        ValueError, match="is not the ranker that dataset 'small/latent-v0' was recorded with"
    ):
        dataset_ranker(dataset)
    artifact_file(dataset, "belief").unlink()
    with pytest.raises(ValueError, match="has lost its belief"):
        dataset_belief("small/latent-v0")
    with pytest.raises(ValueError, match="recorded without a ranker"):
        dataset_ranker(collect_slates())


def test_nothing_is_listed_while_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatasetWriter, "chunk_episodes", 4)

    class Looking(NoisyLatents):
        def act(self, state: Any, observations: np.ndarray) -> tuple[np.ndarray, Any]:
            assert minari.list_local_datasets() == {}
            return super().act(state, observations)

    collect_latents(policy=Looking())
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]


def test_the_folder_of_datasets_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", "here")
    collect_slates()
    assert (tmp_path / "here").exists()


def test_existing_id_is_refused_before_any_work(datasets_root: Path) -> None:
    collect_latents()
    before = files_under(datasets_root)

    def policy(env: object) -> NoisyLatents:
        raise AssertionError("work was done")

    with pytest.raises(ValueError, match=r"already in use.*--overwrite.*minari delete small/latent-v0"):
        collect_latents(policy=policy)
    with pytest.raises(ValueError, match="already in use"):
        collect_slates("small/latent-v0", policy=policy)
    with pytest.raises(ValueError, match="lies inside the dataset 'small/latent-v0'"):
        collect_latents("small/latent-v0/more-v0", policy=policy)
    assert files_under(datasets_root) == before


@pytest.mark.parametrize(
    "bad", ["noversion", "a.b-v0", "../up-v0", "x//y-v0", "data/x-v0", "-v", "", "a/b-v0"]
)
def test_bad_dataset_id(bad) -> None:
    with pytest.raises(ValueError, match="is not a Minari dataset id"):
        collect_slates(bad)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"episodes": 0}, "episodes must be an integer from 1 to 1048576, got 0"),
        ({"episodes": 2.5}, "episodes must be an integer from 1 to 1048576, got 2.5"),
        ({"num_envs": 0}, "num_envs must be an integer ≥ 1, got 0"),
        ({"workers": 0}, "workers must be an integer from 1 to 1024, got 0"),
        ({"ranker": None}, "belief is given without ranker"),
        ({"policy": "randon"}, "unknown policy 'randon': did you mean 'random'"),
        ({"policy": "random"}, "'random' shows slates, but a latent dataset"),
        ({"split": "tests"}, "unknown split 'tests': did you mean 'test'"),
        ({"env_kwargs": WORLD | {"item_embeddings": np.ones((40, 20))}}, "path of an .npy file"),
        ({"env_kwargs": WORLD | {"catalog_seed": 5}}, catalog_hash()),
        (
            {"metadata": {"content_hash": "0", "total_steps": 1}},
            "metadata has content_hash, total_steps, which every",
        ),
        (
            {"metadata": {"author": 3}},
            r"metadata\['author'\] must be a text or a sequence of texts or None, got 3",
        ),
        ({"metadata": {"note": object()}}, "metadata must hold JSON values: Object of type object"),
        ({"metadata": {"note": float("nan")}}, "metadata must hold JSON values: Out of range float"),
        (
            {"reference_scores": (9.0, 9.0)},
            r"reference_scores must be two numbers, the lower first, got \(9.0, 9.0\)",
        ),
    ],
)
def test_bad_arguments(changes: dict, message: str, datasets_root: Path) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        collect_latents(**changes)
    assert files_under(datasets_root) == []


def test_bad_policies(datasets_root: Path) -> None:
    with pytest.raises(TypeError, match="policy must have observes"):
        collect_latents(policy=lambda env: object())

    class OutOfBox(NoisyLatents):
        def act(self, state: Any, observations: np.ndarray) -> tuple[np.ndarray, Any]:
            actions, state = super().act(state, observations)
            return actions * np.float32(np.nan), state

    with pytest.raises(ValueError, match=r"NaN|nan|finite"):
        collect_latents(policy=OutOfBox())
    assert files_under(datasets_root) == []


def test_policy_may_be_made_for_the_environment() -> None:
    from gems_gym.policies.eps_greedy_oracle import EpsGreedyOracle

    greedy = collect_slates("small/greedy-v0", policy=lambda env: EpsGreedyOracle(env, epsilon=0.0))
    by_class = collect_slates("small/class-v0", policy=EpsGreedyOracle)
    assert greedy.storage.metadata["content_hash"] != by_class.storage.metadata["content_hash"]
    assert by_class.storage.metadata["policy"] == "EpsGreedyOracle"


def test_importing_datasets_loads_no_minari() -> None:
    heavy = "{'minari', 'torch', 'd3rlpy', 'h5py'}"
    code = f"import sys, gems_gym.datasets; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stderr


def test_progress_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    collect_latents(progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "collecting small/latent-v0" in captured.err


def test_missing_minari_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "minari", None)
    monkeypatch.setitem(sys.modules, "minari.storage", None)
    with pytest.raises(ImportError, match=r"pip install 'gems-gym\[data\]'"):
        collect(ENV_ID, "random", dataset_id="small/x-v0", episodes=1, seed=0)


def test_a_tuple_among_the_keywords_resumes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = WORLD | {"propensities": (0.9, 0.8, 0.5, 0.4, 0.3)}

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("gems_gym.datasets.writer.DatasetWriter.finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collect_slates(env_kwargs=world)
    assert collect_slates(env_kwargs=world).total_episodes == 10


def test_what_minari_shows_is_checked_before_any_work(datasets_root: Path) -> None:
    for metadata, message in (
        ({"author_email": 3}, r"metadata\['author_email'\] must be"),
        ({"code_permalink": 5}, r"metadata\['code_permalink'\] must be"),
    ):
        with pytest.raises(TypeError, match=message):
            collect_slates(metadata=metadata)
    assert not datasets_root.exists() or not list(datasets_root.rglob("*.hdf5"))
    made = collect_slates(metadata={"author_email": ["a@b.c", "d@e.f"]})
    assert made.storage.metadata["author_email"] == {"a@b.c", "d@e.f"}
    part = subset(made, dataset_id="small/part-v0", episodes=2, progress=False)
    assert part.storage.metadata["author_email"] == {"a@b.c", "d@e.f"}


def test_a_dtype_that_changes_is_refused() -> None:
    playing, arrays = np.ones(2, np.bool_), {}
    _keep(arrays, {"infos/one": (np.zeros(2, np.int64), None)}, playing, 0, 3)
    with pytest.raises(ValueError, match="infos/one was int64 at the session's start and is float64 now"):
        _keep(arrays, {"infos/one": (np.full(2, 0.7), None)}, playing, 1, 3)


def test_infos_of_sessions_are_recorded_beside_propensities() -> None:
    class Armed:
        observes = actions = "slates"

        def open(self, seeds: Sequence[int]) -> None:
            pass

        def act(self, state: None, observations: Any) -> tuple[np.ndarray, None]:
            return np.tile(np.arange(5), (len(observations["slate"]), 1)), None

        def session_infos(self, seeds: Sequence[int]) -> dict[str, np.ndarray]:
            return {"arm": np.arange(len(seeds))}

    episode = collect_slates(policy=Armed(), propensities=True)[1]
    assert episode.infos["arm"].tolist() == [1] * 10
    assert (episode.infos["propensity"][1:] == 1).all()
