"""Work that may be interrupted: what is done so far is kept in a folder, and the same call, rerun, resumes from it.

The folder holds ``settings.json`` (everything that decides the result), ``state.safetensors`` (arrays and JSON values,
checked by their hash when read) and the files of finished stages. Each appears only when it is complete, so a process
that is killed at any moment leaves a folder to resume from.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from gems_gym.artifacts.files import load_artifact, save_artifact, versions
from gems_gym.common.files import check_replaceable, read_json, write_json
from gems_gym.common.progress import stderr

_SETTINGS, _STATE, _KIND = "settings.json", "state.safetensors", "unfinished/state"


class Unfinished:
    """A folder of unfinished work, to be used in a ``with`` block.

    Within the block the folder is locked: one process at a time does the work. A block that ends without an error
    removes the folder; one that is interrupted or fails leaves it, if anything was kept in it.

    Args:
        folder: Where to keep things; made if need be, in its parent's folder.
        settings: Everything that decides the result, JSON types only. The versions of gems-gym, numpy, scipy and torch
            are added: they decide its bits.
        overwrite: Start anew, whatever an interrupted run left.

    Attributes:
        folder: What was given.
        settings: What was given, as JSON has it.

    Raises:
        ValueError: On entering: the folder holds unfinished work of other settings (the message names those that
            differ), another process works in it, or it is a link.

    Example:
        >>> with Unfinished(Path(".toy.unfinished"), {"steps": 3}) as work:  # doctest: +SKIP
        ...     state = work.load()
        ...     first = 0 if state is None else state[1]["step"]
        ...     for step in range(first, 3):
        ...         work.save({"weights": train(step)}, {"step": step + 1})
        ...     work.publish(result.save, Path("toy.safetensors"))
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.settings: dict[str, Any] = json.loads(json.dumps({**settings, "versions": _versions()}))
        self._overwrite = overwrite
        self._state: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None
        self._lock: int | None = None

    @classmethod
    def of_file(cls, path: Path, settings: Mapping[str, Any], *, overwrite: bool = False) -> Unfinished:
        """The unfinished work on a file, ``.NAME.unfinished`` beside it.

        Raises:
            ValueError: What is there is no ordinary file, so it can't be replaced by one.
        """
        check_replaceable(path)
        return cls(path.with_name(f".{path.name}.unfinished"), settings, overwrite=overwrite)

    def __enter__(self) -> Unfinished:
        self._lock = _locked_folder(self.folder)
        try:
            self._resume_or_start()
        except BaseException:
            self._unlock()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None or not self._has_kept_anything():
                self._clear()
                self.folder.rmdir()
            else:
                error.add_note(
                    f"{self.folder} keeps what was done: rerun the same command to resume, or give --overwrite to "
                    "start anew"
                )
        finally:
            self._unlock()

    def load(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """The arrays and values that were saved last; None if none were."""
        return self._state

    def save(self, arrays: Mapping[str, np.ndarray], values: Mapping[str, Any]) -> None:
        """Replace what was saved before.

        Args:
            arrays: By name; those without dimensions come back with one, of length 1.
            values: JSON types only.
        """
        save_artifact(self.folder / _STATE, _KIND, arrays, {"values": dict(values)})

    def file(self, name: str) -> Path:
        """Where a stage keeps its result, which must appear there only when it is complete."""
        return self.folder / name

    def publish(self, save: Callable[[Path], str], path: Path) -> str:
        """Write the result in the folder and move it to its place, so that a process killed here leaves nothing else.

        Args:
            save: Writes the file that it is given, and returns its sha256.
            path: Its place, on the same file system; an existing file is replaced.

        Returns:
            What ``save`` returned.
        """
        sha256 = save(self.folder / path.name)
        os.replace(self.folder / path.name, path)
        return sha256

    def _resume_or_start(self) -> None:
        recorded = self.folder / _SETTINGS
        for leftover in self.folder.glob(".*.part"):  # of a process that was killed while it wrote
            leftover.unlink()
        if self._overwrite:
            self._clear()
        elif recorded.is_file():
            try:
                before = read_json(recorded)
                differences = differing(before, self.settings)
                if not differences and (self.folder / _STATE).is_file():
                    state = load_artifact(self.folder / _STATE, _KIND)
                    self._state = state.tensors, state.header["values"]
            except (ValueError, AttributeError) as error:  # not by us: a failing disk, or edited by hand
                _note(f"{self.folder} is damaged ({error}): starting anew")
                self._clear()
            else:
                if differences:
                    raise ValueError(
                        f"{self.folder} holds unfinished work with {', '.join(differences)}; give the same settings "
                        f"to resume it, choose another --out, or start anew with --overwrite"
                    )
                if self._has_kept_anything():
                    _note(f"resuming the unfinished work in {self.folder}")
        else:
            self._clear()
        write_json(recorded, self.settings)

    def _has_kept_anything(self) -> bool:
        return any(file.name != _SETTINGS for file in self.folder.iterdir())

    def _clear(self) -> None:
        # The settings first: without them the rest is not taken for something to resume.
        (self.folder / _SETTINGS).unlink(missing_ok=True)
        for entry in self.folder.iterdir():
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _versions() -> dict[str, str]:
    found = versions()
    for name in ("scipy", "torch"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _note(text: str) -> None:
    stderr.print(text, highlight=False, markup=False)


def _locked_folder(folder: Path) -> int:
    """Make and lock a folder; the lock ends with the descriptor that is returned, or with the process."""
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            continue  # removed by a process that has just finished
        except OSError as error:
            raise ValueError(f"{folder} must be a folder, and no link to one: {error.strerror}") from error
        import fcntl  # POSIX only

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ValueError(f"another process is at work in {folder}: wait for its end") from error
        if folder.exists() and os.path.samestat(os.fstat(descriptor), folder.lstat()):
            return descriptor
        os.close(descriptor)  # the lock of a folder that was removed in the meantime protects nothing


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
            yield prefix + name, list(one) if isinstance(one, tuple) else one  # as JSON has it
