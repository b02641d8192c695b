"""Stages, by which the pipeline resumes: each makes one result, and reuses it while nothing it depends on changed."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gems_gym import __version__
from gems_gym.artifacts.unfinished import UNFINISHED_FOLDER, differing, discard_unfinished, is_unfinished
from gems_gym.commands.output import note, plain
from gems_gym.common.files import file_sha256, read_json_object, write_json
from gems_gym.common.fingerprints import cpu_type, made_by
from gems_gym.common.locks import locked

_CHANGES = {
    "settings": "its settings, or what it builds on, changed",
    "gems_gym": "another version of gems-gym made it",
    "code": "other code made it",
    "cpu": "it was made on another type of processor",
}
_KEY_FILE = "key.json"


@dataclass(frozen=True)
class Stage:
    """One step of a pipeline, whose result is kept on disk and reused while its key stays the same.

    The *key* is what the result depends on: settings, version of gems-gym, code, and type of processor. The *record*
    is a JSON file that appears when the result is complete. It holds

    * what the work returned,
    * the key,
    * ``files``: sha256 of each file that the work wrote, by its name,
    * ``fingerprint``: a hash of the key and the files; a stage that uses this result has it among its settings,
    * ``seconds`` and ``cpu_seconds`` (of all threads), unless the work returned its own,
    * ``machine`` and ``processor``, for the reader.

    Attributes:
        name: Its name in messages.
        directory: Folder of the record and of ``files``.
        settings: Everything that decides the result, besides code and processor; JSON types. Include the
            ``fingerprint`` of each stage whose result is used.
        modules: The modules that do the work, see :func:`gems_gym.common.fingerprints.code_fingerprint`.
        files: The files that the work writes, relative to the directory.
        record_name: Path of the record, relative to the directory; None for ``stages/NAME.json``.
    """

    name: str
    directory: Path
    settings: Mapping[str, Any]
    modules: Collection[str]
    files: Sequence[str] = ()
    record_name: str | None = None

    @property
    def record(self) -> Path:
        """Path of the record."""
        return self.directory / (self.record_name or f"stages/{self.name}.json")

    @cached_property
    def key(self) -> dict[str, Any]:
        """What a result that is made now depends on; a kept result is compared with it."""
        found: dict[str, Any] = plain(
            {"settings": dict(self.settings), "gems_gym": __version__, **made_by(*self.modules)}
        )
        return found

    def run(
        self,
        work: Callable[[], Mapping[str, Any]],
        still_there: Callable[[Mapping[str, Any]], bool] = lambda record: True,
    ) -> dict[str, Any]:
        """Reuse the kept result if its key and its files are unchanged; do the work otherwise.

        Waits while another process runs the same stage.

        Args:
            work: Makes the result; returns what the record shall hold of it, in JSON types.
            still_there: Whether what a record describes still exists, where ``files`` can't tell, such as a dataset.

        Returns:
            The record.
        """
        with self.locked():
            kept = read_json_object(self.record, (*_CHANGES, "seconds", "cpu_seconds", "fingerprint"))
            if kept is not None:
                reason = self._reason_to_repeat(kept, still_there(kept))
                if reason is None:
                    note(f"{self.name}: reusing what is there (made in {kept['seconds']:.0f} s)")
                    return kept
                note(f"{self.name}: not reusing what is there: {reason}")
            return self.make(work)

    def make(self, work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Do the work, even if there is a kept result, and return the record."""
        self.discard()
        note(f"{self.name} …")
        start, cpu_start = time.perf_counter(), time.process_time()
        result = work()
        took = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu_start}
        hashes = self._hashes()
        made = {
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            "processor": cpu_type()["processor"],
            "fingerprint": hashlib.sha256(repr((self.key, sorted(hashes.items()))).encode()).hexdigest(),
            **({"files": hashes} if hashes else {}),
        }
        record: dict[str, Any] = plain({**took, **result, **made, **self.key})
        write_json(self.record, record)
        return record

    def kept(self) -> dict[str, Any] | None:
        """The record of the kept result, even if other code or another processor made it; None if there is none.

        Raises:
            ValueError: The result was made with other settings; the message names them.
        """
        record = read_json_object(self.record, ("settings", "gems_gym"))
        if record is not None and (differences := differing(record["settings"], self.key["settings"])):
            raise ValueError(
                f"{str(self.record)!r} was made with other settings: {', '.join(differences)}. "
                "Choose another --out, or remove its folder to run it again"
            )
        return record

    def is_stale(self, record: Mapping[str, Any]) -> bool:
        """Whether the result of a record was made by other code, or on another type of processor."""
        return any(record.get(part) != self.key[part] for part in ("code", "cpu"))

    def discard(self) -> None:
        """Remove the record, so that the result is made anew."""
        self.record.unlink(missing_ok=True)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from running this stage during the block; waits until none does."""
        return locked(
            self.record.with_name(f".{self.record.name}.lock"), f"the stage {self.record}", wait=True
        )

    def resume_in(self, directory: Path) -> None:
        """Prepare a directory for a training that is part of the stage's work.

        If an interrupted training left its state there, the state stays if it has the same key, and the training
        resumes from it; otherwise it is removed.

        Args:
            directory: The training's directory, see :mod:`gems_gym.artifacts.unfinished`.
        """
        file = directory / UNFINISHED_FOLDER / _KEY_FILE
        if read_json_object(file) != self.key:
            if is_unfinished(directory):
                note(
                    f"{self.name}: begins again, as the unfinished training has other settings, code or processor"
                )
            discard_unfinished(directory)
            write_json(file, self.key)

    def _reason_to_repeat(self, record: Mapping[str, Any], still_there: bool) -> str | None:
        """Why a kept result can't be reused; None if it can."""
        for part, reason in _CHANGES.items():
            if record[part] != self.key[part]:
                named = part in ("code", "cpu")
                return f"{reason} ({record[part]}, now {self.key[part]})" if named else reason
        if record.get("files", {}) != self._hashes() or not still_there:
            return "it is incomplete, or was altered"
        return None

    def _hashes(self) -> dict[str, str | None]:
        files = {name: self.directory / name for name in self.files}
        return {name: file_sha256(file) if file.is_file() else None for name, file in files.items()}
