"""The policies met on the way: kept, scored, and written as files that ``collect`` and ``evaluate`` can run.

Policies of online agents drift late in training, and datasets of medium quality come from the middle of it. So
every validated policy stays, and the caller picks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gems_gym.policies.actor import Actor
from gems_gym.whole_files import write_json
from gems_gym_agents.base import Evaluate


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
    ``best.safetensors`` and ``last.safetensors``. Those of an earlier run in the same directory are removed at the
    start.

    Args:
        evaluate: scores a policy, higher is better; ``None``: nothing is scored and there is no best policy.
        directory: where to write; ``None`` writes nothing.
    """

    def __init__(self, evaluate: Evaluate | None, directory: Path | None) -> None:
        self.evaluate = evaluate
        self.directory = directory
        self.checkpoints: list[Checkpoint] = []
        if directory is not None:
            (directory / "checkpoints").mkdir(parents=True, exist_ok=True)
            for old in [
                *directory.glob("checkpoints/actor_*.safetensors"),
                directory / "checkpoints/checkpoints.json",
            ]:
                old.unlink(missing_ok=True)
            for name in ("best.safetensors", "last.safetensors"):
                (directory / name).unlink(missing_ok=True)

    @property
    def last(self) -> Checkpoint | None:
        """The latest policy."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def best(self) -> Checkpoint | None:
        """The policy with the highest validation score (the earliest of equals), or ``None`` if none was scored."""
        scored = [checkpoint for checkpoint in self.checkpoints if checkpoint.score is not None]
        return max(scored, key=lambda checkpoint: checkpoint.score or 0.0, default=None)

    def record(
        self, interactions: int, training_return: float | None, actor: Actor, *, score: bool = True
    ) -> Checkpoint:
        """Adds a policy: scores it (unless ``score`` is false) and writes the files."""
        value = float(self.evaluate(actor.act)) if self.evaluate is not None and score else None
        checkpoint = Checkpoint(interactions, training_return, value, actor)
        self.checkpoints.append(checkpoint)
        if self.directory is not None:
            self._write(checkpoint, self.directory)
        return checkpoint

    def _write(self, checkpoint: Checkpoint, directory: Path) -> None:
        checkpoint.actor.save(_file(directory, checkpoint))
        checkpoint.actor.save(directory / "last.safetensors")
        if checkpoint is self.best:
            checkpoint.actor.save(directory / "best.safetensors")
        curve = [{**entry.describe(), "file": _file(directory, entry).name} for entry in self.checkpoints]
        write_json(directory / "checkpoints" / "checkpoints.json", curve)


def _file(directory: Path, checkpoint: Checkpoint) -> Path:
    return directory / "checkpoints" / f"actor_{checkpoint.interactions}.safetensors"
