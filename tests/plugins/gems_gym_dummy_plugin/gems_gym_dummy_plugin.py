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
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.config import preset_config
from gems_gym.datasets import open_dataset
from gems_gym.policies import MemorylessPolicy, Policy
from gems_gym.policies.base import Observed, Shown
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import PretrainingPreset, Trainer
from gems_gym.rankers.stored import checked_latents

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
        latents = checked_latents(latents, self.action_size)  # another shape, or NaN, is an error
        # Integers, so that a row's sums do not depend on how many rows are multiplied with it.
        grid = np.rint(latents.astype(np.float64) * 1024).astype(np.int64)
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

    observes: Observed = "slates"
    actions: Shown = "slates"

    def __init__(self, env: Any) -> None:
        config = env.unwrapped.config
        self._num_items, self._slate_size = config.num_items, config.slate_size

    def open(self, seeds: Sequence[int]) -> np.ndarray:
        """Begins a session for each seed: no clicks yet on any item, ``(num_users, num_items)``."""
        return np.zeros((len(seeds), self._num_items), dtype=np.int64)

    def act(self, state: np.ndarray, observations: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Slates in the shape of the slates observed: ``(slate_size,)`` or ``(num_users, slate_size)``."""
        slates = np.atleast_2d(observations["slate"])  # (num_users, slate_size)
        clicks = np.atleast_2d(observations["clicks"])  # (num_users, slate_size)
        np.add.at(state, (np.arange(len(slates))[:, None], slates), clicks)
        best = np.argsort(-state, axis=1, kind="stable")[:, : self._slate_size]
        return best.astype(np.int64).reshape(np.shape(observations["slate"])), state


class MeanActionAgent:
    """Learns the mean of the dataset's actions, and always plays it."""

    learns_from: ClassVar[Literal["dataset", "environment"]] = "dataset"

    def __init__(self) -> None:
        self.mean_action: np.ndarray | None = None  # (action_size,)

    @checked_arguments
    def fit(
        self,
        source: Any,
        *,
        steps: Count,
        seed: int,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Callable[[Policy], float] | None = None,
        progress: bool = True,
    ) -> None:
        """Reads the first ``steps`` episodes of a Minari dataset (or of the one with that id)."""
        if isinstance(source, str):
            source = open_dataset(source)
        episodes = source.iterate_episodes(range(min(steps, source.total_episodes)))
        self.mean_action = np.mean(
            [episode.actions.mean(axis=0) for episode in episodes], axis=0, dtype=np.float32
        )

    @property
    def policy(self) -> Policy:
        """The same action for every user, ``(N, action_size)`` float32."""
        if self.mean_action is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        mean = self.mean_action[None]
        return MemorylessPolicy(lambda observations: np.repeat(mean, len(observations), axis=0))

    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` into a directory."""
        if self.mean_action is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        save_artifact(
            Path(directory) / "policy.safetensors", "policy/mean_action", {"mean": self.mean_action}, {}
        )

    @classmethod
    def load(cls, directory: Path) -> Policy:
        """Reads what :meth:`save` wrote."""
        agent = cls()
        agent.mean_action = load_artifact(
            Path(directory) / "policy.safetensors", "policy/mean_action"
        ).tensors["mean"]
        return agent.policy


class PopularAgent:
    """Learns from users which items are clicked most, and shows those to everybody: an agent that shows slates.

    Args:
        smoothing: Clicks that every item is counted as shown without, at the start.
    """

    learns_from: ClassVar[Literal["dataset", "environment"]] = "environment"
    observes: ClassVar[Observed] = "slates"
    actions: ClassVar[Shown] = "slates"

    def __init__(self, smoothing: float = 1.0) -> None:
        self.smoothing = smoothing
        self.slate: np.ndarray | None = None  # (slate_size,)

    @checked_arguments
    def fit(
        self,
        source: Any,
        *,
        steps: Count,
        seed: int,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Callable[[Policy], float] | None = None,
        progress: bool = True,
    ) -> None:
        """Shows random slates for ``steps`` interactions of a slate vector environment."""
        rng = np.random.default_rng(seed)
        num_items, shape = int(source.single_action_space.nvec[0]), source.action_space.shape
        shown, clicked = np.full(num_items, self.smoothing), np.zeros(num_items)
        source.reset(seed=seed)
        for _ in range(-(-steps // source.num_envs)):
            slates = rng.integers(num_items, size=shape)  # (num_users, slate_size)
            observations, *_ = source.step(slates)
            np.add.at(shown, slates, 1)
            np.add.at(clicked, slates, observations["clicks"])
        self.slate = np.argsort(-clicked / shown, kind="stable")[: shape[1]].astype(np.int64)

    @property
    def policy(self) -> Policy:
        """The most clicked items, for everybody."""
        if self.slate is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        slate = self.slate[None]
        return MemorylessPolicy(lambda seen: np.repeat(slate, len(seen["slate"]), axis=0), "slates", "slates")

    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` into a directory."""
        if self.slate is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        save_artifact(Path(directory) / "policy.safetensors", "policy/popular", {"slate": self.slate}, {})

    @classmethod
    def load(cls, directory: Path) -> Policy:
        """Reads what :meth:`save` wrote."""
        agent = cls()
        agent.slate = load_artifact(Path(directory) / "policy.safetensors", "policy/popular").tensors["slate"]
        return agent.policy


def bored_after(preset: str = "impatient") -> None:
    """Print how many recent clicks on a topic bore the users of a preset.

    As a command: ``gems-gym bored-after --preset diffuse_mix``.
    """
    sys.stdout.write(f"{preset_config(preset).boredom_threshold}\n")
