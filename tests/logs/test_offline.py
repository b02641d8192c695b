"""Offline agents learn from an imported log, are asked for slates, and estimated on its later sessions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from gems_gym.beliefs import GruBelief, load_belief
from gems_gym.datasets import EpisodeBatch, open_dataset
from gems_gym.datasets.derive import subset
from gems_gym.datasets.relabelling import relabel
from gems_gym.datasets.verify import verify_dataset
from gems_gym.logs import fit_log, import_log, read_items
from gems_gym.rankers import WknnRanker, load_ranker
from gems_gym.serving import open_policy

QUIET: dict[str, Any] = {"progress": False}
LOG = "my/log-v0"


def write_log(users: int = 120) -> None:
    """Slates of 2 to 4 items of 12; users click the first two items wherever they are."""
    rng, rows = np.random.default_rng(0), []
    for user in range(users):
        for step in range(int(rng.integers(1, 6))):
            slate = rng.permutation(12)[: int(rng.integers(2, 5))]
            clicks = [int(item < 2 and rng.random() < 0.8) for item in slate]
            rows.append((f"u{user}", f"s{user}", 1_000 * user + step, [f"i{item}" for item in slate], clicks))
    table = pl.DataFrame(rows, schema=["user", "session", "timestamp", "items", "clicks"], orient="row")
    import_log(table, dataset_id=LOG, preset="lists", time_unit="s", **QUIET)


@pytest.fixture
def fitted(tmp_path: Path) -> Path:
    write_log()
    fit_log(LOG, tmp_path / "fit", batches=5, **QUIET)
    return tmp_path / "fit"


def make_latent(fitted: Path, source: str = LOG, made: str = "my/latents-v0") -> Any:
    parts = {"belief": fitted / "belief.safetensors", "dataset_id": made}
    return relabel(source, fitted / "ranker.safetensors", **parts, **QUIET)


def test_a_log_becomes_a_latent_dataset(fitted: Path) -> None:
    made, log = make_latent(fitted), open_dataset(LOG)
    assert made.env_spec is None
    assert made.total_steps == log.total_steps
    assert made.storage.metadata["derived_from"]["sources"][0]["dataset_id"] == LOG
    assert set(made.storage.metadata["derived_from"]["reconstruction"]) == {"slots", "slates"}
    assert read_items(made).equals(read_items(LOG))
    found = verify_dataset(made, **QUIET)
    assert found.passed, found.failures

    ranker, belief = (load_ranker(fitted / "ranker.safetensors"), load_belief(fitted / "belief.safetensors"))
    for latent, logged in zip(made.iterate_episodes(), log.iterate_episodes(), strict=True):
        seen = logged.observations
        slates = np.where(seen["mask"], seen["slate"], -1)
        state = belief.initial(1)  # before the first slate nobody has seen anything
        np.testing.assert_array_equal(latent.observations[0], belief.read(state)[0])
        for step in range(1, len(slates)):
            state = belief.update(state, slates[step : step + 1], seen["clicks"][step : step + 1])
            np.testing.assert_array_equal(latent.observations[step], belief.read(state)[0])
        np.testing.assert_array_equal(latent.actions, ranker.encode(slates[1:], seen["clicks"][1:]))
        np.testing.assert_array_equal(latent.rewards, logged.rewards)


def test_a_ranker_of_other_items_is_refused(fitted: Path) -> None:
    with pytest.raises(ValueError, match=r"ranker \(a ranker/gems\) was made for the catalogue"):
        relabel(LOG, "gems-diffuse_mix", belief="gru-diffuse_mix", dataset_id="my/latents-v0", **QUIET)


def test_earlier_and_later_sessions_have_none_in_common(fitted: Path) -> None:
    earlier = subset(LOG, earliest=0.75, dataset_id="my/earlier-v0", **QUIET)
    later = subset(LOG, latest=0.25, dataset_id="my/later-v0", **QUIET)
    assert (earlier.total_episodes, later.total_episodes) == (90, 30)
    times = [[one.infos["time"][0] for one in part.iterate_episodes()] for part in (earlier, later)]
    assert max(times[0]) < min(times[1])
    assert read_items(later).equals(read_items(LOG))
    for part in (earlier, later):
        found = verify_dataset(part, **QUIET)
        assert found.passed, found.failures
    with pytest.raises(ValueError, match="by earliest alone.*got episodes=3, earliest=0.5"):
        subset(LOG, earliest=0.5, episodes=3, dataset_id="my/some-v0", **QUIET)
    with pytest.raises(ValueError, match="too few for a share"):
        subset(
            subset(LOG, episodes=1, dataset_id="my/one-v0", **QUIET),
            latest=0.5,
            dataset_id="my/no-v0",
            **QUIET,
        )


@pytest.mark.parametrize(("earliest", "latest"), [(0.9, 0.1), (0.7, 0.3)])  # 1 - 0.9 is not 0.1
def test_earlier_and_later_sessions_leave_none_out(earliest: float, latest: float) -> None:
    columns = {"user": range(15), "timestamp": range(15), "items": [["a", "b"]] * 15, "clicks": [[0, 1]] * 15}
    import_log(pl.DataFrame(columns), dataset_id=LOG, **QUIET)
    parts = (
        subset(LOG, earliest=earliest, dataset_id="my/earlier-v0", **QUIET),
        subset(LOG, latest=latest, dataset_id="my/later-v0", **QUIET),
    )
    times = [one.infos["time"][0] for part in parts for one in part.iterate_episodes()]
    assert times == [1000 * second for second in range(15)]


def test_a_long_session_does_not_fill_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    from gems_gym.datasets import reader, sessions

    steps = [1] * 20 + [300] + [1] * 20
    rows = [
        (f"u{user:02}", second, ["a"], [1]) for user, count in enumerate(steps) for second in range(count)
    ]
    names = ["user", "timestamp", "items", "clicks"]
    import_log(pl.DataFrame(rows, schema=names, orient="row"), dataset_id=LOG, **QUIET)
    monkeypatch.setattr(sessions, "sessions_at_once", lambda size, most: max(1, 10_000 // size))
    read = list(reader.read_sessions(open_dataset(LOG), "reading", progress=False))
    assert [length for part in read for length in part.lengths] == steps
    assert sum(part.rewards.size for part in read) < 400
    batch = EpisodeBatch.from_minari(LOG, progress=False)
    assert batch.rewards.shape == (41, 300)
    assert batch.rewards.sum() == sum(steps)


def test_a_ranker_that_knows_no_empty_slots_relabels_whole_slates() -> None:
    names = ["user", "timestamp", "items", "clicks"]
    whole = [(user, step, ["a", "b"], [0, 1]) for user in range(6) for step in range(1 + user % 3)]

    def relabelled(rows: list[Any]) -> Any:
        import_log(pl.DataFrame(rows, schema=names, orient="row"), dataset_id=LOG, overwrite=True, **QUIET)
        items = str(open_dataset(LOG).storage.metadata["items_sha256"])
        ranker = WknnRanker(np.array([[0.1, 0.9], [0.8, -0.2]]), 2, items, k=1)
        belief = GruBelief.random(num_items=2, slate_size=2, catalog_hash=items, seed=0, size=3)
        return relabel(LOG, ranker, belief=belief, dataset_id="my/latents-v0", overwrite=True, **QUIET)

    made = relabelled(whole)
    assert made.storage.metadata["derived_from"]["reconstruction"] == {"slots": 1.0, "slates": 1.0}
    found = verify_dataset(made, **QUIET)
    assert found.passed, found.failures
    with pytest.raises(ValueError, match="is not known here"):
        relabelled([*whole, (9, 9, ["a"], [1])])


def run(*words: object) -> None:
    from gems_gym.commands.program import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gems-gym", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code


@pytest.mark.parametrize("agent", ["bc", "iql", "decision_transformer"])
def test_an_agent_learns_from_a_log_without_a_world(
    agent: str, fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_latent(fitted)
    small = {"decision_transformer": ["--option", "context=3", "--option", "layers=1"]}
    out = tmp_path / "agent"
    run("train", agent, "--dataset", "my/latents-v0", "--steps", 20, *small.get(agent, []), "--out", out)
    assert "the last policy is kept" in capsys.readouterr().err
    record = json.loads((out / "agent.json").read_text())
    assert record["env"] is None
    assert record["validation_return"] is None

    served = open_policy(str(out), items=read_items(LOG)["item"].to_list())
    first = served.recommend([])
    assert len(set(first)) == 4
    history = [{"slate": first.tolist(), "clicks": [1, 0, 0, 0]}]
    assert served.recommend_all([[], history])[0].tolist() == first.tolist()

    run("ope", "my/latents-v0", out, "random", "--estimator", "dm", "--json")
    found = json.loads(capsys.readouterr().out)["policies"][str(out)]
    assert 0 < found["dm"]["value"] < 10


@pytest.mark.slow
def test_fqe_estimates_by_the_latents_of_a_log(
    fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_latent(fitted)
    out = tmp_path / "agent"
    run("train", "bc", "--dataset", "my/latents-v0", "--steps", 20, "--out", out)
    capsys.readouterr()
    run("ope", "my/latents-v0", out, "--estimator", "fqe", "--json")
    found = json.loads(capsys.readouterr().out)
    assert 0 <= found["policies"][str(out)]["fqe"]["value"] < 10


def test_what_is_shown_on_a_log_is_what_is_recommended(fitted: Path, tmp_path: Path) -> None:
    from gems_gym_agents.ope.logs import EvaluationLog
    from gems_gym_agents.ope.policies import find_policy
    from gems_gym_agents.ope.replay import replay

    make_latent(fitted)
    run("train", "bc", "--dataset", "my/latents-v0", "--steps", 20, "--out", tmp_path / "agent")
    log = EvaluationLog.of_dataset(LOG, progress=False)
    maker = find_policy(str(tmp_path / "agent"), None, log.seen.catalog_hash)
    slates = replay(log, {"agent": maker}, progress=False)["agent"].slates
    served = open_policy(str(tmp_path / "agent"))
    for session in range(10):
        seen, row = log.seen[session : session + 1], log.seen.starts[session] - session
        history = []
        for step in range(log.lengths[session]):
            np.testing.assert_array_equal(served.recommend(history), slates[row + step])
            there = seen.shown[step + 1]
            history.append({"slate": seen.slates[step + 1, there], "clicks": seen.clicks[step + 1, there]})
    with pytest.raises(ValueError, match=r"history\[0\].clicks holds 1; its slate has 2 items"):
        served.recommend([{"slate": [1, 2], "clicks": [0]}])
    with pytest.raises(ValueError, match=r"history\[0\].slate holds 5; slates of the policy have 4 items"):
        served.recommend([{"slate": [1, 2, 3, 4, 5], "clicks": [0, 0, 0, 0, 0]}])
    with pytest.raises(ValueError, match="item ids mean other items there"):
        find_policy("expert-diffuse_mix", None, log.seen.catalog_hash)


def test_slates_are_no_latents(fitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        run("train", "bc", "--dataset", LOG, "--steps", 2, "--out", tmp_path / "agent")
    assert "gems-gym dataset relabel my/log-v0" in capsys.readouterr().err


def test_a_fitted_world_has_validation_users(fitted: Path, tmp_path: Path) -> None:
    from gems_gym.logs import fit_world

    make_latent(fitted)
    fit_world(LOG, tmp_path / "world", batches=5, **QUIET)
    file = tmp_path / "world" / "world.safetensors"
    world = [
        "--env",
        "GemsSlate-fitted-v0",
        "--env-option",
        f"world={file}",
        "--env-option",
        "episode_length=3",
    ]
    out = tmp_path / "agent"
    run(
        "train",
        "bc",
        "--dataset",
        "my/latents-v0",
        *world,
        "--steps",
        2,
        "--validation-users",
        4,
        "--out",
        out,
    )
    assert open_policy(str(out)).recommend([]).shape == (4,)
    assert EpisodeBatch.from_minari("my/latents-v0", progress=False).lengths.max() == 5
