"""Locks keep other processes out, say who holds them, and end with their process."""

import errno
import os
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from gems_gym.common import locks
from gems_gym.common.locks import InUseError, locked, locked_folder
from tests.processes import held_elsewhere, in_another_process


def test_a_second_process_is_kept_out_and_told_by_whom(tmp_path: Path) -> None:
    folder = tmp_path / "runs/a"
    with held_elsewhere(lambda: locked_folder(folder, "--out runs/a"), tmp_path) as holder:
        with pytest.raises(InUseError, match="^--out runs/a is being written by another process") as refused:
            locked_folder(folder, "--out runs/a").__enter__()
        assert str(holder.pid) in str(refused.value)
        assert f"({Path(sys.argv[0]).name}" in str(refused.value)  # its command
        assert "\n" not in str(refused.value)
    with locked_folder(folder, "--out runs/a"):  # it was killed
        pass


def test_a_folder_that_never_comes_into_being_is_no_reason_to_try_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def makes_nothing(path: Path, **_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))  # as in /proc

    monkeypatch.setattr(Path, "mkdir", makes_nothing)
    with (
        pytest.raises(FileNotFoundError, match=r"^--out a can't be written: .*/a can't be made$"),
        locked_folder(tmp_path / "a", "--out a"),
    ):
        pass


def test_another_thread_is_kept_out_too(tmp_path: Path) -> None:
    refused = []

    def attempt() -> None:
        try:
            locked_folder(tmp_path, "it").__enter__()
        except InUseError as error:
            refused.append(error)

    with locked_folder(tmp_path, "it"):
        thread = threading.Thread(target=attempt)
        thread.start()
        thread.join()
    assert len(refused) == 1


def _take_turns(folder: Path, shared: Path, turns: int) -> None:
    for _ in range(turns):
        with locked_folder(folder, "it", wait=True):
            # fails if another process is in here
            os.close(os.open(shared / "alone", os.O_CREAT | os.O_EXCL))
            count = int((shared / "count").read_text())
            time.sleep(0.0005)
            (shared / "count").write_text(str(count + 1))
            (shared / "alone").unlink()
        with suppress(OSError):
            folder.rmdir()


def test_it_is_never_held_twice_although_its_folder_comes_and_goes(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    processes = [in_another_process(_take_turns, tmp_path / "folder", tmp_path, 60) for _ in range(4)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "240"


def test_a_lock_on_a_file_that_was_removed_keeps_nobody_out(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with locked(file, "it"):
        file.unlink()
        with locked(file, "it"):
            assert file.exists()
        with locked(file, "it"):
            pass
    assert not file.exists()


def test_a_lock_that_another_takes_between_opening_and_locking_is_not_held_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, flock = tmp_path / "lock", locks.fcntl.flock
    with ExitStack() as other:

        def late(descriptor: int, operation: int) -> None:
            monkeypatch.undo()
            file.unlink()  # the holder until now ends, and another one begins
            other.enter_context(locked(file, "it"))
            flock(descriptor, operation)

        monkeypatch.setattr(locks.fcntl, "flock", late)
        with pytest.raises(InUseError):
            locked(file, "it").__enter__()


def test_folders_that_were_made_for_it_go_and_others_stay(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "x/y", "it"):
        assert (tmp_path / "x/y").is_dir()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    with locked_folder(tmp_path / "mine", "it"):
        pass
    with locked_folder(tmp_path / "filled", "it"):
        (tmp_path / "filled/result").touch()
    assert sorted(one.name for one in tmp_path.rglob("*")) == ["filled", "mine", "result"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"\.lock is a symbolic link"):
        locked_folder(tmp_path / "run", "it").__enter__()
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_file_in_the_folders_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(NotADirectoryError, match="--out run can't be written: .*run is not a folder"):
        locked_folder(tmp_path / "run", "--out run").__enter__()


def _unsupported(*_: object) -> None:
    raise OSError(errno.ENOTSUP, "Operation not supported")


@pytest.mark.parametrize("lacking", ["platform", "file system"])
def test_without_flock_the_file_itself_is_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    if lacking == "platform":
        monkeypatch.setattr(locks, "fcntl", None)
        monkeypatch.setattr(locks, "HAS_FLOCK", False)
    else:
        monkeypatch.setattr(locks.fcntl, "flock", _unsupported)
    with locked_folder(tmp_path, "it"):
        with pytest.raises(InUseError, match=r"if that process has ended, remove .*\.lock"):
            locked_folder(tmp_path, "it").__enter__()
        assert (tmp_path / ".lock").exists()
    with locked_folder(tmp_path, "it"):
        pass
    assert list(tmp_path.iterdir()) == []
