"""The policies met on the way: kept, scored, and written as files that ``collect`` and ``evaluate`` can run.

Policies of online agents drift late in training, and datasets of medium quality come from the middle of it. So
every validated policy stays, and the caller picks.

The mean of late ones is one more: an agent's networks move around a good policy with every update rather than settle
on it, and the mean of their weights is closer to it than any of them (stochastic weight averaging, Izmailov et al.,
2018, arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.beliefs import load_belief
from gems_gym.beliefs.trained import TrainedBelief
from gems_gym.common.files import read_json, write_json
from gems_gym.policies.actor import Actor
from gems_gym.policies.saved import SavedPolicy
from gems_gym_agents.base import Evaluate
from gems_gym_agents.library_state import borrowed_global_state

_BEST_FILE, _LAST_FILE = "best.safetensors", "last.safetensors"
_FOLDER, _CURVE_FILE = "checkpoints", "checkpoints.json"


@dataclass(frozen=True)
class Checkpoint:
    """A policy during training.

    Attributes:
        interactions: Environment interactions (users times steps) before it.
        training_return: Mean clicks per session of the last finished training sessions, exploration included;
            ``None`` before the first session ends.
        score: What ``evaluate`` gave: mean clicks per session of validation users; ``None`` if not scored.
        actor: The policy, without exploration.
        belief: Whose beliefs it acts on; ``None``: the environment's.
        mean_of: How many policies, this one's predecessors, its weights are the mean of; 1: it is one itself.
    """

    interactions: int
    training_return: float | None
    score: float | None
    actor: SavedPolicy
    belief: TrainedBelief | None = None
    mean_of: int = 1

    def describe(self) -> dict[str, Any]:
        """The numbers without the network, for JSON."""
        return {
            "interactions": self.interactions,
            "training_return": self.training_return,
            "score": self.score,
            "mean_of": self.mean_of,
        }


class CheckpointRecorder:
    """Scores policies, keeps them all, and writes them if a directory is given.

    Files: ``checkpoints/actor_{interactions}.safetensors`` and ``checkpoints/checkpoints.json`` (the curve), and
    ``best.safetensors`` and ``last.safetensors``; policies with a belief of their own have it in
    ``checkpoints/belief_{interactions}.safetensors``. The names of means end in ``_mean_of_{number}``.

    Args:
        evaluate: Scores a policy, higher is better; ``None``: nothing is scored and there is no best policy.
        directory: Where to write; ``None`` writes nothing.
        policy_class: Class of the policies.

    Attributes:
        checkpoints: The policies, in order.
        dropped: Interactions of other starts, whose policies are not kept.
    """

    def __init__(
        self,
        evaluate: Evaluate | None,
        directory: Path | None,
        policy_class: type[SavedPolicy] = Actor,
    ) -> None:
        self.evaluate = evaluate
        self.directory = directory
        self.policy_class = policy_class
        self.checkpoints: list[Checkpoint] = []
        self.dropped = 0

    @property
    def last(self) -> Checkpoint | None:
        """The latest policy."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def best(self) -> Checkpoint | None:
        """The policy with the highest validation score (the earliest of equals), or ``None`` if none was scored."""
        scored = [checkpoint for checkpoint in self.checkpoints if checkpoint.score is not None]
        return max(scored, key=lambda checkpoint: checkpoint.score or 0.0, default=None)

    @property
    def curve(self) -> list[dict[str, Any]]:
        """The numbers of every policy, and the names of its files."""
        return [
            {**one.describe(), **{key: file.name for key, file in _files(Path(), one).items()}}
            for one in self.checkpoints
        ]

    def restore(self, curve: Iterable[Mapping[str, Any]] = ()) -> None:
        """Resumes from policies that are in the directory already, and removes the files of all others.

        Args:
            curve: What :attr:`curve` was; nothing: begins anew.

        Raises:
            FileNotFoundError: A policy's file is missing.
            gems_gym.artifacts.ArtifactError: A policy's file was altered.
        """
        if self.directory is None:
            return
        folder = self.directory / _FOLDER
        self.checkpoints += [_read(folder, entry, self.policy_class) for entry in curve]
        kept = {file for one in self.checkpoints for file in _files(folder, one).values()}
        others = set(folder.glob("*")) - kept  # half-written ones of a killed process too
        for file in (*others, self.directory / _BEST_FILE, self.directory / _LAST_FILE):
            file.unlink(missing_ok=True)
        self._write_summary(self.directory)

    def record(
        self,
        interactions: int,
        training_return: float | None,
        actor: SavedPolicy,
        belief: TrainedBelief | None = None,
        *,
        score: bool = True,
    ) -> Checkpoint:
        """Adds a policy, which may have a belief of its own: scores it (unless ``score`` is false) and writes it."""
        value = self._scored(actor, belief) if score else None
        checkpoint = Checkpoint(interactions, training_return, value, actor, belief)
        self.take([checkpoint])
        return checkpoint

    def record_mean(self, first: float) -> Checkpoint | None:
        """Adds the mean of the policies from some number of interactions on: scores and writes it.

        Args:
            first: The interactions.

        Returns:
            The policy; ``None`` if there are fewer than two to take the mean of.
        """
        late = [one for one in self.checkpoints if one.interactions >= first]
        if len(late) < 2:
            return None
        actor = mean_policy([one.actor for one in late])
        beliefs = [one.belief for one in late if one.belief is not None]
        belief = mean_belief(beliefs) if beliefs else None
        mean = Checkpoint(
            interactions=late[-1].interactions,
            training_return=None,  # no session was played with it
            score=self._scored(actor, belief),
            actor=actor,
            belief=belief,
            mean_of=len(late),
        )
        self.take([mean])
        return mean

    def _scored(self, actor: SavedPolicy, belief: TrainedBelief | None) -> float | None:
        if self.evaluate is None:
            return None
        with borrowed_global_state():  # whatever it draws from there changes nothing that is learned
            return float(self.evaluate(actor) if belief is None else self.evaluate(actor, belief))

    def take(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Adds policies as they are, and writes them."""
        self.checkpoints += checkpoints
        if self.directory is not None:
            for one in checkpoints:
                files = _files(self.directory / _FOLDER, one)
                one.actor.save(files["file"])
                if one.belief is not None:
                    one.belief.save(files["belief_file"])
            self._write_summary(self.directory)

    def _write_summary(self, directory: Path) -> None:
        for name, checkpoint in ((_LAST_FILE, self.last), (_BEST_FILE, self.best)):
            if checkpoint is not None:
                checkpoint.actor.save(directory / name)
        if self.checkpoints:
            write_json(directory / _FOLDER / _CURVE_FILE, self.curve)


def read_checkpoints(directory: Path, policy_class: type[SavedPolicy] = Actor) -> list[Checkpoint]:
    """The policies of a class that a run left in its folder, in order.

    Raises:
        FileNotFoundError: There was no run, or a policy's file is missing.
        gems_gym.artifacts.ArtifactError: A policy's file was altered.
    """
    folder = directory / _FOLDER
    return [_read(folder, entry, policy_class) for entry in read_json(folder / _CURVE_FILE)]


def _read(folder: Path, entry: Mapping[str, Any], policy_class: type[SavedPolicy]) -> Checkpoint:
    """One entry of a curve with its files."""
    belief = _read_belief(folder / entry["belief_file"]) if "belief_file" in entry else None
    numbers = {name: entry[name] for name in ("interactions", "training_return", "score", "mean_of")}
    return Checkpoint(**numbers, actor=policy_class.load(folder / entry["file"]), belief=belief)


def _read_belief(file: Path) -> TrainedBelief:
    belief = load_belief(file)
    assert isinstance(belief, TrainedBelief)  # no other was recorded
    return belief


def _files(folder: Path, checkpoint: Checkpoint) -> dict[str, Path]:
    which = f"{checkpoint.interactions}" + (
        f"_mean_of_{checkpoint.mean_of}" if checkpoint.mean_of > 1 else ""
    )
    files = {"file": folder / f"actor_{which}.safetensors"}
    if checkpoint.belief is not None:
        files["belief_file"] = folder / f"belief_{which}.safetensors"
    return files


def mean_policy(policies: Sequence[SavedPolicy]) -> SavedPolicy:
    """The policy whose weights are the means of others'.

    Args:
        policies: Policies of one class and the same layers, at least one; what is no weight in them is the same in all.

    Returns:
        A policy with the metadata of the last one, and ``mean_of``, their number.
    """
    tensors, headers = zip(*(policy.to_parts() for policy in policies), strict=True)
    metadata = {**headers[-1]["metadata"], "mean_of": len(policies)}
    return policies[-1].from_parts(_means(tensors), {**headers[-1], "metadata": metadata})


def mean_belief(beliefs: Sequence[TrainedBelief]) -> TrainedBelief:
    """The belief encoder whose weights are the means of others'.

    Args:
        beliefs: Beliefs of the same catalogue and sizes, at least one.

    Returns:
        An encoder with the header of the last one, and ``mean_of``, their number.
    """
    last = beliefs[-1]
    tensors = _means([belief.tensors for belief in beliefs])
    return type(last)(tensors, last.catalog_hash, {**last.header, "mean_of": len(beliefs)})


def _means(weights: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    for name, array in weights[0].items():
        if array.dtype.kind != "f" and any(not np.array_equal(array, one[name]) for one in weights):
            raise ValueError(f"policies can't be averaged: they have other {name}")
    return {
        name: np.stack([one[name] for one in weights]).mean(axis=0, dtype=np.float64).astype(array.dtype)
        for name, array in weights[0].items()
    }
