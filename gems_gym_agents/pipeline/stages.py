"""A stage makes one named result and keeps it beside what it depends on: how everything in the pipeline resumes."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gems_gym import __version__
from gems_gym.artifacts.unfinished import UNFINISHED_FOLDER, differing, discard_unfinished, is_unfinished
from gems_gym.commands.output import note, plain
from gems_gym.common.files import read_json_object, write_json
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
    """One named result, kept in a record with its key: settings, version, code and type of the processor.

    The record is a JSON object: what the work returned, ``seconds`` and ``cpu_seconds`` that it took (of all threads of
    the process, unless the work returned its own), ``files`` (name -> sha256), ``fingerprint`` (of all that decides
    the result, for the settings of stages that build on this one), ``machine``, ``processor`` and the key.

    Attributes:
        name: What it is called in messages.
        directory: Where it writes.
        settings: Everything that the result depends on, JSON-able; include the ``fingerprint`` of the stages it
            builds on.
        modules: The modules that do the work, see :func:`gems_gym.common.fingerprints.code_fingerprint`.
        files: What the work writes, relative to the directory.
        record_name: Of the record's file, relative to the directory; ``stages/NAME.json`` if None. It is there only
            when the result is complete.
    """

    name: str
    directory: Path
    settings: Mapping[str, Any]
    modules: Collection[str]
    files: Sequence[str] = ()
    record_name: str | None = None

    @property
    def record(self) -> Path:
        """The record's file."""
        return self.directory / (self.record_name or f"stages/{self.name}.json")

    @cached_property
    def key(self) -> dict[str, Any]:
        """What the result would depend on if it were made now."""
        found: dict[str, Any] = plain(
            {"settings": dict(self.settings), "gems_gym": __version__, **made_by(*self.modules)}
        )
        return found

    def run(
        self,
        work: Callable[[], Mapping[str, Any]],
        still_there: Callable[[Mapping[str, Any]], bool] = lambda record: True,
    ) -> dict[str, Any]:
        """Do the work, or reuse the result if its key and its files are the same; waits while another process does it.

        Args:
            work: Its result is JSON-able.
            still_there: Asked about the record before it is reused, where the work makes more than files.

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
        """Do the work whatever is there, and return the record."""
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
        """The record of a result of the same settings, whatever code made it; None if there is none.

        Raises:
            ValueError: It is of other settings; they are named.
        """
        record = read_json_object(self.record, ("settings", "gems_gym"))
        if record is not None and (differences := differing(record["settings"], self.key["settings"])):
            raise ValueError(
                f"{str(self.record)!r} was made with other settings: {', '.join(differences)}. "
                "Choose another --out, or remove that folder to run it again"
            )
        return record

    def is_stale(self, record: Mapping[str, Any]) -> bool:
        """Whether other code, or another type of processor, made a result."""
        return any(record.get(part) != self.key[part] for part in ("code", "cpu"))

    def discard(self) -> None:
        """Forget the result: it is to be made again."""
        self.record.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the stage for the length of the block, once no other process does."""
        with locked(
            self.record.with_name(f".{self.record.name}.lock"), f"the stage {self.record}", wait=True
        ):
            yield

    def resume_in(self, directory: Path) -> None:
        """Prepare a directory for the training that is the stage's work.

        What an interrupted one left there is kept to be resumed if it was of the same key, and discarded otherwise.

        Args:
            directory: Holds the state of the training, see :mod:`gems_gym.artifacts.unfinished`.
        """
        file = directory / UNFINISHED_FOLDER / _KEY_FILE
        if read_json_object(file) != self.key:
            if is_unfinished(directory):
                note(
                    f"{self.name}: begins again, as its unfinished training is of other settings, code or processor"
                )
            discard_unfinished(directory)
            write_json(file, self.key)

    def _reason_to_repeat(self, record: Mapping[str, Any], still_there: bool) -> str | None:
        """Why a result can't be reused; None if it can."""
        for part, reason in _CHANGES.items():
            if record[part] != self.key[part]:
                named = part in ("code", "cpu")
                return f"{reason} ({record[part]}, now {self.key[part]})" if named else reason
        if record.get("files", {}) != self._hashes() or not still_there:
            return "it is incomplete, or was altered"
        return None

    def _hashes(self) -> dict[str, str | None]:
        files = {name: self.directory / name for name in self.files}
        return {
            name: hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None
            for name, file in files.items()
        }
