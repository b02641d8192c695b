"""Files as other programs write D4RL's form: five arrays, terminals at sessions' ends, actions out of [-1, 1]."""

import functools
import json
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest

from gems_gym.datasets import dataset_ranker, export_d4rl, import_d4rl, merge, subset
from gems_gym.rankers import TopKRanker
from tests.datasets.small_world import (
    LENGTH,
    WORLD,
    catalog_hash,
    collect_latents,
    small_belief,
    small_ranker,
)

SMALL_ENV = "GemsSlate-d4rl_foreign-v0"
OPTIONS = ("--terminals-are-timeouts", "--rescale-actions", "--episode-length", LENGTH)
ROWS = 10 * LENGTH


@pytest.fixture(autouse=True)
def small_env():
    gymnasium.register(
        SMALL_ENV,
        entry_point="gems_gym.envs.slate:SlateEnv",
        vector_entry_point="gems_gym.envs.slate_vector:SlateVectorEnv",
        kwargs={"preset": "diffuse_topdown", **WORLD, "episode_length": 100},
    )
    yield
    del gymnasium.registry[SMALL_ENV]


@pytest.fixture
def run(program):
    return functools.partial(program, "dataset", "import")


@pytest.fixture
def source():
    return collect_latents()


def sources_form(source, folder: Path, scale: float = 3.0, **changes: Any) -> dict[str, np.ndarray]:
    """The dataset's numbers as the sources' programs have them."""
    file = export_d4rl(source, folder / "own.npz", progress=False)
    return {
        "observations": file.observations,
        "actions": file.actions * np.float32(scale),
        "rewards": file.rewards,
        "next_observations": file.next_observations,
        "terminals": file.timeouts,
    } | changes


def arguments(file: str, dataset_id: str = "small/in-v0") -> tuple[object, ...]:
    return (file, "--dataset-id", dataset_id, "--env", SMALL_ENV)


@pytest.mark.parametrize("name", ["file.npz", "file.hdf5"])
def test_the_same_sessions_come_in(name: str, source, run, tmp_path: Path) -> None:
    arrays = sources_form(source, tmp_path)
    if name.endswith("npz"):
        np.savez(tmp_path / name, **arrays)
    else:
        with h5py.File(tmp_path / name, "w") as file:
            for key, values in arrays.items():
                file.create_dataset(key, data=values, compression="gzip")
            file.create_group("metadata")  # D4RL's own files have one
    code, out, err = run(*arguments(name), *OPTIONS, "--json")
    assert code == 0, err
    result = json.loads(out)
    largest = float(np.abs(arrays["actions"]).max())
    assert result["action_scale"] == largest
    steps = result["steps"]
    assert steps[0] == "terminals: 10 of 90 rows are taken as ends by time (timeouts)"
    assert steps[1] == f"actions: divided by {largest:.9g}, the largest of them"
    made = minari.load_dataset("small/in-v0")
    assert made.storage.metadata["derived_from"]["steps"] == steps
    assert made.env_spec.kwargs["episode_length"] == LENGTH
    for old, new in zip(source.iterate_episodes(), made.iterate_episodes(), strict=True):
        for one in ("observations", "rewards", "terminations", "truncations"):
            np.testing.assert_array_equal(getattr(new, one), getattr(old, one))
        assert np.abs(new.actions).max() <= 1
        back = new.actions * made.storage.metadata["action_scale"] / 3
        np.testing.assert_allclose(back, old.actions, rtol=1e-6)


