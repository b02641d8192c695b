"""Learning curves on Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gems_gym.errors import require
from gems_gym.trackers import run_id

require("wandb")


class WandB:
    """Sends curves to Weights & Biases; a resumed training goes on in its run.

    Settings are W&B's own environment variables: ``WANDB_PROJECT`` ("gems-gym" if it is not set), ``WANDB_TAGS``,
    ``WANDB_RUN_ID``, ``WANDB_MODE=offline``, which writes into the training's folder for ``wandb sync``, and the rest.

    Args:
        name: What is trained.
        folder: The training's folder.
    """

    def __init__(self, name: str, folder: Path) -> None:
        wandb = require("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "gems-gym"),
            name=f"{name} {folder.name}",
            id=os.environ.get("WANDB_RUN_ID", run_id(folder, "wandb")),
            resume="allow",
            reinit="create_new",  # others may be open
            dir=folder,
            settings=wandb.Settings(console="off"),
        )
        # W&B's own step can't go back, which a resumed training may
        self._run.define_metric("*", step_metric="step")

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Send what was measured."""
        self._run.log({**values, "step": step})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()
