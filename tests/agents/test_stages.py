"""Stages are reused only if nothing that their result depends on has changed, and say why if not."""

import json

import pytest

from gems_gym_agents import stages
from gems_gym_agents.stages import Stages

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
        return Stages(tmp_path).run("thing", settings, ["file"], make, modules=MODULES)["count"]

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
    del record["key"]["code"], record["key"]["cpu"]
    file.write_text(json.dumps(record))
    assert run() == 2
    assert "not recorded, now" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("torn", ["", '{"key": {"set', "[]", '{"key": 1}', "null"])
def test_a_torn_record_is_replaced_with_a_note(run, tmp_path, capsys, torn):
    assert run() == 1
    file = tmp_path / "stages" / "thing.json"
    file.write_text(torn)
    assert [run(), run()] == [2, 2]
    assert "thing.json" in capsys.readouterr().err.replace("\n", "")
