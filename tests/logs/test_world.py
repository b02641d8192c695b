"""gems_gym.logs.fit_world: worlds of users like those of a log, and how near they come to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
import gems_gym  # noqa: F401
from gems_gym.artifacts import load_artifact
from gems_gym.beliefs import GruBelief
from gems_gym.datasets import collect
from gems_gym.fitted_config import FittedConfig
from gems_gym.fitted_world import FittedWorld
from gems_gym.logs import fit_world, import_log
from gems_gym.logs.fidelity import measure_fidelity
from gems_gym.logs.sessions import LoggedSessions
from gems_gym.logs.world_fitting import make_world
from gems_gym.pretraining.session_log import LogPlan
from gems_gym.simulator import resolve_world
from gems_gym.testing import check_world

ID, ENV = "my/log-v0", "GemsSlate-fitted-v0"
ITEMS, SLOTS = 12, 3
LEAVES = {False: 0.5, True: 0.1}
"""How likely users leave after a slate without a click, and with one."""


def import_sessions(count: int = 400, longest: int = 8, clicks: bool = True) -> None:
    """Sessions of random slates that users click by position and item; the last slot is empty now and then."""
    rng = np.random.default_rng(0)
    likely = np.outer(np.linspace(0.1, 0.9, ITEMS), [1.0, 0.6, 0.4])
    rows = []
    for user in range(count):
        for step in range(longest):
            items = rng.choice(ITEMS, SLOTS - (rng.random() < 0.1), replace=False)
            clicked = clicks & (rng.random(len(items)) < likely[items, np.arange(len(items))])
            rows.append((user, 10**6 * user + step, items.tolist(), clicked.astype(int).tolist()))
            if rng.random() < LEAVES[bool(clicked.any())]:
                break
    table = pl.DataFrame(rows, schema=["user", "timestamp", "items", "clicks"], orient="row")
    import_log(table, dataset_id=ID, progress=False)


def fitted(out: Path, **options: Any) -> Path:
    """The file of a world that was fitted in no time."""
    fit_world(ID, out, **({"batches": 5, "progress": False} | options))
    return out / "world.safetensors"


@pytest.fixture(scope="module")
def datasets_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the dataset, which the tests of this module do not change."""
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder))
        import_sessions()
    return folder


@pytest.fixture(scope="module")
def world_file(datasets_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(datasets_folder))
        return fitted(tmp_path_factory.mktemp("world"))


