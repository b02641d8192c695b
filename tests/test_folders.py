"""Folders are exchanged in one step, removed without following links, and cleaned up after killed processes."""

import os
import tempfile
from pathlib import Path

import pytest

from gems_gym.common.files import exchange, is_own_folder, refuse_link, remove_folder, scratch_folder
from tests.processes import held_elsewhere, in_another_process, is_killed, kill_myself


def filled(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").write_text(text)
    return folder


def test_two_folders_are_exchanged(tmp_path: Path) -> None:
    one, other = filled(tmp_path / "one", "1"), filled(tmp_path / "other", "2")
    if not exchange(one, other):
        pytest.skip("this file system can't exchange folders")
    assert ((one / "file").read_text(), (other / "file").read_text()) == ("2", "1")
    with pytest.raises(FileNotFoundError, match="'.*one' -> '.*missing'"):
        exchange(one, tmp_path / "missing")


def test_removing_follows_no_link(tmp_path: Path) -> None:
    victim = filled(tmp_path / "victim", "precious")
    folder = filled(tmp_path / "folder", "")
    (folder / "link").symlink_to(victim)
    remove_folder(folder)
    assert not folder.exists()
    remove_folder(folder)  # which isn't there
    folder.symlink_to(victim)
    assert not is_own_folder(folder)
    assert is_own_folder(victim)
    for refused in (remove_folder, refuse_link):
        with pytest.raises(OSError, match="folder is a symbolic link"):
            refused(folder)
    assert (victim / "file").read_text() == "precious"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp"


def test_a_scratch_folder_goes_at_the_end(temporary: Path) -> None:
    with scratch_folder() as folder:
        (folder / "file").touch()
        assert folder.stat().st_mode & 0o077 == 0
    assert list(temporary.iterdir()) == []


def _killed_with_a_scratch_folder() -> None:
    with scratch_folder() as folder:
        (folder / "file").touch()
        kill_myself()


def test_the_next_one_removes_those_of_killed_processes_only(temporary: Path, tmp_path: Path) -> None:
    victim = filled(tmp_path / "victim", "precious")
    (temporary / "gems-gym-scratch-link5678").symlink_to(victim)
    filled(temporary / "others", "")
    filled(temporary / "gems-gym-checkout", "my own")
    filled(temporary / "gems-gym-scratch-mine5678", "my own")
    assert is_killed(in_another_process(_killed_with_a_scratch_folder))
    assert len(list(temporary.iterdir())) == 5
    with held_elsewhere(scratch_folder, tmp_path):
        living = {one.name for one in temporary.iterdir()}
        assert len(living) == 5  # it has removed the killed one's
        with scratch_folder() as own:
            assert {one.name for one in temporary.iterdir()} == {*living, own.name}
    with scratch_folder() as own:
        assert {one.name for one in temporary.iterdir()} == {
            "gems-gym-scratch-link5678", "others", "gems-gym-checkout", "gems-gym-scratch-mine5678", own.name
        }  # fmt: skip
    assert (victim / "file").read_text() == "precious"
    if os.geteuid() == 0:  # another user's
        os.chown(filled(temporary / "gems-gym-scratch-else5678", ""), 12345, 12345)
        with scratch_folder():
            assert (temporary / "gems-gym-scratch-else5678/file").exists()