def test_the_world_of_a_file_has_parameters_of_its_own(source, run, tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", **sources_form(source, tmp_path))
    code, _, err = run(*arguments("file.npz"), *OPTIONS, "--env-option", "omega=0.95")
    assert code == 0, err
    assert minari.load_dataset("small/in-v0").env_spec.kwargs["omega"] == 0.95
    code, _, err = run("own.npz", "--dataset-id", "small/own-v0", "--env-option", "omega=0.95")
    assert code == 2 and "names its environment" in " ".join(err.split())


def test_latents_of_a_known_ranker_become_its_actions(source, tmp_path: Path) -> None:
    """Its bounds say which action stands for a latent: the same slates are shown, whatever the file's largest is."""
    ranker = small_ranker()
    latents = (
        ranker.tensors["centre"]
        + export_d4rl(source, tmp_path / "own.npz", progress=False).actions @ ranker.tensors["basis"]
    )
    np.savez(tmp_path / "file.npz", **sources_form(source, tmp_path, actions=latents))
    made = import_d4rl(
        tmp_path / "file.npz", dataset_id="small/in-v0", env_id=SMALL_ENV, ranker=ranker, belief=small_belief(),
        terminals_are_timeouts=True, rescale_actions=True, episode_length=LENGTH, progress=False,
    )  # fmt: skip
    assert "action_scale" not in made.storage.metadata
    for old, new in zip(source.iterate_episodes(), made.iterate_episodes(), strict=True):
        np.testing.assert_allclose(new.actions, old.actions, atol=1e-6)
        np.testing.assert_array_equal(dataset_ranker(made).rank(new.actions), old.infos["slate"][1:])


@pytest.mark.parametrize("scale", [7.0, 1.0])
def test_what_no_ranker_can_map_is_refused(scale: float, source, tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", **sources_form(source, tmp_path, scale))
    options: dict[str, Any] = {
        "dataset_id": "small/in-v0", "env_id": SMALL_ENV, "belief": small_belief(), "progress": False,
        "terminals_are_timeouts": True, "rescale_actions": True, "episode_length": LENGTH,
    }  # fmt: skip
    topk = TopKRanker(np.eye(6).repeat(7, 0)[:40], 5, catalog_hash())
    with pytest.raises(ValueError, match=r"ranker/topk ranker can't tell .* leave ranker and belief out"):
        import_d4rl(tmp_path / "file.npz", ranker=topk, **options)
    if scale > 3:  # the small ranker's bounds
        with pytest.raises(ValueError, match=r"actions\[\d+, \d\] would be .* in the ranker's bounds"):
            import_d4rl(tmp_path / "file.npz", ranker=small_ranker(), **options)
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]


def test_other_dtypes_and_columns(source, run, tmp_path: Path) -> None:
    arrays = sources_form(source, tmp_path)
    wide = {"rewards": arrays["rewards"].astype(np.float64)[:, None]}
    wide |= {"terminals": arrays["terminals"].astype(np.uint8)[:, None]}
    wide |= {"actions": arrays["actions"].astype(np.float64) + 1e-12}
    np.savez(tmp_path / "file.npz", **arrays | wide)
    code, out, err = run(*arguments("file.npz"), *OPTIONS, "--json")
    assert code == 0, err
    steps = "\n".join(json.loads(out)["steps"])
    assert "rewards: from float64 (90, 1) to float32 (90,)\n" in steps
    assert "actions: from float64 (90, 6) to float32 (90, 6), rounded by at most" in steps
    assert "terminals: from uint8 (90, 1) to bool (90,)\n" in steps
    for old, new in zip(
        source.iterate_episodes(), minari.load_dataset("small/in-v0").iterate_episodes(), strict=True
    ):
        np.testing.assert_array_equal(new.rewards, old.rewards)


def test_rows_without_marks_are_cut(source, run, tmp_path: Path) -> None:
    no_ends = np.zeros(ROWS, dtype=np.bool_)
    np.savez(tmp_path / "file.npz", **sources_form(source, tmp_path, 1.0, terminals=no_ends))
    code, _, err = run(*arguments("file.npz"))
    assert code == 2 and "--episode-length 100" in " ".join(err.split())
    code, out, err = run(*arguments("file.npz"), "--episode-length", LENGTH, "--json")
    assert code == 0, err
    assert json.loads(out)["steps"] == [
        "timeouts: the file has none; its 90 rows are cut into sessions of 9 steps"
    ]


def without(*left_out: str) -> tuple[object, ...]:
    kept = list(OPTIONS)
    for name in left_out:
        position = kept.index(name)
        del kept[position : position + (2 if name == "--episode-length" else 1)]
    return tuple(kept)


@pytest.mark.parametrize(
    ("given", "changes", "words"),
    [
        (without("--terminals-are-timeouts"), {}, "terminals[8] is True"),
        (without("--terminals-are-timeouts"), {}, "--terminals-are-timeouts"),
        (without("--rescale-actions"), {}, "--rescale-actions"),
        (without("--episode-length"), {}, "timeouts[8] is True, must be False: a session of this environment has 100"),
        (without("--episode-length"), {}, "--episode-length"),
        ((), {}, "--rescale-actions"),
        (OPTIONS, {"terminals": np.full(ROWS, 2)}, "terminals has dtype int64, must be bool"),
        (OPTIONS, {"actions": np.full((ROWS, 6), np.nan)}, "actions[0, 0] is nan"),
        (OPTIONS, {"actions": np.full((ROWS, 6), 1e300)}, "actions[0, 0] is inf"),
        (OPTIONS, {"observations": np.full((ROWS, 4), 2.0)}, "observations[0, 0] is 2.0, must lie in [-1, 1]"),
        ((*OPTIONS[:2], "--episode-length", 0), {}, "episode_length must be an integer ≥ 1 or None, got 0"),
    ],
)  # fmt: skip
def test_refusals_name_the_option_that_helps(given, changes, words: str, source, run, tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz", **sources_form(source, tmp_path, **changes))
    code, out, err = run(*arguments("file.npz"), *given, "--json")
    assert (code, out) == (2, "")
    assert words in " ".join(err.split())
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]


def test_hdf5_that_points_elsewhere_is_refused(source, tmp_path: Path) -> None:
    arrays = sources_form(source, tmp_path)
    (tmp_path / "raw").write_bytes(arrays["rewards"].tobytes())

    def stored(name: str, put: Any) -> Path:
        with h5py.File(tmp_path / name, "w") as file:
            for key, values in arrays.items():
                if key != "rewards":
                    file[key] = values
            put(file)
        return tmp_path / name

    def external(file: h5py.File) -> None:
        file.create_dataset("rewards", (ROWS,), "f4", external=[(tmp_path / "raw", 0, ROWS * 4)])

    def linked(file: h5py.File) -> None:
        file["rewards"] = h5py.ExternalLink(tmp_path / "external.hdf5", "rewards")

    def none(file: h5py.File) -> None:
        file["reward"] = arrays["rewards"]

    def huge(file: h5py.File) -> None:
        file.create_dataset("rewards", (10**12,), "f4", chunks=True)

    for name, put, message in (
        ("external.hdf5", external, "rewards must be an array in the file itself"),
        ("linked.hdf5", linked, "rewards must be an array in the file itself"),
        ("none.hdf5", none, "it lacks rewards; it has actions, .*reward"),
        ("huge.hdf5", huge, r"rewards has shape \(1000000000000,\), for which the file is too small"),
    ):
        with pytest.raises(ValueError, match=message):
            import_d4rl(stored(name, put), dataset_id="small/in-v0", env_id=SMALL_ENV, progress=False)


def test_the_scale_goes_along(source, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "env_id": SMALL_ENV, "terminals_are_timeouts": True, "rescale_actions": True, "episode_length": LENGTH,
        "progress": False,
    }  # fmt: skip
    for number, scale in enumerate((2.0, 5.0)):
        np.savez(tmp_path / "file.npz", **sources_form(source, tmp_path, scale))
        import_d4rl(tmp_path / "file.npz", dataset_id=f"small/in-v{number}", **options)
    part = subset("small/in-v0", dataset_id="small/part-v0", episodes=3, progress=False)
    scale = minari.load_dataset("small/in-v0").storage.metadata["action_scale"]
    assert part.storage.metadata["action_scale"] == scale > 1
    back = import_d4rl(_out(part, tmp_path), dataset_id="small/back-v0", progress=False)
    assert back.storage.metadata["action_scale"] == scale
    with pytest.raises(ValueError, match="their action scales differ"):
        merge(["small/in-v0", "small/in-v1"], dataset_id="small/both-v0", progress=False)


def _out(dataset: Any, folder: Path) -> Path:
    export_d4rl(dataset, folder / "out.npz", progress=False)
    return folder / "out.npz"


def test_what_was_rescaled_before_is_scaled_back_for_a_ranker(source, tmp_path: Path) -> None:
    """Latents that were divided by their largest, exported, and taken for a ranker's."""
    ranker, options = small_ranker(), {"rescale_actions": True, "episode_length": LENGTH, "progress": False}
    actions = export_d4rl(source, tmp_path / "own.npz", progress=False).actions
    latents = ranker.tensors["centre"] + actions @ ranker.tensors["basis"]
    np.savez(tmp_path / "file.npz", **sources_form(source, tmp_path, actions=4 * latents))
    options |= {"env_id": SMALL_ENV, "terminals_are_timeouts": True}
    scaled = import_d4rl(tmp_path / "file.npz", dataset_id="small/in-v0", **options)
    scale = scaled.storage.metadata["action_scale"]
    assert scale > 1
    scaled.storage.update_metadata({"action_scale": scale / 4})
    parts = {"ranker": ranker, "belief": small_belief()}
    again = import_d4rl(_out(scaled, tmp_path), dataset_id="small/in-v1", **parts, **options)
    assert "action_scale" not in again.storage.metadata
    for old, new in zip(source.iterate_episodes(), again.iterate_episodes(), strict=True):
        np.testing.assert_allclose(new.actions, old.actions, atol=1e-5)


def test_authors_come_back(tmp_path: Path) -> None:
    collect_latents("small/latent-v0", metadata={"author": ["Ada", "Grace"]})
    back = import_d4rl(_out("small/latent-v0", tmp_path), dataset_id="small/back-v0", progress=False)
    assert back.storage.metadata["author"] == {"Ada", "Grace"}


def test_a_wrong_number_of_steps_is_found(tmp_path: Path) -> None:
    dataset = collect_latents("small/latent-v0")
    for steps in (85, 95):
        dataset.storage.update_metadata({"total_steps": steps})
        with pytest.raises(ValueError, match=f"total_steps in its metadata is {steps}, its sessions have 90"):
            _out("small/latent-v0", tmp_path)
