"""gems_gym.datasets.report: known answers, and what is counted from which row."""

import json
from pathlib import Path

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector import EpisodeBuffer
from PIL import Image
from scipy import stats

from gems_gym.commands.output import plain
from gems_gym.datasets import compute_content_hash, draw_report, report_dataset
from gems_gym.datasets.measures import CoverageMeasures, concentration, effective_number
from gems_gym.logs import import_log
from gems_gym.logs.sessions import LoggedSessions
from tests.datasets.small_world import ENV_ID, LENGTH, collect_latents, collect_slates


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gems_gym.datasets.reader.CHUNK_SESSIONS", 4)


class SameSlate:
    """Shows items 7, 7, 7, 8 and 9 to everybody."""

    observes = actions = "slates"

    def open(self, seeds) -> None:
        pass

    def act(self, state, observations) -> tuple[np.ndarray, None]:
        return np.tile([7, 7, 7, 8, 9], (len(observations["slate"]), 1)), None


def test_concentration_of_known_counts() -> None:
    even = concentration(np.full(4, 3))
    assert (even.gini, even.effective_number, even.share_shown) == (0.0, pytest.approx(4), 1.0)
    one = concentration(np.array([0, 0, 0, 5]))
    assert (one.gini, one.effective_number, one.share_shown) == (pytest.approx(0.75), pytest.approx(1), 0.25)
    assert effective_number(np.zeros(3)) == 0
    # mean absolute difference over twice the mean, the definition
    counts = np.array([1.0, 5, 2, 9])
    by_pairs = np.abs(counts[:, None] - counts).mean() / (2 * counts.mean())
    assert concentration(counts).gini == pytest.approx(by_pairs)


def test_coverage_of_known_vectors() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(5000, 2)) @ np.array([[0.1, 0, 0, 0, 0], [0, 0, 0.1, 0, 0]]) + 0.2
    plane = plane.astype(np.float32)
    plane[:50, 4] = -1.0
    gathered = CoverageMeasures(5)
    for part in np.split(plane, 10):
        gathered.add(part)
    coverage = gathered.result()
    np.testing.assert_allclose(coverage.sd, plane.std(axis=0), atol=1e-5)
    assert coverage.at_border == 50 / plane.size
    assert 2 < coverage.effective_dimensions < 3  # the plane, and the numbers at the border
    still = CoverageMeasures(2)
    still.add(np.full((10, 2), 0.7, np.float32))
    assert still.result().effective_dimensions == 0


def test_returns_and_coverage_are_those_of_the_episodes() -> None:
    dataset = collect_latents()
    report = report_dataset(dataset, progress=False)
    episodes = list(dataset.iterate_episodes())
    returns = np.array([episode.rewards.sum() for episode in episodes], dtype=np.float64)
    assert (report.episodes, report.transitions) == (10, 10 * LENGTH)
    assert report.returns.mean == pytest.approx(returns.mean())
    assert report.returns.sd == pytest.approx(returns.std(ddof=1))
    assert report.returns.ci95 == pytest.approx(stats.sem(returns) * stats.t.ppf(0.975, 9))
    assert report.returns.quantiles["0.5"] == pytest.approx(np.median(returns))
    assert sum(report.returns.bin_counts) == 10
    np.testing.assert_allclose(
        report.returns.clicks_per_step, np.mean([episode.rewards for episode in episodes], axis=0)
    )
    assert report.normalized_score == pytest.approx(100 * (returns.mean() - 1) / 8)
    states = np.concatenate([episode.observations[:-1] for episode in episodes])
    actions = np.concatenate([episode.actions for episode in episodes])
    assert report.states is not None and report.actions is not None
    np.testing.assert_allclose(report.states.sd, states.std(axis=0), atol=1e-6)
    np.testing.assert_allclose(report.actions.sd, actions.std(axis=0), atol=1e-6)
    assert report.actions.at_border == pytest.approx((np.abs(actions) == 1).mean())
    assert report.actions.at_border > 0
    eigenvalues = np.linalg.eigvalsh(np.cov(actions.T.astype(np.float64)))
    assert report.actions.effective_dimensions == pytest.approx(np.exp(stats.entropy(eigenvalues)), rel=1e-5)
    assert report.content_hash == compute_content_hash(dataset)


