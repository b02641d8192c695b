"""A trainable ranker, a policy, an agent, a preset and a command for gems-gym, as small as can be: copy from it.

None of them inherits anything: gems-gym asks for methods and attributes only, and finds the objects by the
entry points in this package's ``setup.cfg``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from gems_gym import SlateConfig
from gems_gym.artifacts import Artifact, load_artifact, save_artifact
from gems_gym.config import preset_config
from gems_gym.datasets import open_dataset
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import PretrainingPreset, Trainer

IMPATIENT = SlateConfig(boredom_threshold=2, boredom_timeout=8, episode_length=30)
"""A world whose users are bored soon and for long: ``gymnasium.make("GemsSlate-impatient-v0")``."""


class LinearHashRanker:
    """Scores every item by a fixed random linear function of the latent, and shows the highest.

    A slate never holds an item twice, and close latents share most of their slates; nothing is learned.
    """

    kind = "ranker/linear_hash"

    def __init__(
        self, num_items: int, slate_size: int, catalog_hash: str, action_size: int = 32, seed: int = 0
    ) -> None:
        self.num_items = num_items
        self.slate_size = slate_size
        self.catalog_hash = catalog_hash
        self.action_size = action_size
        self.seed = seed
        self.sha256: str | None = None
        rng = np.random.default_rng(seed)
        self._directions = rng.integers(-8, 9, (action_size, num_items))  # (action_size, num_items)

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """Turns latents ``(N, action_size)`` in [-1, 1] into slates ``(N, slate_size)`` int64."""
        # Integers, so that a row's sums do not depend on how many rows are multiplied with it.
        grid = np.rint(np.asarray(latents, dtype=np.float64) * 1024).astype(np.int64)
        scores = grid @ self._directions  # (N, num_items)
        return np.argsort(-scores, axis=1, kind="stable")[:, : self.slate_size].astype(np.int64)

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the ranker as an artefact and returns the file's sha256."""
        sizes = {"num_items": self.num_items, "slate_size": self.slate_size, "action_size": self.action_size}
        header = {"sizes": sizes, "seed": self.seed, "catalog_hash": self.catalog_hash}
        self.sha256 = save_artifact(path, self.kind, {"directions": self._directions}, header)
        return self.sha256

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> LinearHashRanker:
        """Makes the ranker from a loaded file: what ``gems_gym.rankers.load_ranker`` calls."""
        header = artifact.header
        ranker = cls(**header["sizes"], catalog_hash=header["catalog_hash"], seed=header["seed"])
        ranker.sha256 = artifact.sha256
        return ranker


@dataclass(frozen=True, kw_only=True)
class LinearHashSettings:
    """How a :class:`LinearHashRanker` is trained: the best of so many random ones."""

    tries: int = 8


def train_linear_hash(
    log: SessionLog,
    num_items: int,
    settings: LinearHashSettings,
    *,
    seed: int,
    device: str = "cpu",
    progress: bool = True,
    upkeep: Any = None,
) -> tuple[LinearHashRanker, dict[str, Any]]:
    """Chooses the ranker that shows the items that were clicked most."""
    clicks = np.bincount(log.slates[log.clicks > 0], minlength=num_items)  # (num_items,)
    latents = np.random.default_rng(seed).uniform(-1, 1, (100, 32))
    tried = [
        LinearHashRanker(num_items, log.slates.shape[-1], log.catalog_hash, seed=seed + number)
        for number in range(settings.tries)
    ]
    scores = [float(clicks[ranker.rank(latents)].mean()) for ranker in tried]
    best = int(np.argmax(scores))
    return tried[best], {"clicks_per_item": scores[best]}


TRAINER = Trainer(
    train_linear_hash,
    {
        "default": PretrainingPreset(
            shares={"random": 1.0}, sessions=50, search_sessions=None, settings=LinearHashSettings()
        )
    },
)
"""``gems-gym pretrain ranker --kind linear_hash`` trains one."""


class MostClicked:
    """Shows every user the items that this user clicked most so far; ties, and the rest, by item id."""

    def __init__(self, env: Any) -> None:
        config = env.unwrapped.config
        self._num_items, self._slate_size = config.num_items, config.slate_size
        self._counts = np.zeros((0, config.num_items), dtype=np.int64)  # (num_users, num_items)

    def reset(self, seeds: Sequence[int]) -> None:
        """Begins a session for each seed; nothing here is random, so only their number counts."""
        self._counts = np.zeros((len(seeds), self._num_items), dtype=np.int64)

    def act(self, observations: Mapping[str, np.ndarray]) -> np.ndarray:
        """Slates in the shape of the slates observed: ``(slate_size,)`` or ``(num_users, slate_size)``."""
        slates = np.atleast_2d(observations["slate"])  # (num_users, slate_size)
        clicks = np.atleast_2d(observations["clicks"])  # (num_users, slate_size)
        np.add.at(self._counts, (np.arange(len(slates))[:, None], slates), clicks)
        best = np.argsort(-self._counts, axis=1, kind="stable")[:, : self._slate_size]
        return best.astype(np.int64).reshape(np.shape(observations["slate"]))


class MeanActionAgent:
    """Learns the mean of the dataset's actions, and always plays it."""

    learns_from: ClassVar[Literal["dataset", "environment"]] = "dataset"

    def __init__(self) -> None:
        self.mean_action: np.ndarray | None = None  # (action_size,)

    def fit(
        self,
        source: Any,
        *,
        steps: int,
        seed: int,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Callable[[Callable[[np.ndarray], np.ndarray]], float] | None = None,
        progress: bool = True,
    ) -> None:
        """Reads the first ``steps`` episodes of a Minari dataset (or of the one with that id)."""
        if isinstance(source, str):
            source = open_dataset(source)
        episodes = source.iterate_episodes(range(min(steps, source.total_episodes)))
        self.mean_action = np.mean(
            [episode.actions.mean(axis=0) for episode in episodes], axis=0, dtype=np.float32
        )

    def act(self, observations: np.ndarray) -> np.ndarray:
        """The same action for every user, ``(N, action_size)`` float32."""
        if self.mean_action is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        return np.repeat(self.mean_action[None], len(observations), axis=0)

    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` into a directory."""
        if self.mean_action is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        save_artifact(
            Path(directory) / "policy.safetensors", "policy/mean_action", {"mean": self.mean_action}, {}
        )

    @classmethod
    def load(cls, directory: Path) -> MeanActionAgent:
        """Reads what :meth:`save` wrote."""
        agent = cls()
        agent.mean_action = load_artifact(
            Path(directory) / "policy.safetensors", "policy/mean_action"
        ).tensors["mean"]
        return agent


def bored_after(preset: str = "impatient") -> None:
    """Print how many recent clicks on a topic bore the users of a preset.

    As a command: ``gems-gym bored-after --preset diffuse_mix``.
    """
    sys.stdout.write(f"{preset_config(preset).boredom_threshold}\n")
