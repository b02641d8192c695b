"""A tiny study of agents that learn from a dataset: final, peak, behaviour, |Q|."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("minari")
pytest.importorskip("d3rlpy")

from gems_gym.commands import program as cli
from gems_gym.datasets import collect
from gems_gym_agents.commands.compare import write_results
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.offline import divergence, loop
from gems_gym_agents.pipeline import training
from gems_gym_agents.pipeline.results import offline_rows_of
from gems_gym_agents.pipeline.running import run_study, runs_of
from gems_gym_agents.pipeline.runs import OfflineRun, recorded_returns
from gems_gym_agents.pipeline.studies import STUDIES
from gems_gym_agents.pipeline.tables import q_tables, world_tables
from gems_gym_agents.training_world import dataset_world
from tests.agents.tiny_study import offline_study
from tests.datasets.small_world import NoisyLatents, collect_latents

DATASET = "small/diffuse_topdown/medium-v0"


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The study's folder; its runs are played in this process, which loads d3rlpy once."""
    folder = tmp_path_factory.mktemp("offline")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(folder / "minari"))
        dataset = collect_latents(DATASET, episodes=40)
        study = offline_study(DATASET, ("bc", "td3_plus_bc"))
        for run in runs_of(study, folder / "out"):
            run.play()
        assert run_study(study, folder / "out") == {}  # nothing is left to do
        yield folder / "out", study, dataset


def result(played, variant, seed=0):
    return json.loads((played[0] / f"small-medium/seed-{seed}/{variant}/result.json").read_text())


def test_every_log_has_the_score_and_q_against_its_bound(played):
    history = result(played, "td3_plus_bc_brief")["history"]
    assert history["step"] == [10, 20, 30]
    assert len(set(history["q_bound"])) == 1 and min(history["q_bound"]) > 0
    assert all(value > 0 for value in history["q_abs_max"] + history["score"])
    assert result(played, "bc_brief")["history"]["q_bound"] == [None] * 3


