"""Folders that are replaced in one step, and removed without following links."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from gems_gym.common.locks import LOCK_FILE, InUseError, locked

_SCRATCH = "gems-gym-"
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2
_NOT_POSSIBLE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


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
    for leftover in Path(tempfile.gettempdir()).glob(_SCRATCH + "*"):
        _remove_if_unused(leftover)
    folder = Path(tempfile.mkdtemp(prefix=_SCRATCH))
    # Another process may take the new folder for a leftover until it is locked: it is made again then.
    with locked(folder / LOCK_FILE, str(folder), wait=True):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_if_unused(folder: Path) -> None:
    if is_own_folder(folder):
        with suppress(OSError, InUseError), locked(folder / LOCK_FILE, str(folder)):
            shutil.rmtree(folder)
