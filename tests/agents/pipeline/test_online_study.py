"""A tiny study from its first run to its page, interrupted on the way."""

import dataclasses
import io
import json
import os
import shutil
import signal
import threading
import time
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import gymnasium
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from rich.console import Console

from gems_gym.artifacts.unfinished import STATE_FILE, UNFINISHED_FOLDER
from gems_gym.policies import MemorylessPolicy
from gems_gym.trained_agents import open_trained_agent
from gems_gym_agents.commands.compare import write_results
from gems_gym_agents.pipeline.results import rows_of
from gems_gym_agents.pipeline.running import Selection, run_study
from gems_gym_agents.pipeline.tables import terminal_tables, world_tables
from gems_gym_agents.pipeline.training import WatchedScore
from tests.agents.tiny_study import GEMS, ONLINE, WORLD

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
REFERENCES = [
    "random", "short_term_oracle", "constant_slate", "boredom_aware_oracle", "planner_true_model",
    "planner_true_users", "upper_bound",
]  # fmt: skip


def results_in(folder: Path) -> dict[str, tuple[int, str]]:
    """Result file -> when it was written, and what it holds."""
    files = sorted(folder.rglob("result.json"))
    return {str(file.relative_to(folder)): (file.stat().st_mtime_ns, file.read_text()) for file in files}


def interrupt_when_a_run_is_finished(folder: Path) -> None:
    while not any(folder.glob("small/seed-*/*/result.json")):
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def study_folder(tmp_path_factory):
    """The study, interrupted by Ctrl-C once a run was finished, then gone on with."""
    folder = tmp_path_factory.mktemp("study")
    pressing = threading.Thread(target=interrupt_when_a_run_is_finished, args=(folder,))
    pressing.start()
    with pytest.raises(KeyboardInterrupt):
        run_study(ONLINE, folder, 2)
    pressing.join()
    before = results_in(folder)
    failures = run_study(ONLINE, folder, 2)
    return folder, before, failures


@pytest.fixture(scope="module")
def results(study_folder):
    folder, _, _ = study_folder
    return write_results(ONLINE, folder, "gems-gym compare own")


def test_an_interrupted_study_goes_on_and_repeats_no_finished_run(study_folder, capsys):
    folder, before, failures = study_folder
    after = results_in(folder)
    assert failures == {}
    assert 1 <= len(before) < 4 and len(after) == 4
    assert {file: after[file] for file in before} == before
    assert run_study(ONLINE, folder, 2) == {}
    assert results_in(folder) == after
    assert "4 of 4 runs are finished already" in capsys.readouterr().err
    assert not list(folder.rglob("*.part"))


def test_a_killed_run_begins_again_and_finds_the_same(study_folder, tmp_path):
    folder, _, _ = study_folder
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    (again / "small/seed-0/gems/result.json").unlink()
    assert run_study(Selection(seeds=[0]).of(ONLINE), again) == {}
    first, second = (
        json.loads((one / "small/seed-0/gems/result.json").read_text()) for one in (folder, again)
    )
    for key in ("test", "curve", "averaged", "metrics", "settings", "interactions"):
        assert first[key] == second[key]


def test_the_clock_of_an_interrupted_training_goes_on_with_it(tmp_path):
    def make_users(count):
        return gymnasium.make_vec("GemsSlate-diffuse_topdown-v0", count, autoreset_mode="disabled", **WORLD)

    def score() -> WatchedScore:
        return WatchedScore(make_users, range(3), tmp_path)

    def act(observations):
        return observations["slate"].astype(np.int64)

    first = score()
    first(MemorylessPolicy(act))
    assert 0 < first.cpu_seconds < 60
    clock = tmp_path / UNFINISHED_FOLDER / "cpu_seconds.json"
    clock.write_text('{"seconds": 1000.0}')
    assert score().cpu_seconds < 60  # the agent begins anew
    (tmp_path / UNFINISHED_FOLDER / STATE_FILE).touch()
    assert 1000 <= score().cpu_seconds < 1060
    ended_early = score()
    with pytest.raises(KeyboardInterrupt), ended_early.keeping_time():
        raise KeyboardInterrupt
    assert 1000 < json.loads(clock.read_text())["seconds"] < 1060
    for torn in ("", "1000.0", '{"sec'):
        clock.write_text(torn)
        assert score().cpu_seconds < 60


