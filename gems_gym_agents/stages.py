"""Work in stages that a second run reuses: what a stage made, from which settings, kept beside it."""

import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gems_gym import __version__
from gems_gym.output import note, plain
from gems_gym.whole_files import read_json, write_json


class Stages:
    """Runs named stages in a folder, and skips those whose result is there and whole.

    A stage is done again if its settings, the settings of what it builds on, or the version of gems-gym changed,
    or if one of its files is missing or was altered.

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
    ) -> dict[str, Any]:
        """Run a stage, or reuse what it made before.

        Args:
            name: The stage.
            settings: Everything that its result depends on, JSON-able; include the ``fingerprint`` of the stages
                it builds on.
            files: What it writes, relative to the folder.
            make: Does the work; what it returns is kept with the stage (JSON-able).
            still_whole: Asked before reuse, with what ``make`` returned, where a stage makes more than files.

        Returns:
            What ``make`` returned, and ``fingerprint``.
        """
        record_file = self.directory / "stages" / f"{name}.json"
        key = plain({"settings": settings, "gems_gym": __version__})
        if record_file.is_file():
            record = read_json(record_file)
            whole = record["key"] == key and record["files"] == self._hashes(files)
            whole = whole and "cpu_seconds" in record  # older records lack them
            if whole and still_whole(record["result"]):
                self.seconds[name], self.cpu_seconds[name] = record["seconds"], record["cpu_seconds"]
                note(f"{name}: reusing what is there (made in {record['seconds']:.0f} s)")
                return dict(record["result"])
            record_file.unlink()
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

    def _hashes(self, files: Sequence[str]) -> dict[str, str | None]:
        hashes: dict[str, str | None] = {}
        for file in files:
            path = self.directory / file
            hashes[file] = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        return hashes
