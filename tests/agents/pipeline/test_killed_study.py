"""A study whose driver is killed, files that a crash tore, and results of other code."""

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("stable_baselines3")

from gems_gym.artifacts.unfinished import STATE_FILE, UNFINISHED_FOLDER
from gems_gym_agents.commands.compare import write_results
from gems_gym_agents.pipeline.results import collect_results
from gems_gym_agents.pipeline.running import finished_runs, run_study, runs_of
from gems_gym_agents.pipeline.tables import markdown_section
from tests.agents.tiny_study import IDEAL, ONLINE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SHORT = dataclasses.replace(IDEAL, steps=600)
STUDY = dataclasses.replace(ONLINE, variants=(SHORT,), seeds=(0,))
LONG = dataclasses.replace(
    STUDY,
    variants=(dataclasses.replace(IDEAL, steps=1_000_000, options={**IDEAL.options, "validate_every": 500}),),
)
RUN = "small/seed-0/ideal"
STARTED = (
    "from tests.agents.pipeline import test_killed_study as t; t.run_study(t.{study}, t.Path({folder!r}), 1)"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    assert run_study(STUDY, folder) == {}
    return folder


@pytest.fixture
def study(finished, tmp_path):
    """A copy of the finished study to damage."""
    return Path(shutil.copytree(finished, tmp_path / "study"))


def result_in(folder: Path) -> dict:
    return json.loads((folder / RUN / "result.json").read_text())


def start(study: str, folder: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", STARTED.format(study=study, folder=str(folder))]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def processes_that_hold(folder: Path) -> list[int]:
    """Processes with an open file in the folder."""
    found = []
    for descriptors in Path("/proc").glob("[0-9]*/fd"):
        try:
            files = [str(one.readlink()) for one in descriptors.iterdir()]
        except OSError:  # it has ended
            continue
        if any(file.startswith(str(folder)) for file in files):
            found.append(int(descriptors.parent.name))
    return found


def wait_for(condition, seconds: float) -> float:
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < seconds, "it took too long"
        time.sleep(0.01)
    return time.monotonic() - begun


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_what_a_killed_study_leaves_ends_within_a_second_and_a_rerun_resumes(tmp_path):
    folder = tmp_path / "study"
    driver = start("LONG", folder)
    state = folder / RUN / UNFINISHED_FOLDER / STATE_FILE
    wait_for(state.is_file, 120)
    assert processes_that_hold(folder)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    took = wait_for(lambda: not processes_that_hold(folder), 5)
    assert took < 1, f"orphans lived for {took:.1f} s"
    before = state.stat().st_mtime_ns
    again = start("LONG", folder)
    try:
        wait_for(lambda: state.stat().st_mtime_ns > before, 120)
        assert "begins again" not in (folder / RUN / "log.txt").read_text()
    finally:
        again.kill()
        again.wait()
        wait_for(lambda: not processes_that_hold(folder), 5)


def test_two_studies_in_one_folder_make_everything_once(tmp_path):
    folder = tmp_path / "study"
    both = [start("STUDY", folder) for _ in range(2)]
    assert [one.wait(240) for one in both] == [0, 0]
    notes = (folder / "small/seed-0/belief.log").read_text()
    assert notes.count("belief …") == 1 and notes.count("belief: reusing") >= 1
    assert result_in(folder)["interactions"] == 600
    assert not list(folder.rglob(".*"))


def test_a_torn_result_is_made_again_with_a_note(study, capsys):
    """What else a record may hold: test_stages.py."""
    before = result_in(study)
    (study / RUN / "result.json").write_text('{"test": {"mean_ret')
    assert run_study(STUDY, study) == {}
    assert result_in(study)["test"] == before["test"]
    assert "result.json" in capsys.readouterr().err.replace("\n", "")


def unfinished(study: Path) -> None:
    """Make the finished run an unfinished one, whose state nobody can resume from."""
    (study / RUN / "result.json").unlink()
    (study / RUN / UNFINISHED_FOLDER).mkdir(exist_ok=True)
    (study / RUN / UNFINISHED_FOLDER / STATE_FILE).touch()


def test_a_torn_key_of_an_unfinished_training_is_replaced(study):
    before = result_in(study)
    unfinished(study)
    (study / RUN / UNFINISHED_FOLDER / "key.json").write_text('{"set')
    assert run_study(STUDY, study) == {}
    assert result_in(study)["test"] == before["test"]
    assert "key.json" in (study / RUN / "log.txt").read_text().replace("\n", "")
    assert not (study / RUN / UNFINISHED_FOLDER).exists()


def test_torn_references_are_measured_again(study):
    file = study / "small/references.json"
    before = json.loads(file.read_text())["policies"]["random"]["mean_return"]
    file.write_text("{")
    assert run_study(STUDY, study) == {}
    assert json.loads(file.read_text())["policies"]["random"]["mean_return"] == before


def test_results_say_what_made_them(study):
    result = result_in(study)
    assert len(result["code"]) == 12 and result["cpu"] and result["processor"]
    belief = study / "small/seed-0/stages/belief.json"
    assert result["parts"]["belief"] == json.loads(belief.read_text())["files"]["belief.safetensors"]
    record = json.loads((study / RUN / "agent.json").read_text())
    assert len(record["code"]) == 12 and record["cpu"] == result["cpu"]
    shown = markdown_section(
        collect_results(STUDY, study, "gems-gym compare own"), "picture.png", "other.png"
    )
    assert f"code {result['code']} on {result['processor']} ({result['cpu']})." in shown


def test_results_of_other_code_are_marked_and_made_again_on_demand(study, capsys):
    file, result = study / RUN / "result.json", result_in(study)
    file.write_text(json.dumps({**result, "code": "0123456789ab"}))
    assert run_study(STUDY, study) == {}
    note = " ".join(capsys.readouterr().err.split())
    assert "1 of 1 finished runs were made by other code" in note and "small ideal seed 0" in note
    results = write_results(STUDY, study, "gems-gym compare own")
    assert "code 0123456789ab on" in (study / "table.md").read_text()
    old = {key: value for key, value in results["runs"][0].items() if key not in ("code", "cpu", "processor")}
    assert "code and type of processor not recorded: 1 runs" in markdown_section(
        {**results, "runs": [*results["runs"], old]}, "picture.png", "other.png"
    )
    assert run_study(STUDY, study, rerun_stale=True) == {}
    assert result_in(study)["code"] == result["code"] and result_in(study)["test"] == result["test"]


def test_results_of_other_settings_are_left_out_with_a_note(study, capsys):
    """They may be of variants that are not asked for; to run one of these again is an error."""
    other = dataclasses.replace(STUDY, variants=(dataclasses.replace(SHORT, steps=601),))
    assert finished_runs(other, study) == []
    assert "small ideal seed 0 is left out" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ValueError, match="steps=600"):
        run_study(other, study)


def test_references_of_other_code_are_named_and_measured_again_on_demand(study, capsys):
    file = study / "small/references.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "code": "0123456789ab"}))
    assert run_study(STUDY, study) == {}
    note = " ".join(capsys.readouterr().err.split())
    assert "small references were measured by other code" in note
    assert run_study(STUDY, study, rerun_stale=True) == {}
    assert json.loads(file.read_text())["code"] == record["code"]


def test_an_unfinished_training_of_other_code_begins_again(study):
    (run,) = runs_of(STUDY, study)
    key = run.stage.key
    unfinished(study)
    (study / RUN / UNFINISHED_FOLDER / "key.json").write_text(json.dumps({**key, "code": "0123456789ab"}))
    assert run_study(STUDY, study) == {}
    assert "begins again" in (study / RUN / "log.txt").read_text()