def test_results_of_other_settings_are_not_mixed(study_folder):
    folder, _, _ = study_folder
    other = dataclasses.replace(GEMS, options={**GEMS.options, "gamma": 0.5})
    study = dataclasses.replace(ONLINE, variants=(other,))
    with pytest.raises(
        ValueError, match=r"other settings: options.gamma=0.8 \(now 0.5\). Choose another --out"
    ):
        run_study(study, folder)


def test_the_parts_are_shared_and_their_time_counts_for_each(study_folder):
    folder, _, _ = study_folder
    stages = {file.name for file in (folder / "small/seed-0/stages").iterdir()}
    assert stages == {"belief.json", "vae.json", "topk_ideal.json"}
    found = [
        json.loads((folder / f"small/seed-0/{name}/result.json").read_text()) for name in ("gems", "ideal")
    ]
    took = json.loads((folder / "small/seed-0/stages/belief.json").read_text())["cpu_seconds"]
    assert [one["cpu_seconds"]["belief"] for one in found] == [took, took]
    assert all(one["cpu_seconds"]["training"] > 0 for one in found)
    assert [one["logged_interactions"] for one in found] == [(2 * 60 + 1_024) * 12, 60 * 12]
    assert found[0]["curve"]["interactions"] == [600, 1200, 1800] == found[1]["curve"]["interactions"]
    assert [one["averaged"]["mean_of"] for one in found] == [2, 2]  # of 1200 and 1800
    assert all(0 < one["averaged"]["score"] < 12 * 12 for one in found)
    beliefs = [(folder / f"small/seed-{seed}/belief.safetensors").read_bytes() for seed in (0, 1)]
    assert beliefs[0] != beliefs[1]
    agent = open_trained_agent(folder / "small/seed-1/ideal")
    assert agent.ranker.kind == "ranker/topk" and agent.record["seed"] == 1


def test_the_rows_are_means_over_seeds_beside_references(study_folder, results):
    rows = {row.policy: row for row in rows_of(results)}
    assert list(rows) == [*REFERENCES, "gems", "ideal"]
    folder, _, _ = study_folder
    tested = [
        json.loads((folder / f"small/seed-{seed}/gems/result.json").read_text())["test"]["mean_return"]
        for seed in (0, 1)
    ]
    assert rows["gems"].mean_return == pytest.approx(np.mean(tested))
    # the t-quantile of one degree of freedom is 12.706; the standard error of two values half their distance
    assert rows["gems"].ci95 == pytest.approx(12.7062 * abs(tested[0] - tested[1]) / 2, rel=1e-4)
    assert rows["random"].normalized_score == 0
    assert rows["boredom_aware_oracle"].normalized_score == pytest.approx(100)
    assert rows["gems"].published == 12.5 and rows["random"].published is None
    assert rows["constant_slate"].interactions == 12_000
    assert {name for name, row in rows.items() if row.privileged} == {
        "short_term_oracle", "boredom_aware_oracle", "planner_true_model", "planner_true_users", "ideal",
    }  # fmt: skip
    worst = [
        json.loads((folder / f"small/seed-{seed}/gems/result.json").read_text())["test"]["worst"]
        for seed in (0, 1)
    ]
    assert rows["gems"].worst == min(worst) < tested[0]
    assert rows["upper_bound"].mean_return > rows["boredom_aware_oracle"].mean_return


def test_tables_have_a_line_for_each_row(results):
    (table,) = world_tables(results)
    assert table.world == "small" and [row[0] for row in table.rows][-2:] == ["gems", "ideal (privileged)"]
    cells = {row[0]: dict(zip(table.header, row, strict=True)) for row in table.rows}
    assert cells["gems"]["interactions"] == "0.00 + 0.01 M"
    assert "(range " in cells["gems"]["seed by seed"]
    assert "±" not in cells["upper_bound"]["clicks per session"]
    assert cells["upper_bound"]["worst session"] == ""
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_tables(results))
    shown = console.export_text()
    assert "all worlds, normalised scores, difference to gems" in shown and "lower decile" in shown
    assert "boredom_aware_oracle *" in shown and "constant_slate" in shown
    assert f"{table.rows[2][1]} " in shown, "a cell was broken over lines"


