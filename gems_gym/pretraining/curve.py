"""Learning curves of pretraining: a CSV file, and TensorBoard's if it is installed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from gems_gym.common.files import whole_file


class LearningCurve:
    """Writes rows of numbers as they come, to be used in a ``with`` block.

    Args:
        name: What is trained; TensorBoard's names begin with it.
        folder: For ``progress.csv`` and TensorBoard's file; None: nothing is written.
        rows: Those of an interrupted run that resumes: numbers by name, "batch" among them.
    """

    def __init__(self, name: str, folder: Path | None, rows: Iterable[Mapping[str, float]]) -> None:
        self._name, self._folder = name, folder
        self._rows = list(rows)
        self._writer: Any = None

    def __enter__(self) -> LearningCurve:
        if self._folder is not None and find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            # TensorBoard shows no event of an earlier file from this batch on.
            first = int(self._rows[-1]["batch"]) + 1 if self._rows else 0
            self._writer = SummaryWriter(str(self._folder), purge_step=first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def add(self, row: Mapping[str, float]) -> None:
        """Write one row more."""
        self._rows.append(row)
        if self._folder is None:
            return
        text = io.StringIO()
        table = csv.DictWriter(text, list(row), lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows)
        with whole_file(self._folder / "progress.csv") as file:
            file.write(text.getvalue().encode())
        if self._writer is not None:
            for name, value in row.items():
                if name != "batch":
                    self._writer.add_scalar(f"{self._name}/{name}", value, int(row["batch"]))
