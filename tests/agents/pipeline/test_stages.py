"""Stages are reused only if nothing that their result depends on has changed, and say why if not."""

import json
import threading
import time

import pytest

from gems_gym.artifacts.unfinished import STATE_FILE, UNFINISHED_FOLDER
from gems_gym_agents.pipeline import stages
from gems_gym_agents.pipeline.stages import Stage

MODULES = ["gems_gym.config"]


@pytest.fixture
def run(tmp_path):
    """Runs a stage that counts how often it was made."""

    def make() -> dict[str, int]:
        file = tmp_path / "made"
        count = len(file.read_text()) if file.exists() else 0
        file.write_text("x" * (count + 1))
        (tmp_path / "file").write_text("made")
        return {"count": count + 1}

    def once(**settings) -> int:
        return Stage("thing", tmp_path, settings, MODULES, ["file"]).run(make)["count"]

    return once


def test_a_stage_is_reused_until_its_settings_or_its_files_change(run, tmp_path, capsys):
    assert [run(size=1), run(size=1), run(size=2)] == [1, 1, 2]
    (tmp_path / "file").write_text("altered")
    assert run(size=2) == 3
    notes = capsys.readouterr().err
    assert "thing: reusing what is there" in notes
    assert "its settings, or what it builds on, changed" in notes
    assert "it is incomplete, or was altered" in notes


@pytest.mark.parametrize(
    ("part", "text"), [("code", "other code made it"), ("cpu", "on another type of processor")]
)
def test_a_stage_of_other_code_or_another_processor_is_made_again(run, monkeypatch, capsys, part, text):
    assert run() == 1
    before = stages.made_by(*MODULES)
    monkeypatch.setattr(stages, "made_by", lambda *modules: {**before, part: "other"})
    assert [run(), run()] == [2, 2]
    notes = " ".join(capsys.readouterr().err.split())
    assert f"{text} ({before[part]}, now other)" in notes


def test_a_record_from_before_code_was_recorded_is_not_trusted(run, tmp_path, capsys):
    assert run() == 1
    file = tmp_path / "stages" / "thing.json"
    record = json.loads(file.read_text())
    del record["code"], record["cpu"]
    file.write_text(json.dumps(record))
    assert run() == 2
    assert "thing.json' is not complete; it is made again" in capsys.readouterr().err.replace("\n", "")


@pytest.mark.parametrize("torn", ["", '{"key": {"set', "[]", "[1]", "{}", '{"key": 1}', "null"])
def test_a_torn_record_is_replaced_with_a_note(run, tmp_path, capsys, torn):
    assert run() == 1
    file = tmp_path / "stages" / "thing.json"
    file.write_text(torn)
    assert [run(), run()] == [2, 2]
    assert "thing.json" in capsys.readouterr().err.replace("\n", "")


def test_a_result_of_other_settings_is_refused_and_of_other_code_is_stale(tmp_path, monkeypatch):
    def stage(**settings) -> Stage:
        return Stage("thing", tmp_path, settings, MODULES, record_name="result.json")

    assert stage(size=1).kept() is None
    record = stage(size=1).make(lambda: {"count": 1, "cpu_seconds": {"training": 2.0}})
    assert json.loads((tmp_path / "result.json").read_text()) == record == stage(size=1).kept()
    assert record["cpu_seconds"] == {"training": 2.0} and "files" not in record
    assert not stage(size=1).is_stale(record)
    with pytest.raises(ValueError, match=r"other settings: size=1 \(now 2\). Choose another --out"):
        stage(size=2).kept()
    monkeypatch.setattr(stages, "made_by", lambda *modules: {"code": "other", "cpu": record["cpu"]})
    assert stage(size=1).is_stale(record) and stage(size=1).kept() == record


def test_an_unfinished_training_is_kept_for_the_same_key_only(tmp_path, capsys):
    state = tmp_path / "agent" / UNFINISHED_FOLDER / STATE_FILE
    for size, kept in ((1, False), (1, True), (2, False)):
        Stage("thing", tmp_path, {"size": size}, MODULES).resume_in(tmp_path / "agent")
        assert state.exists() == kept
        state.touch()
    assert capsys.readouterr().err.count("begins again") == 1


def test_another_process_makes_it_once(run, tmp_path):
    """The second waits, and reuses what the first has made."""
    counts: list[int] = []
    with Stage("thing", tmp_path, {}, MODULES).locked():
        waiting = threading.Thread(target=lambda: counts.append(run()))
        waiting.start()
        time.sleep(0.1)
        assert counts == []
    waiting.join()
    assert counts == [1] == [run()]
