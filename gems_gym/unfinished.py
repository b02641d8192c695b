"""The state of an unfinished run as files: the same call resumes it, and ends with the same result.

A run saves its state in a folder of its own within its directory. The state says which arguments it belongs to; a run
with others is refused, and names them. It is removed once the run's result is saved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.artifacts import Artifact, ArtifactError, load_artifact, save_artifact
from gems_gym.artifacts.unfinished import differing
from gems_gym.common.files import refuse_link, remove_folder

UNFINISHED_FOLDER = "unfinished"
"""Where a run's directory keeps what an interrupted run resumes from."""

STATE_FILE = "state.safetensors"
"""The file in that folder without which there is no run to resume."""

_START_ANEW = (
    "choose another folder, or start anew with --overwrite (from Python: "
    "gems_gym.unfinished.discard_unfinished)"
)


def is_unfinished(directory: Path) -> bool:
    """Whether a directory holds the state of a run, which the same call resumes."""
    return (Path(directory) / UNFINISHED_FOLDER / STATE_FILE).is_file()


def discard_unfinished(directory: Path) -> None:
    """Remove what an interrupted run in a directory would resume from; the next one there starts anew.

    Raises:
        OSError: What would be removed is a symbolic link.
    """
    folder = Path(directory) / UNFINISHED_FOLDER
    refuse_link(folder)
    # first what makes the rest a run to resume, so that half of one is never taken for a complete one
    (folder / STATE_FILE).unlink(missing_ok=True)
    remove_folder(folder)


class UnfinishedRun:
    """Saves a run's state, and finds what an earlier run with the same arguments left.

    The state file is replaced in one step and names the others, so that a run killed at any moment resumes from the
    last state that was saved.

    Args:
        directory: The run's directory; ``None`` saves nothing.
        kind: Of the state's artefact, "unfinished/name".
        arguments: Everything that decides the result, JSON types only.

    Attributes:
        folder: Where the state is; ``None``: nowhere.

    Raises:
        OSError: The folder for the state is a symbolic link.
    """

    def __init__(self, directory: Path | None, kind: str, arguments: Mapping[str, Any]) -> None:
        self.folder = None if directory is None else Path(directory) / UNFINISHED_FOLDER
        if self.folder is not None:
            refuse_link(self.folder)  # files in it are removed, and what is there is trusted
        self._kind = kind
        self._arguments = arguments

    @contextmanager
    def resuming(self) -> Iterator[Artifact | None]:
        """Read the state, and what it names within the block.

        Yields:
            The state that was saved last; ``None`` if there is none.

        Raises:
            ValueError: The state belongs to other arguments, or a file was altered or removed.
        """
        if self.folder is None or not (self.folder / STATE_FILE).is_file():
            yield None
            return
        try:
            state = load_artifact(self.folder / STATE_FILE, self._kind)
            check_same(state.header["arguments"], self._arguments, self.folder.parent)
            yield state
        except (ArtifactError, FileNotFoundError) as error:
            raise ValueError(f"the unfinished run can't be resumed: {error}; {_START_ANEW}") from error

    def save(
        self, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any], files: Collection[str] = ()
    ) -> None:
        """Replace the state.

        Args:
            tensors: Arrays by name.
            header: JSON-able values.
            files: Names of the other files in the folder that the state needs, written before; the rest is removed.
        """
        if self.folder is None:
            return
        save_artifact(self.folder / STATE_FILE, self._kind, tensors, {"arguments": self._arguments, **header})
        for file in self.folder.iterdir():
            if file.name not in (STATE_FILE, *files):
                file.unlink()

    def discard(self) -> None:
        """Remove the state: there is nothing worth resuming."""
        if self.folder is not None:
            discard_unfinished(self.folder.parent)


def check_same(saved: Mapping[str, Any], given: Mapping[str, Any], directory: Path) -> None:
    """Raise a ``ValueError`` that names the arguments that differ, unless none does."""
    if differences := ", ".join(differing(saved, given)):
        raise ValueError(
            f"{str(directory)!r} holds an unfinished run with {differences}; give the same arguments to resume it, "
            f"{_START_ANEW}"
        )
