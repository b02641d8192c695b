"""The state of unfinished work as files: the same call resumes it, and ends with the same result.

Whatever takes long keeps its state in a folder of its own: ``state.safetensors`` (settings, arrays and JSON values,
checked by their hash when read) and the files that the state names or finished steps left. Each appears only when it
is complete, so that work killed at any moment resumes from the last state that was saved. The state says which
settings it belongs to; work with others is refused, and told which differ.

A training in a directory keeps its state in ``DIRECTORY/unfinished`` until its result is saved; the making of a file,
:func:`making`, in ``.NAME.unfinished`` beside the file until that is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import numpy as np

from gems_gym.artifacts.files import Artifact, ArtifactError, load_artifact, save_artifact, versions
from gems_gym.common.files import check_replaceable, refuse_link, remove_folder
from gems_gym.common.locks import locked
from gems_gym.common.progress import stderr

UNFINISHED_FOLDER = "unfinished"
"""Where a training's directory keeps what an interrupted one resumes from."""

STATE_FILE = "state.safetensors"
"""The file in that folder without which there is nothing to resume."""

_KIND = "unfinished/state"
_START_ANEW = (
    "choose another place, or start anew with --overwrite (from Python: "
    "gems_gym.artifacts.unfinished.discard_unfinished)"
)


def is_unfinished(directory: Path) -> bool:
    """Whether a directory holds the state of a training, which the same call resumes."""
    return (Path(directory) / UNFINISHED_FOLDER / STATE_FILE).is_file()


def discard_unfinished(directory: Path) -> None:
    """Remove what an interrupted training in a directory would resume from; the next one there starts anew.

    Raises:
        OSError: What would be removed is a symbolic link.
    """
    Unfinished(Path(directory) / UNFINISHED_FOLDER, {}).discard()


