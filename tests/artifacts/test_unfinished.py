"""gems_gym.artifacts.unfinished: what an interruption leaves is resumed, or refused with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import load_artifact, save_artifact
from gems_gym.artifacts.unfinished import STATE_FILE, Unfinished, making
from gems_gym.common.files import write_json

SETTINGS = {"steps": 3, "world": {"items": 7, "sizes": (2, 3)}}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A file whose making was interrupted: a state and the result of a step are kept."""
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def folder(out: Path) -> Path:
    return out.with_name(".out.unfinished")


def interrupted(out: Path, saves: int = 2) -> None:
    with making(out, SETTINGS) as work:
        work.file("log").write_text("sessions")
        for step in range(1, saves + 1):
            work.save({"weights": np.arange(step + 2.0)}, {"step": step, "loss": 0.1 + 0.2})
        raise KeyboardInterrupt


def is_new(work: Unfinished) -> bool:
    with work.resuming() as state:
        return state is None


def test_the_last_save_and_the_steps_come_back(
    out: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with making(out, SETTINGS) as work, work.resuming() as state:
        assert state is not None
        np.testing.assert_array_equal(state.tensors["weights"], np.arange(4.0))
        assert (state.header["step"], state.header["loss"]) == (2, 0.1 + 0.2)
        assert work.file("log").read_text() == "sessions"
    assert "resuming" in capsys.readouterr().err
    assert not folder.exists()


def test_a_step_is_resumed_from_before_the_first_save(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path / "out", saves=0)
    with (
        pytest.raises(ValueError, match=r"steps=3 \(now 4\)"),
        making(tmp_path / "out", SETTINGS | {"steps": 4}),
    ):
        raise AssertionError
    with making(tmp_path / "out", SETTINGS) as work:
        assert is_new(work) and work.file("log").read_text() == "sessions"


def test_an_interruption_says_what_is_kept(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        interrupted(tmp_path / "work")
    assert (
        "work.unfinished keeps what was done: rerun the same command to resume, or give --overwrite to start anew"
        in raised.value.__notes__[0]
    )


def test_nothing_is_left_where_nothing_was_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wrong"), making(tmp_path / "out", {}):
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
def test_other_settings_are_refused_by_name(
    out: Path, folder: Path, change: dict[str, Any], words: str
) -> None:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(ValueError, match=words), making(out, SETTINGS | change):
        raise AssertionError
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    with making(out, SETTINGS | change, overwrite=True) as work:
        assert is_new(work)
        assert [file.name for file in folder.iterdir()] == [STATE_FILE]


def test_another_version_is_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "1.0")
    with pytest.raises(ValueError, match=r"versions\.numpy=.* \(now '1\.0'\)"), making(out, SETTINGS):
        raise AssertionError


@pytest.mark.parametrize("damage", ["cut", "bit", "empty"])
def test_a_damaged_state_is_refused_until_it_is_to_be_overwritten(
    out: Path, folder: Path, damage: str
) -> None:
    data = bytearray((folder / STATE_FILE).read_bytes())
    if damage == "bit":
        data[-1] ^= 1
    (folder / STATE_FILE).write_bytes({"cut": data[:-3], "bit": data, "empty": b""}[damage])
    with pytest.raises(ValueError, match="can't be resumed: .*--overwrite"), making(out, SETTINGS):
        raise AssertionError
    with making(out, SETTINGS, overwrite=True) as work:
        assert is_new(work)


def test_a_folder_of_an_earlier_version_is_refused(out: Path, folder: Path) -> None:
    """It kept the settings in a file of their own."""
    write_json(folder / "settings.json", SETTINGS)
    save_artifact(
        folder / STATE_FILE, "unfinished/state", {"weights": np.arange(3.0)}, {"values": {"step": 1}}
    )
    with (
        pytest.raises(ValueError, match="by an earlier version of gems-gym; .*--overwrite"),
        making(out, SETTINGS),
    ):
        raise AssertionError


def test_a_training_of_an_earlier_version_is_resumed(tmp_path: Path) -> None:
    """Its kind of state had a name of its own."""
    header = {"arguments": {"seed": 1}, "step": 4}
    save_artifact(tmp_path / STATE_FILE, "unfinished/sac", {"weights": np.arange(3.0)}, header)
    with Unfinished(tmp_path, {"seed": 1}).resuming() as state:
        assert state is not None and state.header["step"] == 4


def test_a_folder_that_was_half_removed_is_no_work_to_resume(out: Path, folder: Path) -> None:
    (folder / STATE_FILE).unlink()
    with making(out, SETTINGS) as work:
        assert is_new(work) and not work.file("log").exists()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / STATE_FILE).write_text("text")
    (tmp_path / ".out.unfinished").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="is a symbolic link"), making(tmp_path / "out", {}, overwrite=True):
        raise AssertionError
    assert (tmp_path / "other" / STATE_FILE).read_text() == "text"


def test_a_device_or_a_folder_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "device")
    (tmp_path / "folder").mkdir()
    for name, words in (("device", "is a device"), ("folder", "is a folder")):
        with pytest.raises(ValueError, match=words), making(tmp_path / name, {}):
            raise AssertionError
        with pytest.raises(ValueError, match=words):
            write_json(tmp_path / name, {})
    assert (tmp_path / "device").is_fifo()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["device", "folder"]


def test_one_process_at_a_time(out: Path, folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from gems_gym.artifacts.unfinished import making\n"
        "with making(Path(sys.argv[1]), {}, overwrite=True): pass"
    )
    command = [sys.executable, "-c", script, str(out)]
    with making(out, SETTINGS) as work:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert f"{out} is being written by another process, {os.getpid()}" in done.stderr
        assert work.file("log").exists()
    assert subprocess.run(command, check=False).returncode == 0
    assert not list(out.parent.iterdir())


def test_a_result_appears_in_one_step(tmp_path: Path) -> None:
    def save(path: Path) -> str:
        path.write_text("half")
        assert not (tmp_path / "out").exists()
        path.write_text("all")
        return "hash"

    with making(tmp_path / "out", {}) as work:
        assert work.folder == tmp_path / ".out.unfinished"
        assert work.publish(save, tmp_path / "out") == "hash"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "all"


def test_only_what_was_saved_is_in_the_state(folder: Path) -> None:
    assert set(load_artifact(folder / STATE_FILE, "unfinished").tensors) == {"weights"}
