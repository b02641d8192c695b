"""The policy of an agent that knows what each of a few slates is worth, on NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.networks import FeedForward
from gems_gym.policies.saved import MemorylessSlates


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
                f"candidates must hold item ids, ({network.output_size}, slate_size); got shape {candidates.shape}"
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
