"""gems_gym.datasets.verify: a sound dataset passes, and every kind of damage fails under its own name."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import minari
import numpy as np
import pytest

from gems_gym.datasets import (
    collect_level,
    compute_content_hash,
    export_d4rl,
    import_d4rl,
    merge,
    relabel,
    report_dataset,
    subset,
    verify_dataset,
)
from gems_gym.datasets.writer import ARTIFACTS
from gems_gym.rankers import GemsRanker, TopKRanker
from tests.datasets.small_world import (
    catalog_hash,
    collect_latents,
    collect_slates,
    small_belief,
    small_ranker,
)

HASH = "content hash"
SHOWN = "shown slates"
ALL = [
    "opens", "world", "ranker", "belief", "readable", "lengths", "observations", "actions", "clicks", "rewards",
    "slates", "shown slates", "beliefs", "content hash", "steps", "users",
]  # fmt: skip


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems_gym.datasets.verify.CHUNK_SESSIONS", 4)


@pytest.fixture
def run(program):
    return functools.partial(program, "dataset", "verify")


def verified(dataset: Any) -> Any:
    return verify_dataset(dataset, progress=False)


def unchecked(found: Any) -> set[str]:
    return {name for name, result in found.checks.items() if result.startswith("not checked: ")}


def test_sound_datasets_pass(tmp_path: Path) -> None:
    latents, slates = collect_latents(), collect_slates()
    found = verified("small/latent-v0")
    assert found.passed and found.failures == ()
    assert found.checks == dict.fromkeys(ALL, "passed")
    assert (found.episodes, found.transitions) == (10, 90)
    assert found.content_hash == latents.storage.metadata["content_hash"]
    of_slates = verified(slates)
    assert of_slates.passed and unchecked(of_slates) == {"ranker", "belief"}
    made = relabel(
        slates, small_ranker(4), dataset_id="small/made-v0", belief=small_belief(2), progress=False
    )
    part = subset(made, dataset_id="small/part-v0", episodes=6, progress=False)
    for derived in (made, part, merge([made, part], dataset_id="small/both-v0", progress=False)):
        assert verified(derived).failures == () and unchecked(verified(derived)) == set()
    export_d4rl(latents, tmp_path / "out.npz", progress=False)
    back = verified(import_d4rl(tmp_path / "out.npz", dataset_id="small/back-v0", progress=False))
    assert back.passed and unchecked(back) == {"clicks", "slates", "shown slates", "beliefs"}


def test_levels_and_rankers_that_are_not_gems() -> None:
    vectors = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    topk = TopKRanker(vectors, 5, catalog_hash())
    assert verified(collect_latents("small/topk-v0", ranker=topk)).checks == dict.fromkeys(ALL, "passed")
    level = collect_level(
        "GemsSlate-diffuse_mix-v0", "random", episodes=3, seed=1, num_envs=3, reference_scores=(1, 2), progress=False
    )  # fmt: skip
    assert verified(level).checks == dict.fromkeys(ALL, "passed")


def in_file(episode: int, name: str, where: Any, value: Any) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        with h5py.File(data / "main_data.hdf5", "r+") as file:
            file[f"episode_{episode}"][name][where] = value

    return change


def in_metadata(**changes: Any) -> Callable[[Path], None]:
    def change(data: Path) -> None:
        metadata = json.loads((data / "metadata.json").read_text())
        (data / "metadata.json").write_text(json.dumps(metadata | changes))

    return change


def shorter(data: Path) -> None:
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        episode = file["episode_6"]
        for name in ("actions", "rewards", "terminations", "truncations"):
            values = episode[name][:-1]
            del episode[name]
            episode[name] = values


def without_an_array(data: Path) -> None:
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        del file["episode_7"]["actions"]


def a_group_for_an_array(data: Path) -> None:
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        del file["episode_7"]["observations"]
        file["episode_7"].create_group("observations")["slate"] = [1]


def garbage(data: Path) -> None:
    (data / "main_data.hdf5").write_bytes(b"no HDF5 " * 100)


def other_ranker(data: Path) -> None:
    GemsRanker.random(num_items=40, slate_size=5, catalog_hash=catalog_hash(), seed=9, latent_size=6).save(
        data / ARTIFACTS / "ranker.safetensors"
    )


def no_belief(data: Path) -> None:
    (data / ARTIFACTS / "belief.safetensors").unlink()


def same_user(data: Path) -> None:
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        file["episode_2"].attrs["seed"] = file["episode_5"].attrs["seed"]


def other_user(data: Path) -> None:
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        file["episode_2"].attrs["seed"] = 7


@pytest.mark.parametrize(
    ("damage", "failing", "words"),
    [
        (in_file(5, "actions", (3, 1), 1.5), {"actions", SHOWN, HASH}, "session 5: actions holds values outside"),
        (in_file(5, "actions", (3, 1), np.nan), {"actions", SHOWN, HASH}, "session 5: actions holds values outside"),
        (in_file(5, "actions", 3, -0.5), {SHOWN, HASH}, r"session 5: actions[3] shows ["),
        (in_file(1, "observations", (9, 2), 0.5), {"beliefs", HASH}, "session 1: observations[9, 2] is 0.5"),
        (in_file(1, "observations", (0, 2), np.inf), {"beliefs", "observations", HASH}, "session 1: observations hold"),
        (in_file(0, "rewards", 4, 17), {"rewards", HASH}, "session 0: rewards[4] is 17.0, but its slate got"),
        (in_file(0, "rewards", 4, np.nan), {"rewards", HASH}, "session 0: rewards[4] is nan"),
        (in_file(3, "infos/clicks", (2, 1), 2), {"clicks", "rewards", "beliefs", HASH}, "session 3: clicks[2, 1] is 2"),
        (in_file(3, "infos/slate", (2, 1), 40), {"slates", SHOWN, "beliefs", HASH}, "session 3: slate[2, 1] is 40"),
        (in_file(8, "infos/user_state", (1, 1), 0.25), {HASH}, "content hash: it is"),
        (in_file(8, "terminations", 8, True), {"lengths", HASH}, "session 8: it does not end truncated"),
        (shorter, {"lengths", "steps", HASH}, "session 6: it has 8 steps, the environment's have 9"),
        (same_user, {"users", HASH}, "is there 2 times"),
        (other_user, {"users", HASH}, "users: the user of seed 7 is not of the recorded split logging, seed 3"),
        (in_metadata(total_episodes=9), {"opens"}, "total_episodes in its metadata is 9"),
        (in_metadata(total_episodes=11), {"opens"}, "total_episodes in its metadata is 11"),
        (in_metadata(total_steps=91), {"steps"}, "total_steps is recorded as 91, sessions have 90"),
        (in_metadata(content_hash="f" * 64), {HASH}, "recorded is ffff"),
        (in_metadata(catalog_hash="another"), {"world"}, "was recorded with the catalogue another"),
        (in_metadata(ranker_sha256="f" * 64), {"ranker"}, "is not the ranker that dataset"),
        (other_ranker, {"ranker"}, "is not the ranker that dataset"),
        (no_belief, {"belief"}, "has lost its belief"),
        (without_an_array, {"readable"}, "readable: session 7 can't be read"),
        (a_group_for_an_array, {"readable"}, "readable: session 7 can't be read"),
        (garbage, {"opens"}, "is no complete HDF5 file"),
    ],
)  # fmt: skip
def test_damage_fails_under_its_name(damage, failing: set[str], words: str, run) -> None:
    data = Path(collect_latents().storage.data_path)
    damage(data)
    found = verified("small/latent-v0")
    assert {name for name, result in found.checks.items() if result == "failed"} == failing
    assert {line.partition(":")[0] for line in found.failures} == failing
    assert words in " ".join(found.failures)
    code, out, err = run("small/latent-v0")
    assert code == 1 and "failed" in out
    lines = [line for line in err.splitlines() if line.startswith("small/latent-v0: ")]
    assert lines == [f"small/latent-v0: {line}" for line in found.failures]


@pytest.mark.parametrize("damage", [without_an_array, a_group_for_an_array])
def test_what_is_damaged_is_not_derived_from(damage) -> None:
    damage(Path(collect_latents().storage.data_path))
    for use in (
        compute_content_hash,
        functools.partial(report_dataset, progress=False),
        functools.partial(subset, dataset_id="small/part-v0", min_return=0, progress=False),
        functools.partial(subset, dataset_id="small/part-v0", episodes=10, progress=False),
    ):
        with pytest.raises(ValueError, match="an episode in .* is damaged: "):
            use("small/latent-v0")
    assert list(minari.list_local_datasets()) == ["small/latent-v0"]


def test_several_at_once(run) -> None:
    collect_latents()
    data = Path(collect_slates().storage.data_path)
    code, out, err = run("small/latent-v0", "small/slate-v0", "--json")
    assert code == 0, err
    assert json.loads(out)["passed"]
    for session in (1, 2, 9):
        in_file(session, "rewards", 0, 0.5)(data)
    code, out, err = run("small/latent-v0", "small/slate-v0", "--json")
    shown = json.loads(out)
    assert code == 1 and not shown["passed"]
    assert [one["passed"] for one in shown["datasets"]] == [True, False]
    assert shown["datasets"][1]["checks"]["rewards"] == "failed"
    assert "(and 2 more)" in shown["datasets"][1]["failures"][0]
    assert "small/slate-v0: rewards: session 1: rewards[0] is 0.5" in err and "small/latent-v0: " not in err
    code, out, err = run("small/latent-v0", "small/slat-v0")
    assert (code, out) == (2, "") and "did you mean 'small/slate-v0'" in " ".join(err.split())
    assert set(minari.list_local_datasets()) == {"small/latent-v0", "small/slate-v0"}
