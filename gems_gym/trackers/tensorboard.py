"""Learning curves as TensorBoard's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gems_gym.errors import require

require("tensorboard")
SummaryWriter = require("torch.utils.tensorboard").SummaryWriter


class TensorBoard:
    """Writes a file for ``tensorboard --logdir``; that of a resumed training goes on where it takes up.

    Args:
        name: What is trained: group of the measurements that name none.
        folder: Gets the file.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._writer: Any = None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write what was measured."""
        if self._writer is None:
            # hides what an interrupted training wrote after its last save
            self._writer = SummaryWriter(str(self._folder), purge_step=step)
        for key, value in values.items():
            self._writer.add_scalar(key if "/" in key else f"{self._name}/{key}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
