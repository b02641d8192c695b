"""How a training shows itself: a progress bar on stderr and TensorBoard's event file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gems_gym.common.progress import track
from gems_gym.errors import require

SHOWN = {
    "q_abs_max": "max |Q| {:.3g}",
    "loss": "loss {:.3g}",
    "bc_loss": "behaviour loss {:.3g}",
    "score": "clicks {:.1f}",
}
"""Measurements that stand behind the progress bar -> how."""


@contextmanager
def training_report(
    name: str,
    steps: int,
    directory: Path | None,
    progress: bool,
    *,
    done: int = 0,
    history: Sequence[dict[str, float]] = (),
) -> Iterator[Callable[[dict[str, float] | None], None]]:
    """Shows and records one training.

    Args:
        name: What is trained.
        steps: How many updates there will be.
        directory: Where TensorBoard's event file goes, under ``tensorboard``, in place of an earlier one; ``None``
            writes none.
        progress: Whether the bar is drawn.
        done: How many of the updates there were before a resumed training.
        history: What was measured in them; it is recorded again.

    Yields:
        A function to be called once per update, with what was measured if an epoch ended there.
    """
    writer: Any = None
    if directory is not None:
        folder = Path(directory) / "tensorboard"
        for earlier in folder.glob("events.out.tfevents*"):
            earlier.unlink()
        writer = require("tensorboardX").SummaryWriter(logdir=str(folder))

    def record(line: dict[str, float]) -> None:
        if writer is not None:
            for key, value in line.items():
                if key != "step":
                    writer.add_scalar(f"offline/{key}", value, int(line["step"]))

    try:
        for line in history:
            record(line)
        with track(name, steps, shown=progress) as advance:
            advance(done)

            def report(line: dict[str, float] | None) -> None:
                if line is None:
                    advance(1)
                    return
                advance(1, "  ".join(text.format(line[key]) for key, text in SHOWN.items() if key in line))
                record(line)

            yield report
    finally:
        if writer is not None:
            writer.close()
