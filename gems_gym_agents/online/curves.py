"""The curves of a training run: SB3's logger, writing CSV and TensorBoard files that a resumed run appends to."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.logger import CSVOutputFormat, Logger, configure


class Curves:
    """Writes ``logs/progress.csv`` and TensorBoard's files.

    Args:
        directory: the run's folder; ``None`` writes nothing.
        so_far: the CSV file's text when the run that is resumed here was interrupted; empty: begins anew, without the
            files of an earlier run.

    Attributes:
        logger: give it to SB3's ``set_logger``.
    """

    def __init__(self, directory: Path | None, so_far: str = "") -> None:
        self.logger = Logger(None, [])
        self._csv: CSVOutputFormat | None = None
        if directory is None:
            return
        if not so_far:
            for old in directory.glob("logs/events.out.tfevents*"):
                old.unlink()
        self.logger = configure(str(directory / "logs"), ["csv", "tensorboard"])
        self._csv = next(one for one in self.logger.output_formats if isinstance(one, CSVOutputFormat))
        if so_far:  # SB3 has opened the file anew, without its lines
            self._csv.file.write(so_far)
            self._csv.keys = so_far.partition("\n")[0].split(",")

    @property
    def text(self) -> str:
        """The CSV file's text."""
        return "" if self._csv is None else Path(self._csv.file.name).read_text()
