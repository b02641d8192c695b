"""A ranker, a belief and an agent for gems-gym: copy this folder, and put your own in their place.

Nothing is inherited: gems-gym asks for methods and attributes only, and finds the classes by the entry points in
``pyproject.toml``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from gems_gym.artifacts import Artifact, load_artifact, save_artifact
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.policies import MemorylessPolicy, Policy
from gems_gym.rankers import TopKRanker
from gems_gym.rankers.stored import checked_sessions


class SpreadTopK:
    """A ranker: every third of the items that are nearest to the latent, for slates of more variety."""

    kind = "ranker/spread_topk"
    stride = 3

    def __init__(
        self, item_embeddings: np.ndarray, slate_size: int, catalog_hash: str, sha256: str | None = None
    ) -> None:
        self.num_items, self.action_size = item_embeddings.shape
        self.item_embeddings, self.slate_size = item_embeddings, slate_size
        self.catalog_hash, self.sha256 = catalog_hash, sha256
        self._nearest = TopKRanker(item_embeddings, self.stride * slate_size, catalog_hash, cosine=True)

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """Latents (N, action_size) in [-1, 1] to slates (N, slate_size), best first."""
        return self._nearest.rank(latents)[:, :: self.stride].copy()

    def save(self, path: str | Path) -> str:
        """Write a file that holds no code; returns its sha256."""
        header = {"catalog_hash": self.catalog_hash, "slate_size": self.slate_size}
        self.sha256 = save_artifact(path, self.kind, {"item_embeddings": self.item_embeddings}, header)
        return self.sha256

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> SpreadTopK:
        """Make the ranker of what save() wrote."""
        header = artifact.header
        return cls(
            artifact.tensors["item_embeddings"], header["slate_size"], header["catalog_hash"], artifact.sha256
        )


class ClickMemory:
    """A belief: the mean embedding of the items that a user clicked, in which each slate fades the older ones."""

    kind = "belief/click_memory"
    fade = 0.9

    def __init__(
        self, item_embeddings: np.ndarray, slate_size: int, catalog_hash: str, sha256: str | None = None
    ) -> None:
        self.num_items, self.size = item_embeddings.shape
        self.item_embeddings = (item_embeddings / np.abs(item_embeddings).max()).astype(np.float32)
        self.slate_size, self.catalog_hash, self.sha256 = slate_size, catalog_hash, sha256

    def initial(self, num_users: int) -> np.ndarray:
        """What is remembered before the first slate, (num_users, size)."""
        return np.zeros((num_users, self.size), np.float32)

    def update(self, state: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """What is remembered after one more slate, (num_users, slate_size), and the clicks on it."""
        slates, clicks = checked_sessions(slates, clicks, self.slate_size, self.num_items, lowest=-1)
        clicked = (self.item_embeddings[slates] * clicks[:, :, None]).sum(axis=1)  # (num_users, size)
        counts = clicks.sum(axis=1)[:, None]
        mean = clicked / np.maximum(counts, 1)
        return np.where(counts > 0, self.fade * state + (1 - self.fade) * mean, state).astype(np.float32)

    def read(self, state: np.ndarray) -> np.ndarray:
        """The belief, float32 (num_users, size) in [-1, 1]."""
        return state

    def save(self, path: str | Path) -> str:
        """Write a file that holds no code; returns its sha256."""
        header = {"catalog_hash": self.catalog_hash, "slate_size": self.slate_size}
        self.sha256 = save_artifact(path, self.kind, {"item_embeddings": self.item_embeddings}, header)
        return self.sha256

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> ClickMemory:
        """Make the belief of what save() wrote."""
        header = artifact.header
        return cls(
            artifact.tensors["item_embeddings"], header["slate_size"], header["catalog_hash"], artifact.sha256
        )


class LatentSearch:
    """An agent: searches by the cross-entropy method for the one latent that gets most clicks, and always plays it.

    Args:
        slates: Slates for which each user is shown one latent, before it is judged by their clicks.
    """

    learns_from: ClassVar[Literal["dataset", "environment"]] = "environment"

    @checked_arguments
    def __init__(self, slates: Count = 20) -> None:
        self.slates = slates
        self.latent: np.ndarray | None = None  # (action_size,)

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
        """Learn by ``steps`` interactions with the users of a vector environment of beliefs and latents."""
        rng = np.random.default_rng(seed)
        num_users, size = source.action_space.shape
        mean, std = np.zeros(size), np.ones(size)
        source.reset(seed=seed)
        for _ in range(max(1, steps // (num_users * self.slates))):
            latents = np.clip(rng.normal(mean, std, (num_users, size)), -1, 1).astype(np.float32)
            clicks = sum(source.step(latents)[1] for _ in range(self.slates))  # (num_users,)
            best = latents[np.argsort(-clicks, kind="stable")[: max(1, num_users // 5)]]
            mean, std = best.mean(axis=0), best.std(axis=0)
        self.latent = mean.astype(np.float32)

    @property
    def policy(self) -> Policy:
        """What was learned."""
        latent = self._learned()
        return MemorylessPolicy(lambda beliefs: np.repeat(latent[None], len(beliefs), axis=0))

    def save(self, directory: Path) -> None:
        """Write ``policy.safetensors`` into a folder."""
        path = Path(directory) / "policy.safetensors"
        save_artifact(path, "policy/latent_search", {"latent": self._learned()}, {})

    @classmethod
    def load(cls, directory: Path) -> Policy:
        """Read what save() wrote."""
        agent = cls()
        path = Path(directory) / "policy.safetensors"
        agent.latent = load_artifact(path, "policy/latent_search").tensors["latent"]
        return agent.policy

    def _learned(self) -> np.ndarray:
        if self.latent is None:
            raise RuntimeError("this agent has learned nothing yet: call fit first")
        return self.latent
