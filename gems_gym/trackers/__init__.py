"""Where learning curves go: TensorBoard, Weights & Biases, SwanLab, and trackers of other packages.

Those that are chosen get the curves of everything that is trained with a folder; as long as nothing is chosen,
TensorBoard does where it is installed. A choice holds for this process and for those that it starts, so that the runs
of a study are tracked as a single training is.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from gems_gym import plugins
from gems_gym.common.files import read_json, write_json

VARIABLE = "GEMS_GYM_TRACKERS"
"""The environment variable that holds the choice: names, separated by commas; empty: nothing is tracked."""
_TENSORBOARD = "tensorboard"
_RUN_IDS = "tracked.json"
"""In a training's folder: by which id each tracker knows it."""


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


def choose_trackers(names: Sequence[str] | None) -> None:
    """From here on trackers of these names get the curves, and no others.

    Args:
        names: In the entry-point group ``gems_gym.trackers``; empty: nothing is tracked; None: the choice stays.

    Raises:
        ValueError: One that there is not; the message has the nearest names.
        gems_gym.plugins.PluginError: One that can't be imported.
    """
    if names is None:
        return
    for name in names:
        plugins.load(plugins.TRACKERS, name)
    os.environ[VARIABLE] = ",".join(names)


def chosen_trackers() -> list[str]:
    """Names of the trackers that get the curves."""
    chosen = os.environ.get(VARIABLE)
    if chosen is None:  # TensorBoard's files are written by torch
        return [_TENSORBOARD] if find_spec("tensorboard") and find_spec("torch") else []
    return [name for name in chosen.split(",") if name]


def run_id(folder: Path, tracker: str) -> str:
    """The id by which a tracker knows the training in a folder; a resumed training has the same.

    Args:
        folder: The training's.
        tracker: Its name.
    """
    path = folder / _RUN_IDS
    known: dict[str, str] = read_json(path) if path.is_file() else {}
    if tracker not in known:
        folder.mkdir(parents=True, exist_ok=True)
        known[tracker] = uuid.uuid4().hex
        write_json(path, known)
    return known[tracker]


@contextmanager
def trackers(
    name: str, folder: Path | None, *, events: str = "tensorboard", anew: bool = False
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Open the chosen trackers for a training.

    Args:
        name: What is trained.
        folder: The training's folder; None: it writes nothing, and nothing is tracked.
        events: The folder in it for TensorBoard's files.
        anew: Whether the training starts from scratch: what an earlier one in the folder left is no part of its curves.

    Yields:
        A function that hands a step and its numbers to all of them.

    Raises:
        ValueError: One that there is not; the message has the nearest names.
        gems_gym.plugins.PluginError: One that can't be imported.
    """
    with ExitStack() as closing:
        opened = []
        if folder is not None:
            if anew:
                for earlier in (folder / _RUN_IDS, *(folder / events).glob("events.out.tfevents*")):
                    earlier.unlink(missing_ok=True)
            for one in chosen_trackers():
                its_folder = folder / events if one == _TENSORBOARD else folder
                tracker = plugins.load(plugins.TRACKERS, one)(name, its_folder)
                closing.callback(tracker.close)
                opened.append(tracker)

        def add(step: int, values: Mapping[str, float]) -> None:
            for tracker in opened:
                tracker.add(step, values)

        yield add