def test_an_interrupted_run_is_resumed_with_the_same_result(played, tmp_path, monkeypatch):
    """Interrupted in training, and after it: the last policy, which no score follows any more, is still tested."""
    study = offline_study(DATASET, ("td3_plus_bc",))
    (run,) = (one for one in runs_of(study, tmp_path) if one.seed == 0)
    for module, name, call in ((training, "write_json", 3), (OfflineRun, "test", 1)):
        with monkeypatch.context() as patched:
            original, calls = getattr(module, name), []

            def interrupted(*arguments, original=original, calls=calls, call=call):
                calls.append(1)
                if len(calls) == call:
                    raise KeyboardInterrupt
                return original(*arguments)

            patched.setattr(module, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                run.play()
        assert (run.folder / "unfinished").is_dir()
    run.play()
    assert not (run.folder / "unfinished").exists()
    found = json.loads((run.folder / "result.json").read_text())
    expected = result(played, "td3_plus_bc_brief")
    for key in ("test", "final", "history", "difference_to_behaviour"):
        assert found[key] == expected[key]


def test_the_behaviour_is_paired_by_recorded_user(played):
    _, _, dataset = played
    seeds, returns = recorded_returns(dataset, 1_000)
    assert len(set(seeds)) == len(returns) == 40
    some, of_some = recorded_returns(dataset, 5)
    assert set(some) < set(seeds) and some[0] == seeds[0] and some[-1] == seeds[-1]
    assert of_some.tolist() == [returns[seeds.index(seed)] for seed in some]
    world, _ = dataset_world(DATASET)
    # the behaviour itself, played again, clicks what was recorded: the users and their randomness are the same
    again = evaluate(NoisyLatents(), world.users(40, autoreset_mode="disabled"), seeds)
    np.testing.assert_array_equal(again.returns, returns)
    found = result(played, "bc_brief")
    recorded = recorded_returns(dataset, 30)[1]
    assert found["behaviour"]["mean_return"] == pytest.approx(recorded.mean())
    assert set(found["difference_to_behaviour"]) == {"peak", "final"}


def test_the_rows_and_their_table(played):
    folder, study, dataset = played
    results = write_results(study, folder, "gems-gym compare offline")
    rows = {row.policy: row for row in offline_rows_of(results)}
    both = [result(played, "td3_plus_bc_brief", seed) for seed in (0, 1)]
    row = rows["td3_plus_bc_brief"]
    assert row.by_seed == tuple(one["test"]["mean_return"] for one in both)
    assert row.final[0] == pytest.approx(np.mean([one["final"]["mean_return"] for one in both]))
    assert row.difference[0] == pytest.approx(
        np.mean([one["difference_to_behaviour"]["peak"]["mean"] for one in both])
    )
    largest = max(max(one["history"]["q_abs_max"]) / one["history"]["q_bound"][0] for one in both)
    assert row.q_share == pytest.approx(largest) and 0 < largest < 10
    assert rows["bc_brief"].q_share is None
    (summary,) = results["summary"]
    assert summary["group"] == "medium" and summary["baseline"] == "bc_brief"
    scores = {one["policy"]: one["mean"]["value"] for one in (*summary["references"], *summary["variants"])}
    assert list(scores) == ["random", "boredom_aware_oracle", "behaviour", "bc_brief", "td3_plus_bc_brief"]
    low, high = (float(dataset.storage.metadata[f"ref_{end}_score"]) for end in ("min", "max"))
    assert scores["td3_plus_bc_brief"] == pytest.approx(100 * (row.peak[0] - low) / (high - low))
    assert (scores["random"], scores["boredom_aware_oracle"]) == (0, 100)
    (table,) = world_tables(results)
    assert len(table.rows) == 2 and all(len(line) == len(table.header) for line in table.rows)
    assert (folder / "curves.png").stat().st_size > 10_000
    assert "| bc_brief |" in (folder / "table.md").read_text()

    assert q_tables(results) == []  # of studies that are long enough
    for run in results["runs"]:
        run["history"]["step"] = [10_000, 50_000, 100_000]
    first, *_, last = zip(
        *(both[0]["history"][key] for key in ("q_abs_max", "q_bound", "score")), strict=True
    )
    results["runs"] = [run for run in results["runs"] if run["seed"] == 0]
    ((name, *cells),) = q_tables(results)[0].rows
    assert name == "td3_plus_bc_brief"
    expected = [text for q, bound, score in (first, last) for text in (f"{q / bound:.2f}", f"{score:.1f}")]
    assert cells == expected


def test_what_a_training_had_learned_before_it_diverged_counts(played, tmp_path, monkeypatch):
    def stopped_at_20(history):
        if history[-1]["step"] == 20:
            divergence._stop(history[-1], "for long over")

    monkeypatch.setattr(loop, "check_sane", stopped_at_20)
    study = replace(offline_study(DATASET, ("td3_plus_bc",)), seeds=(0,))
    (run,) = runs_of(study, tmp_path)
    run.play()
    found, whole = run.result(), result(played, "td3_plus_bc_brief")
    assert found["diverged"].startswith("step 20: |Q| reaches") and whole["diverged"] is None
    assert found["history"]["q_abs_max"] == whole["history"]["q_abs_max"][:2]
    assert found["history"]["score"] == [whole["history"]["score"][0], None]
    (row,) = offline_rows_of(write_results(study, tmp_path, "gems-gym compare offline"))
    assert row.diverged == 1
    assert f"{row.q_share:.2f} (1 of 1 stopped)" in (tmp_path / "table.md").read_text()


def test_a_dataset_of_another_world_or_of_slates_is_refused(played, tmp_path):
    collect(
        "GemsSlate-diffuse_mix-v0", "random", dataset_id="small/mix-v0", episodes=2, seed=0, progress=False,
        env_kwargs={"episode_length": 3}, reference_scores=(1.0, 9.0),
    )  # fmt: skip
    with pytest.raises(ValueError, match="slate"):
        run_study(offline_study("small/mix-v0", ("bc",)), tmp_path)


def test_the_command_says_which_dataset_is_missing(played, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "sys.argv", ["gems-gym", "compare", "offline", "--datasets", "mine/{preset}/{level}-v0"]
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "no local dataset 'mine/diffuse_topdown/medium-v0'" in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())
    assert [world.level for world in STUDIES["offline"].worlds] == ["medium", "expert"]
