"""One writer at a time: locks that end with the process that holds them, however it ends.

A lock is a file that its holder keeps locked (``flock``), and removes at the end. Where the platform or the file system
has no ``flock``, whoever creates the file holds the lock: there, a process that is killed leaves a file that a user
has to remove, and the error says so.
"""

from __future__ import annotations

import errno
import os
import platform
import shlex
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HAS_FLOCK = fcntl is not None
"""Whether the platform has locks that end with their process; a file system may lack them all the same."""

LOCK_FILE = ".lock"
"""Name of the file that locks the folder it lies in."""

_OPEN = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
_NO_FLOCK = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
_SECONDS_BETWEEN_ATTEMPTS = 0.02
_ATTEMPTS = 1_000
"""After so many, a folder that isn't there was not removed by another process, but can't be made."""
_NAME_LENGTH = 200


class InUseError(ValueError):
    """Another process, or another thread of this one, holds a lock; the message names it."""


@contextmanager
def locked(file: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock for the length of the block.

    Args:
        file: The lock's file, there while the lock is held. Its folder is made if need be.
        what: What only one may write at a time; the error begins with it, e.g. ``"--out runs/a"``.
        wait: Waits while another holds the lock.

    Raises:
        InUseError: If another holds the lock, without ``wait``.
        OSError: If the file can't be made, or is a symbolic link, which is not followed.
    """
    descriptor = _acquire(file, what, wait)
    try:
        yield
    finally:
        _release(file, descriptor)


@contextmanager
def locked_folder(folder: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock of a folder for the length of the block.

    Args:
        folder: Made if need be, and removed again if it was made here and is empty at the end.
        what: As in :func:`locked`.
        wait: As in :func:`locked`.

    Raises:
        InUseError: As in :func:`locked`.
        OSError: If the folder can't be made or written to.
    """
    made_here = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        with locked(folder / LOCK_FILE, what, wait=wait):
            yield
    finally:
        with suppress(OSError):  # it holds something now
            for one in made_here:
                one.rmdir()


def lock_open_file(descriptor: int, file: Path) -> bool:
    """Locks an open file until it is closed, where that is possible.

    Args:
        descriptor: The open file.
        file: The name that it was opened by.

    Returns:
        Whether the name still stands for the open file, and no other holds its lock.
    """
    with suppress(OSError):
        _flock(descriptor)
        return _is_named(descriptor, file)
    return False


def remove_unlocked(file: Path) -> None:
    """Removes a file unless a process holds its lock, or it can't be known, or it can't be removed."""
    with suppress(OSError):
        descriptor = os.open(file, _OPEN)
        try:
            if _flock(descriptor) and _is_named(descriptor, file):
                file.unlink()
        finally:
            os.close(descriptor)


def _acquire(file: Path, what: str, wait: bool) -> int:
    missed = 0
    while True:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _attempt(file, what)
        except FileNotFoundError as error:  # another process has removed the file, or its folder, right now
            missed += 1
            if missed == _ATTEMPTS:
                raise FileNotFoundError(f"{what} can't be written: {file.parent} can't be made") from error
            continue
        except FileExistsError as error:  # likewise, or it is no folder
            if _is_no_folder(file.parent):
                raise NotADirectoryError(f"{what} can't be written: {file.parent} is not a folder") from error
            continue
        except InUseError:
            if not wait:
                raise
            time.sleep(_SECONDS_BETWEEN_ATTEMPTS)
            continue
        with suppress(OSError):  # the name is for messages only; the disk may be full
            os.truncate(descriptor, 0)
            os.write(descriptor, _own_name().encode())
        return descriptor


def _is_no_folder(path: Path) -> bool:
    """Whether something else than a folder is there; looked at once, as another process may remove a folder."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    return not (stat.S_ISDIR(mode) or (stat.S_ISLNK(mode) and path.is_dir()))


def _attempt(file: Path, what: str) -> int:
    """Opens and locks the file.

    Raises:
        InUseError: Another holds the lock.
        FileNotFoundError: The file was removed while it was being locked.
    """
    try:
        descriptor, created = os.open(file, _OPEN | os.O_CREAT | os.O_EXCL, 0o644), True
    except FileExistsError:
        descriptor, created = _open_existing(file), False
    try:
        if not _flock(descriptor) and not created:
            raise _in_use(file, what, f"; if that process has ended, remove {file}")
        if not _is_named(descriptor, file):
            raise FileNotFoundError(file)
    except BlockingIOError:
        os.close(descriptor)
        raise _in_use(file, what) from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _open_existing(file: Path) -> int:
    try:
        return os.open(file, _OPEN)
    except OSError as error:
        if file.is_symlink():
            raise OSError(
                f"{file} is a symbolic link, which is not followed when something is locked: remove it"
            ) from error
        raise


def _flock(descriptor: int) -> bool:
    """Locks an open file; False where there are no such locks.

    Raises:
        BlockingIOError: Another holds the lock.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    return True


def _is_named(descriptor: int, file: Path) -> bool:
    """Whether a name stands for an open file: a lock on a file that was removed keeps no process out."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(file))
    except FileNotFoundError:
        return False


def _release(file: Path, descriptor: int) -> None:
    """Removes the file before the lock ends, so that whoever is waiting finds out that it was removed."""
    named = _is_named(descriptor, file)
    if not HAS_FLOCK:  # Windows removes no open file
        os.close(descriptor)
    with suppress(OSError):
        if named:
            file.unlink()
    if HAS_FLOCK:
        os.close(descriptor)


def _own_name() -> str:
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return f"{os.getpid()} on {platform.node()} ({command})"[:_NAME_LENGTH]


def _in_use(file: Path, what: str, hint: str = "") -> InUseError:
    holder = ""
    with suppress(OSError):
        text = file.read_bytes()[:_NAME_LENGTH].decode(errors="replace")
        holder = "".join(character for character in text if character.isprintable())
    return InUseError(
        f"{what} is being written by another process{holder and f', {holder}'}: wait for its end, or choose "
        f"another{hint}"
    )