def test_from_a_log_to_an_environment(
    tmp_path: Path,
    program: Callable[..., tuple[int, str, str]],
    datasets_folder: Path,
    world_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(datasets_folder))
    code, out, err = program(
        "logs", "world", ID, "--out", "fitted", "--batches", "5", "--picture", "report.png", "--json"
    )
    assert code == 0, err
    report = json.loads((tmp_path / "fitted" / "world.json").read_text())
    assert json.loads(out) == report | {"verdict": json.loads(out)["verdict"]}
    assert (report["earlier"], report["later"], report["by_time"]) == (320, 80, True)
    assert [len(report[name]["log"]) for name in ("ctr", "heads")] == [SLOTS, 4]
    assert all(one["low"] <= one["mean"] <= one["high"] for one in report["log_loss"].values())
    assert report["stayed"]["log"][0] > report["stayed"]["log"][-1] and (tmp_path / "report.png").is_file()
    file = tmp_path / "fitted" / "world.safetensors"
    assert file.read_bytes() == world_file.read_bytes()  # the same log, options and seed
    header = load_artifact(file, "world/fitted").header
    assert header["log"] == {"dataset": ID, "sessions": 320}
    option = f"world={file}"
    code, out, err = program(
        "evaluate", "random", "--env", ENV, "--env-option", option, "--episodes", "20", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["mean_return"] > 0


def test_it_is_a_world_like_the_others(world_file: Path) -> None:
    check_world(ENV, world=str(world_file), episode_length=4)
    env = gymnasium.make(ENV, world=str(world_file))
    assert (env.unwrapped.config.num_items, env.unwrapped.config.slate_size) == (ITEMS, SLOTS)
    with pytest.raises(ValueError, match="what users prefer comes out of their clicks"):
        env.reset(options={"user": np.ones(env.unwrapped.config.embedding_size)})
    observation, _ = env.reset(seed=1, options={"first_slate": [2, 1, 0]})
    assert observation["slate"].tolist() == [2, 1, 0]
    with pytest.raises(ValueError, match="the items of a fitted world are in its file"):
        gymnasium.make(ENV, world=str(world_file), item_embeddings=np.ones((4, 2)))


def test_sessions_of_a_fitted_world_can_be_logged_for_pretraining(world_file: Path) -> None:
    config, catalog = resolve_world("fitted", None, {"world": str(world_file), "episode_length": 4})
    log = LogPlan(ENV, None, {"random": 1.0}, 4, 0).session_log(config, catalog, None)
    assert log.catalog_hash == catalog.hash and log.slates.shape == (4, 5, SLOTS)


def test_users_leave_as_those_of_the_log(world_file: Path) -> None:
    options: dict[str, Any] = {"num_envs": 1_000, "world": str(world_file), "autoreset_mode": "disabled"}
    env = gymnasium.make_vec(ENV, **options)
    env.reset(seed=0)
    slates = np.random.default_rng(0).integers(ITEMS, size=(1_000, SLOTS))
    _, rewards, terminated, truncated, _ = env.step(slates)
    for clicked, expected in LEAVES.items():
        assert terminated[(rewards > 0) == clicked].mean() == pytest.approx(expected, abs=0.1)
    assert not truncated.any()
    threaded = gymnasium.make_vec(ENV, num_threads=3, **options)
    threaded.reset(seed=0)
    _, same, also, *_ = threaded.step(slates)
    assert np.array_equal(same, rewards) and np.array_equal(also, terminated)
    staying = gymnasium.make_vec(ENV, leaving=False, **options)
    staying.reset(seed=0)
    _, same, terminated, *_ = staying.step(slates)
    assert np.array_equal(same, rewards) and not terminated.any()


def test_a_world_is_faithful_to_its_own_sessions(world_file: Path) -> None:
    """What it predicts of sessions that it made itself is right; with half the propensities it is not."""
    collect(
        ENV, "random", dataset_id="own/world-v0", episodes=400, seed=0, env_kwargs={"world": str(world_file)},
        reference_scores=(0, 1), progress=False,
    )  # fmt: skip
    earlier, later = LoggedSessions.read("own/world-v0", progress=False).split(0.5)
    world = FittedWorld.from_artifact(load_artifact(world_file, "world/fitted"))
    report, worse = (
        measure_fidelity(one, earlier, later, dataset_id="own/world-v0", sha256="", seed=0)
        for one in (world, replace(world, propensities=world.propensities / 2))
    )
    assert report.ctr.distance.low < 0.1 and report.stayed.distance.mean < 0.1
    assert worse.ctr.distance.low > 0.3 and worse.gain.mean < report.gain.mean
    assert any("click rates by position" in warning for warning in worse.warnings)
    assert worse.verdict.startswith("do not trust this world")


def test_what_is_refused(tmp_path: Path, world_file: Path) -> None:
    with pytest.raises(ValueError, match="no/such-v0"):
        fit_world("no/such-v0", tmp_path / "out")
    import_sessions(20, clicks=False)
    with pytest.raises(ValueError, match="the 16 earlier sessions of dataset 'my/log-v0' hold no click"):
        fitted(tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.safetensors"))
    with pytest.raises(ValueError, match="needs its file.*--env-option world=FILE"):
        gymnasium.make(ENV)
    with pytest.raises(FileNotFoundError, match="no-such.safetensors"):
        gymnasium.make(ENV, world=str(tmp_path / "no-such.safetensors"))
    belief = GruBelief.random(num_items=ITEMS, slate_size=SLOTS, catalog_hash="none", seed=0)
    belief.save(tmp_path / "belief.safetensors")
    with pytest.raises(ValueError, match="is a belief/gru; a world/fitted was expected"):
        gymnasium.make(ENV, world=str(tmp_path / "belief.safetensors"))
    world = FittedWorld.from_artifact(load_artifact(world_file, "world/fitted"))
    replace(world, openings=world.openings + ITEMS).save(tmp_path / "broken.safetensors")
    with pytest.raises(
        ValueError, match="not a usable world/fitted: openings must hold slates of known items"
    ):
        gymnasium.make(ENV, world=str(tmp_path / "broken.safetensors"))
    with pytest.raises(ValueError, match="episode_length must be an integer ≥ 1"):
        FittedConfig(world=str(world_file), episode_length=0)


def test_later_sessions_with_hardly_a_click_are_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (user, 1000 * user + step, rng.choice(ITEMS, 2, replace=False).tolist(),
         [int(step == 0 and (user < 60 or user > 97)), 0])
        for user in range(100) for step in range(3)
    ]  # fmt: skip
    table = pl.DataFrame(rows, schema=["user", "timestamp", "items", "clicks"], orient="row")
    import_log(table, dataset_id="my/few-v0", progress=False)
    report = fit_world("my/few-v0", tmp_path / "out", batches=5, progress=False)
    assert "only 2 of the later sessions have a click" in report.warnings
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"world.safetensors", "world.json"}
    assert np.isfinite([report.ctr.distance.low, report.heads.distance.high]).all()


def test_sessions_of_one_slate_make_no_world() -> None:
    import_sessions(30, longest=1)
    with pytest.raises(ValueError, match="no session has more than one slate"):
        make_world(LoggedSessions.read(ID, progress=False), batches=1, seed=0, progress=False)