def test_the_summary_says_what_clicks_are_got_with(study_folder, results):
    folder, _, _ = study_folder
    (summary,) = json.loads((folder / "results.json").read_text())["summary"]
    assert [one["policy"] for one in summary["references"]] == REFERENCES
    gems, ideal = summary["variants"]
    assert gems["runs"] == ideal["runs"] == 2 and ideal["privileged"]
    rows = {row.policy: row for row in rows_of(results)}
    assert gems["mean"]["value"] == pytest.approx(rows["gems"].normalized_score)
    tests = [run["test"] for run in results["runs"] if run["variant"] == "ideal"]
    assert ideal["intra_slate_diversity"] > 0 and ideal["catalogue_coverage"] > 0
    for measure in ("intra_slate_diversity", "catalogue_coverage", "bored_steps", "lower_decile"):
        assert ideal[measure] == pytest.approx(np.mean([test[measure] for test in tests]))
        assert summary["references"][0][measure] > 0 and summary["references"][-1][measure] is None
    assert ideal["against_baseline"]["p_value"] <= ideal["against_baseline"]["p_holm"]
    assert (folder / "trade_off.png").stat().st_size > 5_000
    table = (folder / "table.md").read_text()
    assert "| ideal (privileged) | 2 |" in table and "(trade_off.png)" in table


@pytest.fixture(scope="module")
def generator():
    spec = spec_from_file_location("generate_comparison", ROOT / "docs" / "generate_comparison.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_the_results_alone(study_folder, results, generator, tmp_path):
    folder, _, _ = study_folder
    copied = tmp_path / "runs"
    copied.mkdir()
    shutil.copy(folder / "results.json", copied)
    generator.keep(copied, tmp_path)
    page = (ROOT / "docs" / "comparison.md").read_text()
    kept = tmp_path / "comparison_own.json"
    assert json.loads(kept.read_text()) == results and kept.stat().st_size < 20_000
    assert (tmp_path / "images/comparison_own.png").read_bytes()[:4] == b"\x89PNG"
    text = generator.filled(page, tmp_path)
    mean = np.mean([run["test"]["mean_return"] for run in results["runs"] if run["variant"] == "gems"])
    assert f"| gems | {mean:.1f} ±" in text
    assert "SAC+GeMS diffuse_topdown 12.5" in text
    # every table and every picture is followed by its command
    section = text.split("<!-- generated: own -->")[1].split("<!-- end -->")[0]
    assert section.count("`gems-gym compare own`") == 5
    assert (tmp_path / "images/comparison_own_trade_off.png").is_file()
    assert generator.filled(text, tmp_path) == text
    assert "Not run yet: `gems-gym compare offline`" in generator.filled(text, tmp_path / "empty")


def test_a_study_can_be_measured_in_parts(study_folder, results, generator, tmp_path):
    parts = []
    for part in sorted({(run["variant"], run["seed"], run["world"]) for run in results["runs"]}):
        runs = [run for run in results["runs"] if (run["variant"], run["seed"], run["world"]) == part]
        own = {
            "runs": runs, "command": f"gems-gym compare own --variants {part[0]}",
            "references": {part[2]: results["references"][part[2]]},
            "worlds": [world for world in results["worlds"] if world["name"] == part[2]],
        }  # fmt: skip
        parts.append(results | own)
    for part in parts:
        (tmp_path / "results.json").write_text(json.dumps(part))
        generator.keep(tmp_path, tmp_path)
    kept = json.loads((tmp_path / "comparison_own.json").read_text())
    assert len(parts) == len(results["runs"])
    assert kept["references"] == results["references"]
    assert [world["name"] for world in kept["worlds"]] == [world["name"] for world in results["worlds"]]
    assert kept["runs"] == [run for part in parts for run in part["runs"]]
    assert kept["command"] == parts[0]["command"]
    generator.keep(tmp_path, tmp_path)  # the same part again
    assert json.loads((tmp_path / "comparison_own.json").read_text())["runs"] == kept["runs"]


def test_the_page_is_up_to_date(generator):
    page = (ROOT / "docs" / "comparison.md").read_text()
    assert generator.filled(page, ROOT / "docs") == page


def test_a_folder_of_another_study_is_refused(study_folder, generator, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"study": "mine"}))
    with pytest.raises(ValueError, match="holds the study 'mine'"):
        generator.keep(tmp_path, tmp_path)
