"""Files that appear under their name only when they are whole."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gems_gym.progress import stderr


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Write a file that replaces ``path`` when the block ends; nothing stays if the block fails.

    Args:
        path: The file; its folders are made, and an existing one is replaced.

    Yields:
        A binary file to write to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        temporary.chmod(0o644)  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:  # Ctrl-C included
        temporary.unlink(missing_ok=True)
        raise


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write a JSON file, whole or not at all."""
    with whole_file(path) as file:
        file.write((json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A file that is no JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except ValueError as error:
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
