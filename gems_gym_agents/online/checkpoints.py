"""The policies met on the way: kept, scored, and written as files that ``collect`` and ``evaluate`` can run.

Policies of online agents drift late in training, and datasets of medium quality come from the middle of it. So
every validated policy stays, and the caller picks.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gems_gym.policies.actor import Actor
from gems_gym.whole_files import write_json
from gems_gym_agents.base import Evaluate

UNFINISHED_FOLDER = "unfinished"
"""Where a run's folder keeps what an interrupted run goes on with (:mod:`gems_gym_agents.online.unfinished`)."""

STATE_FILE = "state.safetensors"
"""The file in that folder without which there is no run to go on with."""

_BEST_FILE, _LAST_FILE, _CURVE_FILE = "best.safetensors", "last.safetensors", "checkpoints/checkpoints.json"


@dataclass(frozen=True)
class Checkpoint:
    """A policy during training.

    Attributes:
        interactions: environment interactions (users times steps) before it.
        training_return: mean clicks per session of the last finished training sessions, exploration included;
            ``None`` before the first session ends.
        score: what ``evaluate`` gave: mean clicks per session of validation users; ``None`` if not scored.
        actor: the policy, without exploration.
    """

    interactions: int
    training_return: float | None
    score: float | None
    actor: Actor

    def describe(self) -> dict[str, Any]:
        """The numbers without the network, for JSON."""
        return {
            "interactions": self.interactions,
            "training_return": self.training_return,
            "score": self.score,
        }


class CheckpointRecorder:
    """Scores policies, keeps them all, and writes them if a directory is given.

    Files: ``checkpoints/actor_{interactions}.safetensors`` and ``checkpoints/checkpoints.json`` (the curve), and
    ``best.safetensors`` and ``last.safetensors``.

    Args:
        evaluate: scores a policy, higher is better; ``None``: nothing is scored and there is no best policy.
        directory: where to write; ``None`` writes nothing.
    """

    def __init__(self, evaluate: Evaluate | None, directory: Path | None) -> None:
        self.evaluate = evaluate
        self.directory = directory
        self.checkpoints: list[Checkpoint] = []

    @property
    def last(self) -> Checkpoint | None:
        """The latest policy."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def best(self) -> Checkpoint | None:
        """The policy with the highest validation score (the earliest of equals), or ``None`` if none was scored."""
        scored = [checkpoint for checkpoint in self.checkpoints if checkpoint.score is not None]
        return max(scored, key=lambda checkpoint: checkpoint.score or 0.0, default=None)

    def restore(self, curve: Iterable[Mapping[str, Any]] = ()) -> None:
        """Goes on from the policies that are in the directory already, and removes the files of all others.

        Args:
            curve: what :meth:`Checkpoint.describe` gave of the policies to go on from; none: begins anew.

        Raises:
            FileNotFoundError: a policy's file is missing.
            gems_gym.artifacts.ArtifactError: a policy's file was altered.
        """
        if self.directory is None:
            return
        for entry in curve:
            actor = Actor.load(_file(self.directory, entry["interactions"]))
            self.checkpoints.append(Checkpoint(**entry, actor=actor))
        kept = {_file(self.directory, checkpoint.interactions) for checkpoint in self.checkpoints}
        others = set(self.directory.glob("checkpoints/*")) - kept  # half-written ones of a killed process too
        for file in (*others, self.directory / _BEST_FILE, self.directory / _LAST_FILE):
            file.unlink(missing_ok=True)
        self._write_summary(self.directory)

    def record(
        self, interactions: int, training_return: float | None, actor: Actor, *, score: bool = True
    ) -> Checkpoint:
        """Adds a policy: scores it (unless ``score`` is false) and writes the files."""
        value = float(self.evaluate(actor.act)) if self.evaluate is not None and score else None
        checkpoint = Checkpoint(interactions, training_return, value, actor)
        self.checkpoints.append(checkpoint)
        if self.directory is not None:
            actor.save(_file(self.directory, interactions))
            self._write_summary(self.directory)
        return checkpoint

    def _write_summary(self, directory: Path) -> None:
        for name, checkpoint in ((_LAST_FILE, self.last), (_BEST_FILE, self.best)):
            if checkpoint is not None:
                checkpoint.actor.save(directory / name)
        if self.checkpoints:
            curve = [
                {**entry.describe(), "file": _file(directory, entry.interactions).name}
                for entry in self.checkpoints
            ]
            write_json(directory / _CURVE_FILE, curve)


def discard_unfinished(directory: Path) -> None:
    """Removes what an interrupted run in a folder would go on with; the next one there begins anew."""
    folder = Path(directory) / UNFINISHED_FOLDER
    if folder.is_dir():
        # first what makes the rest a run to go on with, so that half of one is never taken for a whole
        (folder / STATE_FILE).unlink(missing_ok=True)
        shutil.rmtree(folder)


def _file(directory: Path, interactions: int) -> Path:
    return directory / "checkpoints" / f"actor_{interactions}.safetensors"