def test_slates_are_counted_without_the_first() -> None:
    dataset = collect_slates(policy=SameSlate())
    report = report_dataset("small/slate-v0", progress=False)
    assert report.states is None and report.actions is None
    slates = report.slates
    assert slates is not None
    assert slates.items.share_shown == 3 / 40
    assert slates.items.effective_number == pytest.approx(np.exp(stats.entropy([3, 1, 1])))
    assert (slates.slates_with_duplicates, slates.duplicates_per_slate) == (1.0, 2.0)
    infos = [episode.infos for episode in dataset.iterate_episodes()]
    clicks = np.concatenate([info["clicks"][1:] for info in infos])
    np.testing.assert_allclose(slates.clicks_per_rank, clicks.mean(axis=0))
    bored = np.concatenate([info["bored"][1:] for info in infos])
    assert slates.bored_steps == pytest.approx(bored.any(axis=1).mean())
    assert slates.bored_topics == pytest.approx(bored.sum(axis=1).mean())
    topics = dataset.recover_environment().unwrapped.catalog.item_topics
    shares = np.bincount(topics[[7, 7, 7, 8, 9]], minlength=10) / 5
    np.testing.assert_allclose(slates.topic_shares, shares)
    clicked = np.bincount(topics[[7, 7, 7, 8, 9]], weights=clicks.sum(axis=0), minlength=10)
    np.testing.assert_allclose(slates.clicked_topic_shares, clicked / clicked.sum())
    curve = slates.item_curve
    assert (len(curve), curve[0], curve[-1]) == (101, 0.0, 1.0)
    assert curve[5] == pytest.approx(0.8) and curve[8] == 1.0  # two items are 5 % of 40


def test_report_is_json_and_a_picture(tmp_path: Path) -> None:
    for recorded in (collect_latents, collect_slates):
        report = report_dataset(recorded(), progress=False)
        shown = json.loads(json.dumps(plain(report.as_dict())))
        assert shown["returns"]["mean"] == report.returns.mean
        draw_report(report, tmp_path / "report.png")
        with Image.open(tmp_path / "report.png") as picture:
            assert min(picture.size) > 500
    one = report_dataset(collect_slates("small/one-v0", episodes=1), progress=False)
    assert plain(one.as_dict())["returns"]["ci95"] is None  # nothing is known of the spread


def test_what_can_not_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="reports must hold at least one report, got none"):
        draw_report([], tmp_path / "report.png")
    report = report_dataset(collect_slates(), progress=False)
    with pytest.raises(ValueError, match=r"path .*report.txt must be a picture"):
        draw_report(report, tmp_path / "report.txt")
    draw_report(report, str(tmp_path / "report.png"))  # type: ignore[arg-type]
    assert (tmp_path / "report.png").exists()


def test_memory_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    from gems_gym.datasets import report as module
    from gems_gym.datasets.reader import read_sessions

    largest = []

    def watched(*arguments, **keywords):
        for sessions in read_sessions(*arguments, **keywords):
            largest.append(len(sessions))
            yield sessions

    monkeypatch.setattr(module, "read_sessions", watched)
    report_dataset(collect_slates(), progress=False)
    assert largest == [4, 4, 2]


def test_other_datasets_are_refused() -> None:
    dataset = collect_slates()
    with pytest.raises(
        ValueError, match=r"unknown local dataset 'small/slat-v0': did you mean 'small/slate-v0'"
    ):
        report_dataset("small/slat-v0")
    dataset.storage.update_metadata({"catalog_hash": "another"})
    with pytest.raises(
        ValueError, match=r"small/slate-v0' was recorded with the catalogue another, but GemsSlate"
    ):
        report_dataset("small/slate-v0", progress=False)


def test_sessions_that_were_recorded_without_us_are_reported() -> None:
    """As Minari's DataCollector does it, which requires jax."""
    env = gymnasium.make(ENV_ID, episode_length=3)
    episodes = []
    for seed in range(2):
        opening = env.reset(seed=seed)[0]
        actions = [env.action_space.sample() for _ in range(3)]
        observations, rewards, terminations, truncations, _ = zip(*map(env.step, actions), strict=True)
        seen = {name: [one[name] for one in (opening, *observations)] for name in opening}
        ends = list(terminations), list(truncations)
        episodes.append(EpisodeBuffer(None, seed, None, seen, actions, list(rewards), *ends))
    minari.create_dataset_from_buffers(
        "mine/random-v0", episodes, env=env, ref_min_score=0.0, ref_max_score=9.0
    )
    report = report_dataset("mine/random-v0", progress=False)
    clicks = np.mean([sum(episode.rewards) for episode in episodes])
    assert (report.env, report.slates, report.actions) == (ENV_ID, None, None)
    assert (report.episodes, report.transitions, report.returns.mean) == (2, 6, clicks)
    read = LoggedSessions.read("mine/random-v0", progress=False)
    assert read.catalog_hash == env.unwrapped.catalog.hash


def test_chunks_of_a_log_may_differ_in_length(tmp_path: Path) -> None:
    """Four sessions of one impression, then two of three."""
    polars = pytest.importorskip("polars")
    users = ["a", "b", "c", "d", "e", "e", "e", "f", "f", "f"]
    rows = {"user": users, "timestamp": range(10), "items": [[1, 2]] * 10, "clicks": [[1, 0]] * 10}
    polars.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    import_log(tmp_path / "log.parquet", preset="lists", dataset_id="small/log-v0", progress=False)
    found = report_dataset("small/log-v0", progress=False).returns
    assert found.clicks_per_step == (1.0, pytest.approx(2 / 6), pytest.approx(2 / 6))
