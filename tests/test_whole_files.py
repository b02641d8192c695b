"""A file is whole or not there, killed writers leave nothing for long, and errors name the file."""

import errno
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gems_gym.common.files import naming_file, whole_file, write_json
from tests.processes import held_elsewhere, in_another_process, is_killed, kill_myself


def _killed_while_writing(path: Path) -> None:
    with whole_file(path) as file:
        file.write(b"half")
        file.flush()
        kill_myself()


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


def test_what_a_killed_writer_left_goes_with_the_next_writing(tmp_path: Path) -> None:
    path = tmp_path / "result[1].json"
    write_json(path, 1)
    for _ in range(2):
        assert is_killed(in_another_process(_killed_while_writing, path))
    others = ".other.json.abcdefgh.part"
    (tmp_path / others).touch()
    assert path.read_text() == "1\n"
    assert len(names(tmp_path)) == 3  # the second one has removed the first one's
    write_json(path, 2)
    assert names(tmp_path) == [others, "result[1].json"]
    assert path.read_text() == "2\n"


def test_a_living_writer_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with held_elsewhere(lambda: whole_file(path), tmp_path):
        write_json(path, 1)
        assert len(names(tmp_path)) == 2
    with whole_file(path) as first:
        first.write(b"first")
        write_json(path, 2)
        assert path.read_text() == "2\n"
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["result.json"]


def test_a_leftover_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    link = tmp_path / ".result.json.abcdefgh.part"
    link.symlink_to(tmp_path / "victim")
    write_json(tmp_path / "result.json", 1)
    assert (tmp_path / "victim").read_text() == "precious"


def test_an_error_of_the_system_names_the_file() -> None:
    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: 'a/b'$"), naming_file("a/b"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(FileNotFoundError, match="'other'"), naming_file("a/b"):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "other")
    with (
        pytest.raises(OSError, match=r"^a/b can't be written: 4096 requested and 0 written$"),
        naming_file("a/b"),
    ):
        raise OSError("4096 requested and 0 written")


def _write(path: Path) -> None:
    with whole_file(path) as file:
        np.savez(file, numbers=np.zeros(10**6))


def _write_within(size: int, path: Path, told: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    try:
        _write(path)
    except OSError as error:
        told.write_text(str(error))


def test_a_file_that_grows_too_large_is_named(tmp_path: Path) -> None:
    path = tmp_path / "out/numbers.npz"
    in_another_process(_write_within, 10_000, path, tmp_path / "told").join()
    assert (tmp_path / "told").read_text() == f"[Errno 27] File too large: '{path}'"
    assert names(path.parent) == []


@pytest.mark.parametrize("write", [_write, lambda path: write_json(path, "x" * 10**6)])
def test_a_small_disk_is_told_with_the_file(small_disk: Path, write: Callable[[Path], None]) -> None:
    with pytest.raises(OSError, match=rf"^\[Errno 28\] No space left on device: '{small_disk}/numbers'$"):
        write(small_disk / "numbers")
    assert names(small_disk) == []
