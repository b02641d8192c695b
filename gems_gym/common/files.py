"""Files that appear under their name only when they are finished."""

import glob
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from gems_gym.common.locks import HAS_FLOCK, lock_open_file, remove_unlocked
from gems_gym.common.progress import stderr


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
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)


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
