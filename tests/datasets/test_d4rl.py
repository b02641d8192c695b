"""Datasets out to D4RL's form and in again: nothing changes but what is said to be lost; bad files are told apart."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import minari
import numpy as np
import pytest

from gems_gym.datasets import (
    compute_content_hash,
    dataset_belief,
    dataset_ranker,
    export_d4rl,
    import_d4rl,
    recover_latent_environment,
)
from gems_gym.datasets.d4rl_file import ARRAYS, D4rlFile
from gems_gym.datasets.sessions import NO_SEED
from tests.datasets.small_world import (
    ENV_ID,
    LENGTH,
    WORLD,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

QUIET: dict[str, Any] = {"progress": False}
SMALL_ENV = "GemsSlate-d4rl_small-v0"
ROWS = 10 * LENGTH


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems_gym.datasets.reader.CHUNK_SESSIONS", 4)
    monkeypatch.setattr("gems_gym.datasets.d4rl.CHUNK_SESSIONS", 4)


@pytest.fixture
def small_env():
    """The small world under an id of its own, for files that name no environment."""
    gymnasium.register(
        SMALL_ENV,
        entry_point="gems_gym.envs.slate:SlateEnv",
        vector_entry_point="gems_gym.envs.slate_vector:SlateVectorEnv",
        kwargs={"preset": "diffuse_topdown", **WORLD},
    )
    yield SMALL_ENV
    del gymnasium.registry[SMALL_ENV]


def exported(path: Path) -> D4rlFile:
    return export_d4rl(collect_latents(), path, **QUIET)


def foreign(file: D4rlFile) -> D4rlFile:
    """The same numbers as another project would write them."""
    return replace(file, metadata={}, artefacts={})


def test_rows_are_those_of_the_episodes(tmp_path: Path) -> None:
    dataset = collect_latents()
    export_d4rl("small/latent-v0", tmp_path / "out.npz", **QUIET)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    assert set(arrays) == {*ARRAYS, "metadata", "ranker", "belief"}
    assert {name: arrays[name].dtype.name for name in ARRAYS} == {
        name: "bool" if name in ("terminals", "timeouts") else "float32" for name in ARRAYS
    }
    assert arrays["observations"].shape == arrays["next_observations"].shape == (ROWS, 4)
    assert arrays["actions"].shape == (ROWS, 6) and arrays["rewards"].shape == (ROWS,)
    assert not arrays["terminals"].any()
    for index, episode in enumerate(dataset.iterate_episodes()):
        rows = slice(index * LENGTH, (index + 1) * LENGTH)
        np.testing.assert_array_equal(arrays["observations"][rows], episode.observations[:-1])
        np.testing.assert_array_equal(arrays["next_observations"][rows], episode.observations[1:])
        np.testing.assert_array_equal(arrays["actions"][rows], episode.actions)
        np.testing.assert_array_equal(arrays["rewards"][rows], episode.rewards)
        np.testing.assert_array_equal(arrays["timeouts"][rows], episode.truncations)
    metadata = json.loads(str(arrays["metadata"]))
    assert metadata["content_hash"] == compute_content_hash(dataset)
    assert metadata["env_spec"]["id"] == ENV_ID
    assert metadata["env_spec"]["kwargs"]["num_items"] == 40
    assert metadata["ranker_sha256"] == dataset.storage.metadata["ranker_sha256"]


def test_round_trip(tmp_path: Path) -> None:
    source = collect_latents()
    first = export_d4rl(source, tmp_path / "out.npz", **QUIET)
    made = import_d4rl(tmp_path / "out.npz", dataset_id="small/back-v0", **QUIET)
    for old, new in zip(source.iterate_episodes(), made.iterate_episodes(), strict=True):
        for name in ("observations", "actions", "rewards", "terminations", "truncations"):
            values = getattr(new, name)
            np.testing.assert_array_equal(values, getattr(old, name))
            assert values.dtype == getattr(old, name).dtype
        assert new.infos == {}
    assert made.observation_space == source.observation_space
    copies = {part: f"dataset:small/back-v0/{part}" for part in ("ranker", "belief")}
    assert made.env_spec.id == source.env_spec.id
    assert made.env_spec.kwargs == source.env_spec.kwargs | copies
    old, new = source.storage.metadata, made.storage.metadata
    same = (
        "policy",
        "user_split",
        "user_seed",
        "catalog_hash",
        "ranker_sha256",
        "belief_sha256",
        "ref_max_score",
    )
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert new["derived_from"]["sources"][0]["content_hash"] == old["content_hash"]
    assert new["content_hash"] == compute_content_hash(made)
    assert dataset_ranker(made).sha256 == dataset_ranker(source).sha256
    assert dataset_belief(made).sha256 == dataset_belief(source).sha256
    seeds = [one["seed"] for one in made.storage.get_episode_metadata(range(10))]
    belief, _ = recover_latent_environment(made).reset(seed=seeds[2])
    np.testing.assert_array_equal(belief, made[2].observations[0])
    second = export_d4rl(made, tmp_path / "again.npz", **QUIET)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
    assert second.artefacts == first.artefacts


def test_a_foreign_file_with_ranker_and_belief(tmp_path: Path, small_env: str) -> None:
    foreign(exported(tmp_path / "own.npz")).save(tmp_path / "foreign.npz")
    parts = {"ranker": small_ranker(), "belief": small_belief()}
    made = import_d4rl(
        tmp_path / "foreign.npz", dataset_id="small/foreign-v0", env_id=small_env, **parts, **QUIET
    )
    assert dataset_ranker(made).sha256 == small_ranker().sha256
    metadata = made.storage.metadata
    assert metadata["policy"] == "unknown"
    assert 0 < metadata["ref_min_score"] < metadata["ref_max_score"]
    assert {one["seed"] for one in made.storage.get_episode_metadata(range(10))} == {NO_SEED}
    assert metadata["content_hash"] == compute_content_hash(made)
    np.testing.assert_array_equal(made[4].actions, minari.load_dataset("small/latent-v0")[4].actions)
    bare = import_d4rl(tmp_path / "foreign.npz", dataset_id="small/bare-v0", env_id=small_env, **QUIET)
    assert (bare.observation_space.shape, bare.action_space.shape) == ((4,), (6,))
    with pytest.raises(ValueError, match="recorded without a ranker"):
        dataset_ranker(bare)


def changed(name: str, where: Any, value: Any):
    def change(file: D4rlFile) -> D4rlFile:
        values = getattr(file, name).copy()
        values[where] = value
        return replace(file, **{name: values})

    return change


def made_over(name: str, function: Any):
    return lambda file: replace(file, **{name: function(getattr(file, name))})


def cut(rows: int):
    return lambda file: replace(file, **{name: getattr(file, name)[:rows] for name in ARRAYS})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed("observations", (12, 3), np.nan), r"observations\[12, 3\] is nan, must lie in \[-1, 1\]"),
        (changed("next_observations", (5, 0), np.inf), r"next_observations\[5, 0\] is inf"),
        (changed("rewards", 7, np.nan), r"rewards\[7\] is nan, must be finite"),
        (changed("actions", (20, 5), 1.5), r"actions\[20, 5\] is 1.5, must lie in \[-1, 1\]"),
        (changed("next_observations", (3, 1), 0.125), r"next_observations\[3, 1\] is 0.125, but observations\[4, 1\]"),
        (changed("timeouts", 4, True), r"timeouts\[4\] is True, must be False: .* rows 8, 17"),
        (changed("timeouts", LENGTH - 1, False), r"timeouts\[8\] is False, must be True"),
        (changed("terminals", 8, True), r"terminals\[8\] is True: sessions of gems-gym never terminate"),
        (cut(ROWS - 2), r"timeouts\[87\], the last row, is False: the last session has 7 of 9 steps"),
        (cut(0), r"rewards holds no transitions"),
        (made_over("actions", lambda a: a[:, :4]), r"actions has shape \(90, 4\), must be \(90, 6\)"),
        (made_over("actions", lambda a: a[:-1]), r"actions has shape \(89, 6\), must be \(90, 6\)"),
        (made_over("observations", lambda a: a[:, :3]), r"observations has shape \(90, 3\), must be \(90, 4\)"),
        (made_over("rewards", lambda a: a[:, None]), r"rewards has shape \(90, 1\), must be \(90,\)"),
        (made_over("rewards", lambda a: a.astype(np.float64)), r"rewards has dtype float64, must be float32"),
        (made_over("timeouts", lambda a: a.astype(np.float32)), r"timeouts has dtype float32, must be bool"),
        (made_over("metadata", lambda m: m | {"session_seeds": [1]}), r"session_seeds .* must be 10 integers"),
        (made_over("metadata", lambda m: m | {"session_seeds": [2**63] * 10}), r"session_seeds .* must be 10 integers"),
        (made_over("metadata", lambda m: m | {"catalog_hash": "f"}), r"recorded with the catalogue f, but"),
        (made_over("metadata", lambda m: m | {"ranker_sha256": "f"}), r"ranker has sha256 .* one of sha256 f"),
        (made_over("metadata", lambda m: m | {"env_spec": 3}), r"env_spec in its metadata must be"),
        (made_over("artefacts", lambda a: {"ranker": a["ranker"]}), r"ranker is known without belief"),
        (made_over("artefacts", lambda a: a | {"belief": b"no"}), r"from_file_belief.safetensors"),
    ],
)  # fmt: skip
def test_wrong_files(change, message: str, tmp_path: Path) -> None:
    change(exported(tmp_path / "right.npz")).save(tmp_path / "wrong.npz")
    with pytest.raises(ValueError, match=message):
        import_d4rl(tmp_path / "wrong.npz", dataset_id="small/wrong-v0", **QUIET)
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]


def test_a_file_that_lacks_an_array_or_is_none(tmp_path: Path) -> None:
    file = exported(tmp_path / "right.npz")
    np.savez(tmp_path / "few.npz", observations=file.observations, rewards=file.rewards)
    np.save(tmp_path / "array.npy", file.rewards)
    (tmp_path / "text.npz").write_text("no zip")
    np.savez_compressed(tmp_path / "flipped.npz", **{name: getattr(file, name) for name in ARRAYS})
    flipped = bytearray((tmp_path / "flipped.npz").read_bytes())
    flipped[500:520] = bytes(20)
    (tmp_path / "flipped.npz").write_bytes(flipped)
    (tmp_path / "half.npz").write_bytes((tmp_path / "right.npz").read_bytes()[:5000])
    objects = {name: getattr(file, name) for name in ARRAYS} | {"actions": np.array([{}, {}])}
    np.savez(tmp_path / "objects.npz", **objects)
    for name, message in (
        ("few.npz", "it lacks actions, next_observations, terminals; it has observations, rewards"),
        ("array.npy", "no .npz file of arrays"),
        ("text.npz", "no .npz file of arrays"),
        ("half.npz", "no .npz file of arrays"),
        ("flipped.npz", "no .npz file of arrays"),
        ("objects.npz", "holds object; numbers or text were expected"),
    ):
        with pytest.raises(ValueError, match=message):
            import_d4rl(tmp_path / name, dataset_id="small/wrong-v0", **QUIET)
    with pytest.raises(FileNotFoundError):
        import_d4rl(tmp_path / "none.npz", dataset_id="small/wrong-v0", **QUIET)


def test_what_the_arguments_must_be(tmp_path: Path, small_env: str) -> None:
    own, other = tmp_path / "own.npz", tmp_path / "foreign.npz"
    foreign(exported(own)).save(other)
    new: dict[str, Any] = {"dataset_id": "small/new-v0", **QUIET}
    with pytest.raises(ValueError, match=r"foreign.npz names no environment: give env"):
        import_d4rl(other, **new)
    with pytest.raises(ValueError, match=f"env is '{small_env}', but .* was recorded in '{ENV_ID}'"):
        import_d4rl(own, env_id=small_env, **new)
    with pytest.raises(ValueError, match=r"ranker has sha256 .* was recorded with one of sha256"):
        import_d4rl(own, ranker=small_ranker(seed=4), **new)
    with pytest.raises(ValueError, match=r"belief is known without ranker"):
        import_d4rl(other, env_id=small_env, belief=small_belief(), **new)
    with pytest.raises(ValueError, match=r"GemsSlateLatent-diffuse_mix-v0 holds a ranker and a belief"):
        import_d4rl(other, env_id="GemsSlateLatent-diffuse_mix-v0", ranker=small_ranker(), **new)
    with pytest.raises(ValueError, match=r"must be \(90, 20\)"):
        import_d4rl(other, env_id="GemsSlateLatent-diffuse_mix-v0", **new)
    with pytest.raises(ValueError, match=r"already in use"):
        import_d4rl(own, dataset_id="small/latent-v0", **QUIET)
    with pytest.raises(ValueError, match=r"holds slates, .* gems-gym dataset relabel small/slate-v0"):
        export_d4rl(collect_slates(), tmp_path / "slates.npz", **QUIET)
    assert not (tmp_path / "slates.npz").exists()
    assert list(minari.list_local_datasets()) == ["small/latent-v0", "small/slate-v0"]


def test_a_file_names_no_code(tmp_path: Path) -> None:
    """What a file says about its environment chooses among those registered here."""
    file = exported(tmp_path / "own.npz")
    touched = tmp_path / "touched"
    spec = file.metadata["env_spec"]
    harmful = spec | {"entry_point": "pathlib:Path.touch", "vector_entry_point": "pathlib:Path.touch"}
    replace(file, metadata=file.metadata | {"env_spec": harmful}).save(tmp_path / "harmful.npz")
    with pytest.raises(ValueError, match=r"harmful.npz: env_spec .* names code that is not gems-gym's"):
        import_d4rl(tmp_path / "harmful.npz", dataset_id="small/own-v0", **QUIET)
    told = {"eval_env_spec": json.dumps(harmful), "author": 3, "requirements": ["x"], "level": "medium"}
    replace(file, metadata=file.metadata | told).save(tmp_path / "telling.npz")
    metadata = import_d4rl(tmp_path / "telling.npz", dataset_id="small/told-v0", **QUIET).storage.metadata
    assert metadata["level"] == "medium"
    assert not {"eval_env_spec", "requirements"} & metadata.keys()
    for name in ("pathlib:Path-v0", "GemsSlate-nowhere-v0"):
        unknown = {"id": name, "kwargs": {"self": str(touched)}}
        replace(file, metadata=file.metadata | {"env_spec": unknown}).save(tmp_path / "harmful.npz")
        with pytest.raises(ValueError, match=f"unknown environment '{name}'"):
            import_d4rl(tmp_path / "harmful.npz", dataset_id="small/harmful-v0", **QUIET)
    assert not touched.exists()
