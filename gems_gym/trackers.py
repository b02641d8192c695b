"""Where learning curves go beside the files: trackers of other packages, by entry points of ``gems_gym.trackers``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from gems_gym import plugins


class Tracker(Protocol):
    """Takes the numbers of one training as they come; made by calling what the entry point names.

    It is called with the training's name and folder: ``Tracker(name, folder)``. A training that is resumed makes it
    again, and may send steps again that were sent before.
    """

    def __init__(self, name: str, folder: Path) -> None: ...

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take what was measured.

        Args:
            step: Batches, updates or interactions so far, as the training counts.
            values: Name of the measurement -> number.
        """
        ...

    def close(self) -> None:
        """The training has ended, was interrupted or failed."""
        ...


@contextmanager
def trackers(name: str, folder: Path | None) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Open every installed tracker for a training.

    Args:
        name: What is trained.
        folder: The training's folder; None: it writes nothing, and nothing is tracked.

    Yields:
        A function that hands a step and its numbers to all of them.

    Raises:
        gems_gym.plugins.PluginError: One that can't be imported.
    """
    with ExitStack() as closing:
        opened = []
        for one in plugins.names(plugins.TRACKERS) if folder is not None else []:
            tracker = plugins.load(plugins.TRACKERS, one)(name, folder)
            closing.callback(tracker.close)
            opened.append(tracker)

        def add(step: int, values: Mapping[str, float]) -> None:
            for tracker in opened:
                tracker.add(step, values)

        yield add