class Unfinished:
    """The state of unfinished work in a folder.

    Args:
        folder: Where the state is; ``None`` saves nothing.
        settings: Everything that decides the result, JSON types only.

    Attributes:
        folder: What was given.
        settings: What was given, as JSON has it.

    Raises:
        OSError: The folder is a symbolic link.
    """

    def __init__(self, folder: Path | None, settings: Mapping[str, Any]) -> None:
        if folder is not None:
            refuse_link(folder)  # files in it are removed, and what is there is trusted
        self.folder = folder
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self._has_arrays = False

    @classmethod
    def within(cls, directory: Path | None, settings: Mapping[str, Any]) -> Self:
        """That of a run whose folder this is; ``None`` saves nothing."""
        return cls(None if directory is None else Path(directory) / UNFINISHED_FOLDER, settings)

    @property
    def keeps_something(self) -> bool:
        """Whether there is a state that was read or saved by this object, or another file."""
        files = [] if self.folder is None else self.folder.glob("*")
        return self._has_arrays or any(one.name != STATE_FILE and one.suffix != ".part" for one in files)

    @contextmanager
    def resuming(self) -> Iterator[Artifact | None]:
        """Read the state, and what it names within the block.

        Yields:
            The state that was saved last; ``None`` if there is none. Arrays without dimensions have one, of length 1.

        Raises:
            ValueError: The state belongs to other settings (the message names those that differ), or a file was altered
                or removed.
        """
        if self.folder is None or not (self.folder / STATE_FILE).is_file():
            yield None
            return
        try:
            state = load_artifact(self.folder / STATE_FILE, "unfinished")
            if "arguments" not in state.header:
                raise ArtifactError(f"{state.path} was written by an earlier version of gems-gym")
            if differences := ", ".join(differing(state.header["arguments"], self.settings)):
                raise ValueError(
                    f"{self.folder} holds an unfinished run with {differences}; give the same settings to resume it, "
                    f"{_START_ANEW}"
                )
            self._has_arrays = bool(state.tensors)
            yield state if state.tensors else None
        except (ArtifactError, FileNotFoundError) as error:
            raise ValueError(f"the unfinished run can't be resumed: {error}; {_START_ANEW}") from error

    def save(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
        """Replace the state, once the other files that it needs are there.

        Args:
            arrays: Arrays by name.
            values: JSON-able values; they are found in the state's header.
        """
        if self.folder is not None:
            self._has_arrays = True
            save_artifact(self.folder / STATE_FILE, _KIND, arrays, {"arguments": self.settings, **values})

    def file(self, name: str) -> Path:
        """Where a finished step keeps its result, which must appear there only when it is complete."""
        assert self.folder is not None
        return self.folder / name

    def publish(self, save: Callable[[Path], str], path: Path) -> str:
        """Write the result in the folder and move it to its place, so that a process killed here leaves nothing else.

        Args:
            save: Writes the file that it is given, and returns its sha256.
            path: Its place, on the same file system; an existing file is replaced.

        Returns:
            What ``save`` returned.
        """
        sha256 = save(self.file(path.name))
        os.replace(self.file(path.name), path)
        return sha256

    def discard(self) -> None:
        """Remove the folder: there is nothing worth resuming."""
        if self.folder is not None:
            refuse_link(self.folder)
            # first what makes the rest something to resume, so that half of it is never taken for all
            (self.folder / STATE_FILE).unlink(missing_ok=True)
            remove_folder(self.folder)


@contextmanager
def making(path: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Iterator[Unfinished]:
    """The unfinished work on a file, in ``.NAME.unfinished`` beside it; one process at a time does it.

    A block that ends without an error removes the folder; one that is interrupted or fails leaves it, if anything was
    kept in it.

    Args:
        path: The file.
        settings: Everything that decides the result, JSON types only. The versions of gems-gym, numpy, scipy and torch
            are added: they decide its bits.
        overwrite: Start anew, whatever an interrupted run left.

    Raises:
        ValueError: What is there is no ordinary file, so it can't be replaced by one; or as
            :meth:`Unfinished.resuming`.
        InUseError: Another process makes the file.
        OSError: The folder is a symbolic link.

    Example:
        >>> with making(Path("toy.safetensors"), {"steps": 3}) as work:  # doctest: +SKIP
        ...     with work.resuming() as state:
        ...         first = 0 if state is None else state.header["step"]
        ...     for step in range(first, 3):
        ...         work.save({"weights": train(step)}, {"step": step + 1})
        ...     work.publish(result.save, Path("toy.safetensors"))
    """
    check_replaceable(path)
    folder = path.with_name(f".{path.name}.unfinished")
    work = Unfinished(folder, {**settings, "versions": _versions()})
    with locked(path.with_name(f".{path.name}.lock"), str(path)):
        if overwrite or not (folder / STATE_FILE).is_file():  # without it the rest is not something to resume
            work.discard()
        with work.resuming():  # refuses what is of other settings
            pass
        if work.keeps_something:
            stderr.print(f"resuming the unfinished run in {folder}", highlight=False, markup=False)
        else:
            # so that the settings are there before anything else
            save_artifact(folder / STATE_FILE, _KIND, {}, {"arguments": work.settings})
        try:
            yield work
        except BaseException as error:
            if work.keeps_something:
                without = " without --overwrite" if overwrite else ""
                error.add_note(
                    f"{folder} keeps what was done: rerun the same command{without} to resume, or give --overwrite to "
                    "start anew"
                )
            else:
                work.discard()
            raise
        work.discard()


def _versions() -> dict[str, str]:
    found = versions()
    for name in ("scipy", "torch"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two nested dicts, in words: ``options.beta=0.2 (now 1.0)``."""
    one, other = dict(_flat(before)), dict(_flat(now))
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return [f"{name}={one.get(name)!r} (now {other.get(name)!r})" for name in names]


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, one in value.items():
        if isinstance(one, dict):
            yield from _flat(one, f"{prefix}{name}.")
        else:
            yield prefix + name, one
