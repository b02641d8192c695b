"""Work in stages that a second run reuses: what a stage made, from which settings and by which code, beside it."""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gems_gym import __version__
from gems_gym.commands.output import note, plain
from gems_gym.common.files import read_json_object, write_json
from gems_gym.common.fingerprints import made_by

_RECORD = ("key", "files", "seconds", "cpu_seconds", "result")
_CHANGES = {
    "settings": "its settings, or what it builds on, changed",
    "gems_gym": "another version of gems-gym made it",
    "code": "other code made it",
    "cpu": "it was made on another type of processor",
}


class Stages:
    """Runs named stages in a folder, and skips those whose result is there and complete.

    A stage is done again, with a note that says why, if its settings, the settings of what it builds on, the code that
    makes it, the version of gems-gym or the type of the processor changed, or if one of its files is missing or was
    altered.

    Args:
        directory: Where the stages write.

    Attributes:
        directory: Where the stages write.
        seconds: Stage -> seconds it took when it ran, in this run or an earlier one.
        cpu_seconds: Stage -> seconds of processor time, of all threads of the process that ran it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seconds: dict[str, float] = {}
        self.cpu_seconds: dict[str, float] = {}

    def run(
        self,
        name: str,
        settings: dict[str, Any],
        files: Sequence[str],
        make: Callable[[], dict[str, Any] | None],
        still_whole: Callable[[dict[str, Any]], bool] = lambda result: True,
        *,
        modules: Iterable[str],
    ) -> dict[str, Any]:
        """Run a stage, or reuse what it made before.

        Args:
            name: The stage.
            settings: Everything that its result depends on, JSON-able; include the ``fingerprint`` of the stages
                it builds on.
            files: What it writes, relative to the folder.
            make: Does the work; what it returns is kept with the stage (JSON-able).
            still_whole: Asked before reuse, with what ``make`` returned, where a stage makes more than files.
            modules: The modules that do the work, see :func:`gems_gym.common.fingerprints.code_fingerprint`.

        Returns:
            What ``make`` returned, and ``fingerprint``.
        """
        record_file = self.directory / "stages" / f"{name}.json"
        key = plain({"settings": settings, "gems_gym": __version__, **made_by(*modules)})
        record = read_json_object(record_file, _RECORD)
        if record is not None:
            reason = self._reason_to_repeat(record, key, files, still_whole)
            if reason is None:
                self.seconds[name], self.cpu_seconds[name] = record["seconds"], record["cpu_seconds"]
                note(f"{name}: reusing what is there (made in {record['seconds']:.0f} s)")
                return dict(record["result"])
            note(f"{name}: not reusing what is there: {reason}")
        record_file.unlink(missing_ok=True)
        note(f"{name} …")
        start, cpu_start = time.perf_counter(), time.process_time()
        result = dict(make() or {})
        self.seconds[name] = time.perf_counter() - start
        self.cpu_seconds[name] = time.process_time() - cpu_start
        hashes = self._hashes(files)
        result["fingerprint"] = hashlib.sha256(repr((key, sorted(hashes.items()))).encode()).hexdigest()
        result = plain(result)
        took = {"seconds": self.seconds[name], "cpu_seconds": self.cpu_seconds[name]}
        write_json(record_file, {"key": key, "files": hashes, **took, "result": result})
        return dict(result)

    def _reason_to_repeat(
        self,
        record: dict[str, Any],
        key: dict[str, Any],
        files: Sequence[str],
        still_whole: Callable[[dict[str, Any]], bool],
    ) -> str | None:
        """Why what is there can't be reused; None if it can."""
        before = record["key"] if isinstance(record["key"], dict) else {}
        for part, reason in _CHANGES.items():
            if before.get(part) != key[part]:
                changed = part in ("code", "cpu")
                return (
                    f"{reason} ({before.get(part, 'not recorded')}, now {key[part]})" if changed else reason
                )
        if record["files"] != self._hashes(files) or not still_whole(record["result"]):
            return "it is incomplete, or was altered"
        return None

    def _hashes(self, files: Sequence[str]) -> dict[str, str | None]:
        hashes: dict[str, str | None] = {}
        for file in files:
            path = self.directory / file
            hashes[file] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        return hashes
