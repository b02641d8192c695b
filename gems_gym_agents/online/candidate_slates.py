"""A few candidate slates out of many, and the policy of an agent that knows what each is worth, on NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans, vq

from gems_gym.common.networks import FeedForward
from gems_gym.policies.saved import MemorylessSlates
from gems_gym.pretraining.session_log import SessionLog
from gems_gym_agents.layers import layers_of

_RANDOM_SLATES = 5_000
"""How many are drawn where no log is given."""


class CandidateSlates(MemorylessSlates):
    """Shows the candidate of the highest value; it remembers nothing.

    A user's slate has the same bits whoever is served beside.

    Args:
        network: From a belief to a value for each candidate.
        candidates: The slates, int64 ``(num_candidates, slate_size)``.
        metadata: How it was made; JSON types only.

    Raises:
        ValueError: Another number of candidates than the network's values, or negative item ids.
    """

    kind = "policy/dqn"

    def __init__(
        self, network: FeedForward, candidates: NDArray[np.int64], metadata: Mapping[str, Any] | None = None
    ) -> None:
        self.network, self.candidates, self.metadata = network, candidates, dict(metadata or {})
        if candidates.ndim != 2 or len(candidates) != network.output_size or (candidates < 0).any():
            raise ValueError(
                f"candidates must hold item ids ≥ 0, ({network.output_size}, slate_size); got shape {candidates.shape}"
            )

    def slates(self, beliefs: NDArray[np.float32]) -> NDArray[np.int64]:
        """The best candidates; see :class:`~gems_gym.policies.saved.MemorylessSlates`."""
        best: NDArray[np.int64] = self.candidates[self.network(beliefs).argmax(axis=1)]
        return best

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        tensors = {"candidates": self.candidates, **self.network.to_tensors("values")}
        return tensors, {"layers": self.network.spec, "metadata": self.metadata}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> CandidateSlates:
        """The reverse of :meth:`to_parts`."""
        network = FeedForward.from_tensors(tensors, "values", header["layers"])
        return cls(network, tensors["candidates"], header["metadata"])


def candidate_slates(env: VectorEnv, count: int, log: str | None, seed: int) -> NDArray[np.int64]:
    """The logged slates next to the centres of their k-means, int64 ``(num_candidates, slate_size)``.

    Args:
        env: Whose belief has item embeddings.
        count: How many there are to be, at most: some centres have the same nearest slate.
        log: File of logged sessions; None for random slates.
        seed: Seed of random slates and of the k-means.

    Raises:
        FileNotFoundError: There is no such log.
        ValueError: No item embeddings, no log of this catalogue and slate size, or more candidates than slates in it.
    """
    tensors: list[Any] = [getattr(getattr(one, "encoder", None), "tensors", {}) for one in layers_of(env)]
    embeddings = next((one["item_embeddings"] for one in tensors if "item_embeddings" in one), None)
    if embeddings is None:
        raise ValueError(
            "dqn compares slates by the belief's item embeddings; give a trained belief, such as a GRU"
        )
    rng = np.random.default_rng(seed)
    slates = np.unique(_logged_slates(env, log, rng), axis=0)
    if count > len(slates):
        raise ValueError(
            f"candidates must be at most the number of different slates logged, {len(slates)}; got {count}"
        )
    means = embeddings[slates].mean(axis=1, dtype=np.float64)  # (num_slates, embedding_size)
    centres, _ = kmeans(means, count, iter=1, rng=rng)
    nearest, _ = vq(centres, means)
    found: NDArray[np.int64] = slates[np.unique(nearest)]
    if len(found) < min(count, 2):
        raise ValueError(
            "dqn compares slates by the mean of their items' embeddings, which is the same for all of these: there is "
            "nothing to choose among"
        )
    return found


def _logged_slates(env: VectorEnv, log: str | None, rng: np.random.Generator) -> NDArray[np.int64]:
    action: Any = env.single_action_space
    num_items, slate_size = int(action.nvec[0]), len(action.nvec)
    if log is None:
        return np.stack([rng.choice(num_items, slate_size, replace=False) for _ in range(_RANDOM_SLATES)])
    sessions, catalog = SessionLog.load(Path(log)), env.unwrapped.catalog  # type: ignore[attr-defined]
    if (sessions.catalog_hash, sessions.slates.shape[2]) != (catalog.hash, slate_size):
        raise ValueError(
            f"log={log!r} holds slates of {sessions.slates.shape[2]} of the catalogue {sessions.catalog_hash}; slates "
            f"of {slate_size} of the catalogue {catalog.hash} were expected"
        )
    sessions.check_items(num_items)
    slates = sessions.slates.reshape(-1, slate_size).astype(np.int64)
    complete = slates[(slates >= 0).all(axis=1)]  # -1: nothing was shown
    if len(complete) == 0:
        raise ValueError(f"log={log!r} holds no complete slate of {slate_size} items")
    return complete
