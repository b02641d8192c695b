"""Files and folders that appear under their name only when they are finished, and how to remove them safely."""

from __future__ import annotations

import ctypes
import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from gems_gym.common.locks import HAS_FLOCK, LOCK_FILE, InUseError, lock_open_file, locked, remove_unlocked
from gems_gym.common.progress import stderr

_SCRATCH = "gems-gym-scratch-"
_UMASK = os.umask(0o022)
os.umask(_UMASK)  # there is no other way to read it

_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2
_NOT_POSSIBLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file that replaces ``path`` when the block ends; nothing stays if the block fails.

    What a process that was killed left of the same file is removed.

    Args:
        path: The file; its folders are made, and an existing one is replaced.

    Yields:
        A binary file to write to.

    Raises:
        OSError: The file can't be written; it names the file.
        ValueError: ``path`` is there and no ordinary file: a folder, or a device such as ``/dev/null``, which would be
            replaced.
    """
    path = Path(path)
    check_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming_file(path), ExitStack() as at_end:
        descriptor, temporary = _open_temporary(path)
        if HAS_FLOCK:  # the lock lasts as long as one of its descriptors is open
            at_end.callback(os.close, os.dup(descriptor))
        at_end.callback(temporary.unlink, missing_ok=True)  # it is not there any more if all goes well
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Make a folder that gets its name when the block ends; nothing stays if the block fails.

    What a process that was killed left of the same folder is removed.

    Args:
        path: The folder; those that it lies in are made.

    Yields:
        An empty hidden folder beside it, to be filled.

    Raises:
        ValueError: There is something of this name.
        InUseError: Another process makes the folder.
    """
    unfinished = path.with_name(f".{path.name}.unfinished")
    with locked(path.with_name(f".{path.name}.lock"), str(path)):
        if os.path.lexists(path):
            raise ValueError(f"{path} is there already: choose another name, or remove it")
        remove_folder(unfinished)
        unfinished.mkdir()
        try:
            yield unfinished
            unfinished.rename(path)
        finally:
            remove_folder(unfinished)


def _open_temporary(path: Path) -> tuple[int, Path]:
    """Makes a locked file beside another one, and removes those that killed processes left of it."""
    start, end = f".{path.name}.", ".part"
    for leftover in path.parent.glob(f"{glob.escape(start)}????????{end}"):
        remove_unlocked(leftover)
    while True:
        descriptor, name = tempfile.mkstemp(prefix=start, suffix=end, dir=path.parent)
        if lock_open_file(descriptor, Path(name)):
            return descriptor, Path(name)
        os.close(descriptor)  # another process took it for a leftover before it was locked


@contextmanager
def naming_file(path: str | os.PathLike[str]) -> Iterator[None]:
    """Add a file's name to an OSError of the block that names none, as when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        elif error.filename is None:
            raise OSError(f"{path} can't be written: {error}") from error
        raise


def check_replaceable(path: Path) -> None:
    """Raises a ValueError unless a file can be put at a path: nothing is there, or an ordinary file."""
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a device or the like"
        raise ValueError(f"{path} is {what}; the name of a file was expected")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file, complete or not at all."""
    with whole_file(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A file that is no JSON.
    """
    try:
        return json.loads(Path(path).read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} is no JSON file ({error})") from error


def read_json_object(path: str | os.PathLike[str], keys: Iterable[str] = ()) -> dict[str, Any] | None:
    """Read a JSON object that can be made again if it is lost.

    Args:
        path: The file.
        keys: What it must hold.

    Returns:
        The object; None if there is no file, or with a note on stderr if it is damaged: no JSON object, or without
        one of the keys.
    """
    try:
        value = read_json(path)
        if not isinstance(value, dict) or not value.keys() >= set(keys):
            raise ValueError(f"{str(path)!r} is not complete")
    except FileNotFoundError:
        return None
    except ValueError as error:
        stderr.print(f"{error}; it is made again", highlight=False, markup=False)
        return None
    return value


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex; it is not read as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_link(path: Path) -> None:
    """Raises an OSError if a path is a symbolic link: what is cleared or replaced must lie where it seems to."""
    if path.is_symlink():
        raise OSError(
            f"{path} is a symbolic link, which is not followed where files are cleared or replaced: remove it, or put "
            "the folder itself in its place"
        )


def remove_folder(folder: Path) -> None:
    """Removes a folder, if it is there, with all that it holds; of links in it, the links only.

    Raises:
        OSError: If the folder is a symbolic link, or can't be removed.
    """
    refuse_link(folder)
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def is_own_folder(folder: Path) -> bool:
    """Whether a path is a folder, not a link to one, that belongs to this process's user."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())


def exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders of one file system in one step: at no instant is either name without a folder.

    Returns:
        Whether it was possible. Linux and macOS can on most local file systems; where they can't, nothing is done.

    Raises:
        OSError: If one is missing, or they lie on two file systems.
    """
    rename = _exchanging_rename()
    if rename is None:
        return False
    ctypes.set_errno(0)
    if rename(os.fsencode(one), os.fsencode(other)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_POSSIBLE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


@cache
def _exchanging_rename() -> Any:
    """The C library's function for it, of two encoded paths; None if it has none."""
    with suppress(OSError, AttributeError, TypeError):  # TypeError: Windows
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            swap = library.renamex_np
            return lambda one, other: swap(one, other, _RENAME_SWAP)
        rename = library.renameat2
        return lambda one, other: rename(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE)
    return None


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder that is removed at the end of the block, or by a later call if the process is killed.

    Yields:
        The folder, empty but for the file that locks it.
    """
    for leftover in Path(tempfile.gettempdir()).glob(_SCRATCH + "????????"):
        _remove_if_unused(leftover)
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH))
    # Another process may take the new folder for a leftover until it is locked: it is made again then.
    with locked(folder / LOCK_FILE, str(folder), wait=True):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_unused(folder: Path) -> None:
    """Remove a folder that a killed process has left: one with the file that locked it, or an empty one."""
    if not is_own_folder(folder):
        return
    with suppress(OSError, InUseError):
        if not (folder / LOCK_FILE).exists():
            folder.rmdir()
            return
        with locked(folder / LOCK_FILE, str(folder)):
            shutil.rmtree(folder)
