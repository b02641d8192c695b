"""gems_gym.logs.fit_log: what is fitted to a log, how it is scored, and what it says of sequences."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import minari
import numpy as np
import polars as pl
import pytest

pytest.importorskip("torch")
from gems_gym.artifacts import load_artifact
from gems_gym.beliefs import GruBelief, load_belief
from gems_gym.datasets import EpisodeBatch, collect
from gems_gym.embeddings import load_embeddings
from gems_gym.logs import fit_log, fitting, import_log
from gems_gym.logs.fit_report import resampled
from gems_gym.logs.history import beliefs_before
from gems_gym.logs.sessions import LoggedSessions
from gems_gym.rankers import load_ranker

ID = "my/log-v0"
ITEMS, SLOTS = 12, 4


def import_rows(rows: list[tuple[int, int, list[int], list[int]]]) -> None:
    table = pl.DataFrame(rows, schema=["user", "timestamp", "items", "clicks"], orient="row")
    import_log(table, dataset_id=ID, progress=False)


def import_random(sessions: int = 300, longest: int = 5) -> None:
    """Slates of two to four items, clicked by position and item, whatever was before."""
    rng = np.random.default_rng(0)
    attractiveness, propensities = np.linspace(0.1, 0.8, ITEMS), np.array([1.0, 0.7, 0.5, 0.4])
    rows = []
    for user in range(sessions):
        for step in range(rng.integers(1, longest + 1)):
            items = rng.choice(ITEMS, rng.integers(2, SLOTS + 1), replace=False)
            likely = propensities[: len(items)] * attractiveness[items]
            rows.append(
                (
                    user,
                    10**6 * (sessions - user) + step,
                    items.tolist(),
                    (rng.random(len(items)) < likely).astype(int).tolist(),
                )
            )
    import_rows(rows)


def fitted(out: Path, **options: Any) -> dict[str, Any]:
    return fit_log(ID, out, **({"batches": 20, "progress": False} | options)).as_dict()


def test_sessions_are_read_in_the_order_of_time() -> None:
    import_rows(
        [
            (7, 5000, [1, 2], [0, 1]),
            (8, 1000, [3], [1]),
            (8, 1001, [2, 1], [0, 0]),
        ]
    )
    log = LoggedSessions.read(ID, progress=False)
    assert log.slates.tolist() == [[2, -1], [1, 0], [0, 1]]
    assert log.clicks.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert log.starts.tolist() == [0, 2, 3] and log.timed and log.num_items == 3
    assert log.session_log().slates.tolist() == [[[2, -1], [1, 0]], [[0, 1], [-1, -1]]]
    earlier, later = log.split(0.5)
    assert (len(earlier), len(later), later.slates.tolist()) == (1, 1, [[0, 1]])
    assert log.totals(log.clicks.sum(axis=1)).tolist() == [1, 1]


def test_all_that_is_fitted(tmp_path: Path, program: Callable[..., tuple[int, str, str]]) -> None:
    import_random()
    code, out, err = program("logs", "fit", ID, "--out", "fitted", "--batches", "20")
    assert code == 0, err
    assert "position-based" in out and "a bandit is enough" in " ".join(out.split())
    folder = tmp_path / "fitted"
    report = json.loads((folder / "fit.json").read_text())
    assert {file.name for file in folder.iterdir() if not file.name.endswith(".lock")} == {
        "fit.json",
        *report["files"],
    }
    assert (report["earlier"], report["later"], report["by_time"]) == (240, 60, True)
    losses = {name: one["mean"] for name, one in report["log_loss"].items()}
    assert losses["position-based"] < losses["click rate of the position"] < losses["one click rate"]
    assert all(one["low"] < one["mean"] < one["high"] for one in report["log_loss"].values())
    assert "does not measurably" in report["verdict"] and report["history"]["high"] >= 0
    np.testing.assert_allclose(report["propensities"], [1.0, 0.7, 0.5, 0.4], atol=0.15)
    belief, ranker = load_belief(folder / "belief.safetensors"), load_ranker(folder / "ranker.safetensors")
    embeddings = load_embeddings(folder / "embeddings.safetensors")
    assert belief.catalog_hash == ranker.catalog_hash == embeddings.catalog_hash
    assert (belief.slate_size, ranker.slate_size, embeddings.vectors.shape) == (SLOTS, SLOTS, (ITEMS, 11))
    assert (
        load_artifact(folder / "cascade.safetensors", "click_model/cascade").header["log"]["sessions"] == 240
    )


def test_an_interrupted_fit_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_random(60)
    expected = fitted(tmp_path / "at once")
    trained: list[str] = []
    trainer_of = fitting.trainer_of

    def interrupting(kind: str) -> Any:
        trained.append(kind)
        if trained.count("ranker/gems") == 1:
            raise KeyboardInterrupt
        return trainer_of(kind)

    monkeypatch.setattr(fitting, "trainer_of", interrupting)
    with pytest.raises(KeyboardInterrupt):
        fitted(tmp_path / "out")
    assert not list((tmp_path / "out").glob("[!.]*"))
    with pytest.raises(ValueError, match="seed=0 .now 1."):
        fitted(tmp_path / "out", seed=1)
    assert fitted(tmp_path / "out") == expected
    assert trained[-2:] == ["ranker/gems", "ranker/gems"]  # and no belief between them


def test_what_a_log_lacks_something_for_is_left_out(tmp_path: Path) -> None:
    import_random(80, longest=1)
    report = fitted(tmp_path / "out")
    assert "more than one slate" in report["left_out"]["belief"]
    assert report["history"] is None and "a bandit is enough" in report["verdict"]
    assert "belief.safetensors" not in report["files"] and "ranker.safetensors" in report["files"]


def test_a_large_catalogue_is_learned_from_its_shown_items(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_random()
    small = fitted(tmp_path / "small")
    for module in ("belief", "click_prediction", "gems"):
        monkeypatch.setattr(f"gems_gym.pretraining.{module}.MANY_ITEMS", 1)
    monkeypatch.setattr("gems_gym.beliefs.trained.LARGEST_TABLE", 0)
    large = fitted(tmp_path / "large")
    for name in ("without history", "with history"):
        assert large["log_loss"][name]["mean"] == pytest.approx(small["log_loss"][name]["mean"], abs=1e-4)
    beliefs = [load_belief(tmp_path / name / "belief.safetensors") for name in ("small", "large")]
    states = [
        one.update(one.initial(1), np.array([[3, 1, -1, -1]]), np.array([[1, 0, 0, 0]])) for one in beliefs
    ]
    np.testing.assert_allclose(*states, atol=1e-3)
    assert large["slot_accuracy"]["mean"] > 0.5 * small["slot_accuracy"]["mean"]  # by sampled softmax


def test_clicks_that_were_logged_late_are_no_error(tmp_path: Path) -> None:
    """What the click head learns from has none."""
    rng = np.random.default_rng(0)
    import_rows([
        (user, 1000 * user + step, rng.choice(ITEMS, 3, replace=False).tolist(), [int(user > 70), 0, 0])
        for user in range(100) for step in range(3)
    ])  # fmt: skip
    report = fitted(tmp_path / "out")
    assert np.isfinite([score["mean"] for score in report["log_loss"].values()]).all()


def test_what_was_learned_of_other_sessions_of_a_dataset_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import_random(60)
    dataset = minari.load_dataset(ID)
    first, last = (
        dataset.filter_episodes(lambda one, part=part: (one.id < 30) == part) for part in (True, False)
    )
    with monkeypatch.context() as patch:
        patch.setattr(fitting._Fit, "_belief", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit_log(first, tmp_path / "out", batches=5, progress=False)
    with pytest.raises(ValueError, match="sessions_sha256"):
        fit_log(last, tmp_path / "out", batches=5, progress=False)


def test_numbers_are_checked_before_they_are_converted() -> None:
    def of(slates: np.ndarray, clicks: np.ndarray) -> None:
        LoggedSessions.of_parts([(slates, clicks)], np.array([True]), "my/x-v0", 5, "ca" * 32)

    with pytest.raises(ValueError, match="holds the items 2 … 4294967297"):
        of(np.array([[2**32 + 1, 2]]), np.array([[0, 1]]))
    with pytest.raises(ValueError, match="clicks must be 0 or 1"):
        of(np.array([[1, 2]]), np.array([[256, 257]]))
    with pytest.raises(ValueError, match="slates of float64 and clicks of int64; integers were expected"):
        of(np.array([[1.9, 2.0]]), np.array([[0, 1]]))


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no/such-v0"):
        fit_log("no/such-v0", tmp_path / "out")
    import_rows([(user, 1000 * user, [1, 2], [0, 0]) for user in range(5)])
    with pytest.raises(ValueError, match="the 4 earlier sessions of dataset 'my/log-v0' hold no click"):
        fitted(tmp_path / "out")
    assert not any((tmp_path / "out").glob("*.safetensors"))
    with pytest.raises(ValueError, match=r"held_out must be a number in \(0, 1\), got 1"):
        fitted(tmp_path / "out", held_out=1.0)
    import_log(
        pl.DataFrame({"user": [1, 2], "timestamp": [1, 2], "items": [[1, 2]] * 2, "clicks": [[1, 0]] * 2}),
        dataset_id="my/two-v0", progress=False,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"held_out=0.2 leaves 1 later session of 2 in dataset 'my/two-v0'"):
        fit_log("my/two-v0", tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="--out must be a folder"):
        fitted(tmp_path / "file")


def test_beliefs_are_those_before_each_slate() -> None:
    import_random(20)
    log = LoggedSessions.read(ID, progress=False)
    encoder = GruBelief.random(num_items=ITEMS, slate_size=SLOTS, catalog_hash=log.catalog_hash, seed=0)
    found = beliefs_before(encoder, log)
    for session in (0, 7, 19):
        state = encoder.initial(1)
        for row in range(*log.starts[session : session + 2]):
            np.testing.assert_array_equal(found[row], encoder.read(state)[0])
            state = encoder.update(state, log.slates[[row]], log.clicks[[row]])


def test_intervals_are_paired() -> None:
    rng = np.random.default_rng(0)
    losses, slots = rng.random(500) + 1, np.full(500, 2.0)
    means, drawn = resampled([losses, losses + 0.1], slots, 0)
    np.testing.assert_allclose(means[1] - means[0], 0.05)
    np.testing.assert_allclose(drawn[:, 1] - drawn[:, 0], 0.05)
    assert drawn[:, 0].std() == pytest.approx(losses.std() / 2 / 500**0.5, rel=0.1)


@pytest.mark.slow
def test_boredom_is_something_sequential(tmp_path: Path) -> None:
    """Sessions of a world where topics bore, as a log of its own: nothing but slates and clicks is left."""
    world = {"num_items": 40, "slate_size": 4, "num_topics": 5, "episode_length": 20, "boredom_threshold": 2}
    collect(
        "GemsSlate-diffuse_mix-v0", "random", dataset_id="world/log-v0", episodes=500, seed=0, env_kwargs=world,
        progress=False,
    )  # fmt: skip
    batch = EpisodeBatch.from_minari("world/log-v0", progress=False)
    import_rows(
        [
            (user, 10**5 * user + step, slate.tolist(), batch.clicks[user, step].tolist())
            for user in range(len(batch))
            for step, slate in enumerate(batch.slates[user])
        ]
    )
    report = fitted(tmp_path / "out", batches=200)
    assert report["history"]["high"] < 0 and "history improves" in report["verdict"]
    # the world's own dataset says the same, but for the time
    world_report = fit_log("world/log-v0", tmp_path / "world", batches=2, progress=False)
    assert (world_report.earlier, world_report.by_time) == (report["earlier"], False)


def test_co_clicks_are_counted_where_most_clicked_items_have_some() -> None:
    """One slate with two clicks says nothing of all other items."""

    def of(clicks: list[list[int]]) -> LoggedSessions:
        slates = np.arange(2 * len(clicks), dtype=np.int32).reshape(-1, 2)
        starts = np.arange(len(clicks) + 1)
        left = np.zeros(len(clicks), np.bool_)
        return LoggedSessions(slates, np.array(clicks, np.int8), 2 * len(clicks), starts, "ca" * 32, left)

    assert not fitting._has_co_clicks(of([[1, 0], [0, 1], [1, 1], [0, 1], [1, 0]]))
    assert fitting._has_co_clicks(of([[1, 1], [1, 1], [0, 1], [1, 1]]))
    same = of([[1, 1], [1, 1]])
    assert not fitting._has_co_clicks(replace(same, slates=np.zeros((2, 2), np.int32)))
