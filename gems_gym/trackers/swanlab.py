"""Learning curves on SwanLab."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gems_gym.errors import require
from gems_gym.trackers import run_id

require("swanlab")


class SwanLab:
    """Sends curves to SwanLab; a resumed training goes on in its run.

    Settings are SwanLab's own environment variables: ``SWANLAB_PROJ_NAME`` ("gems-gym" if it is not set),
    ``SWANLAB_TAGS``, ``SWANLAB_RUN_ID``, ``SWANLAB_MODE=offline``, which writes into the training's folder for
    ``swanlab sync``, and the rest.

    Args:
        name: What is trained.
        folder: The training's folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self._run = require("swanlab").init(
            project=os.environ.get("SWANLAB_PROJ_NAME", "gems-gym"),
            name=f"{name} {folder.name}",
            id=os.environ.get("SWANLAB_RUN_ID", run_id(folder, "swanlab")),
            resume="allow",
            reinit=True,
            log_dir=str(folder / "swanlog"),
        )

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Send what was measured."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
