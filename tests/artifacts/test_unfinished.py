"""gems_gym.artifacts.unfinished: what an interruption leaves is resumed, refused with a reason, or made again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.common.files import write_json

SETTINGS = {"steps": 3, "world": {"items": 7, "sizes": (2, 3)}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What an interrupted run left: a state and the result of a stage."""
    folder = tmp_path / ".out.unfinished"
    with pytest.raises(KeyboardInterrupt):
        interrupted(folder)
    return folder


def interrupted(folder: Path) -> None:
    with Unfinished(folder, SETTINGS) as work:
        work.file("log").write_text("sessions")
        work.save({"weights": np.arange(3.0)}, {"step": 1})
        work.save({"weights": np.arange(4.0)}, {"step": 2, "loss": 0.1 + 0.2})
        raise KeyboardInterrupt


def test_the_last_save_and_the_stages_come_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Unfinished(folder, SETTINGS) as work:
        state = work.load()
        assert state is not None
        arrays, values = state
        np.testing.assert_array_equal(arrays["weights"], np.arange(4.0))
        assert values == {"step": 2, "loss": 0.1 + 0.2}
        assert work.file("log").read_text() == "sessions"
    assert "resuming" in capsys.readouterr().err
    assert not folder.exists()


def test_an_interruption_says_what_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        interrupted(tmp_path / "work")
    assert (
        "work keeps what was done: rerun the same command to resume, or give --overwrite to start anew"
        in raised.value.__notes__[0]
    )


def test_nothing_is_left_where_nothing_was_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"), Unfinished(tmp_path / "work", {}):
        raise ValueError("wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 4}, r"with steps=3 \(now 4\); "),
        ({"world": {"items": 8, "sizes": [2, 3]}}, r"with world\.items=7 \(now 8\); "),
        ({"new": 1, "steps": 5}, r"new=None \(now 1\), steps=3 \(now 5\)"),
    ],
)
def test_other_settings_are_refused_by_name(folder: Path, change: dict[str, Any], words: str) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ValueError, match=words), Unfinished(folder, SETTINGS | change):
        raise AssertionError
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    with Unfinished(folder, SETTINGS | change, overwrite=True) as work:
        assert work.load() is None
        assert [file.name for file in folder.iterdir()] == ["settings.json"]


def test_another_version_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "1.0")
    with pytest.raises(ValueError, match=r"versions\.numpy=.* \(now '1\.0'\)"), Unfinished(folder, SETTINGS):
        raise AssertionError


@pytest.mark.parametrize("file", ["settings.json", "state.safetensors"])
@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_damaged_files_are_made_again_with_a_note(
    folder: Path, file: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray((folder / file).read_bytes())
    if damage == "bit":
        data[-2 if file == "settings.json" else -1] ^= 1
    (folder / file).write_bytes({"cut": data[:-3], "bit": data, "empty": b""}[damage])
    with Unfinished(folder, SETTINGS) as work:
        assert work.load() is None
    assert "is damaged" in " ".join(capsys.readouterr().err.split())


def test_half_written_files_of_a_killed_process_are_removed(folder: Path) -> None:
    (folder / ".state.safetensors.x1.part").write_text("half")
    with Unfinished(folder, SETTINGS):
        assert not list(folder.glob("*.part"))
        assert not list(folder.glob(".*.part"))


def test_a_folder_that_was_half_removed_is_no_work_to_resume(folder: Path) -> None:
    (folder / "settings.json").unlink()
    with Unfinished(folder, SETTINGS) as work:
        assert work.load() is None
        assert not work.file("log").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("text")
    (tmp_path / "work").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match="no link"), Unfinished(tmp_path / "work", {}, overwrite=True):
        raise AssertionError
    assert (tmp_path / "other" / "precious").read_text() == "text"


def test_a_device_or_a_folder_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "device")
    (tmp_path / "folder").mkdir()
    for name, words in (("device", "is a device"), ("folder", "is a folder")):
        with pytest.raises(ValueError, match=words):
            Unfinished.of_file(tmp_path / name, {})
        with pytest.raises(ValueError, match=words):
            write_json(tmp_path / name, {})
    assert (tmp_path / "device").is_fifo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["device", "folder"]


def test_one_process_at_a_time(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gems_gym.artifacts.unfinished import Unfinished\n"
        "with Unfinished(Path(sys.argv[1]), {}, overwrite=True): pass"
    )
    command = [sys.executable, "-c", script, str(folder)]
    with Unfinished(folder, SETTINGS) as work:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"another process is at work in {folder}" in done.stderr
        assert work.file("log").exists()
    assert subprocess.run(command, check=False).returncode == 0


def test_a_lock_on_a_removed_folder_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that opened the folder just before another one finished and removed it."""
    folder, opened = tmp_path / "work", []
    real_open = os.open

    def open_and_lose(path: Any, *flags: Any) -> int:
        descriptor = real_open(path, *flags)
        if not opened:
            folder.rmdir()
        opened.append(path)
        return descriptor

    monkeypatch.setattr(os, "open", open_and_lose)
    with Unfinished(folder, {}):
        monkeypatch.undo()
        assert opened.count(folder) == 2
        with pytest.raises(ValueError, match="another process"), Unfinished(folder, {}):
            raise AssertionError


def test_a_result_appears_in_one_step(tmp_path: Path) -> None:
    def save(path: Path) -> str:
        path.write_text("half")
        assert not (tmp_path / "out").exists()
        path.write_text("all")
        return "hash"

    with Unfinished.of_file(tmp_path / "out", {}) as work:
        assert work.folder == tmp_path / ".out.unfinished"
        assert work.publish(save, tmp_path / "out") == "hash"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "all"
