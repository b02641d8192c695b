"""Latents for the WkNN ranker whose items critics have chosen, and a policy that acts by them, on NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.networks import FeedForward
from gems_gym.policies.saved import MemorylessLatents
from gems_gym.rankers import WknnRanker
from gems_gym.rankers.item_lists import stored_search

Values = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""Beliefs ``(rows, belief_size)`` and latents ``(rows, action_size)`` -> values ``(rows,)``."""


def refined(
    ranker: WknnRanker, beliefs: NDArray[np.float32], latents: NDArray[np.float32], values: Values
) -> NDArray[np.float32]:
    """Latents that point at the items that a critic chooses near to where given ones point.

    Args:
        ranker: Finds the items.
        beliefs: ``(num_users, belief_size)``.
        latents: ``(num_users, action_size)`` in [-1, 1].
        values: The critic.

    Returns:
        Of the latents' shape; the ranker shows those items for them.
    """

    def critic(actions: NDArray[np.float32]) -> NDArray[np.float32]:
        users, count, size = actions.shape
        return values(np.repeat(beliefs, count, axis=0), actions.reshape(-1, size)).reshape(users, count)

    slates = ranker.rank(latents, critic)
    return ranker.encode(slates, np.zeros_like(slates))


class RefinedLatents(MemorylessLatents):
    """An actor's latents, refined by its critics; the lower of two values counts.

    A user's action has the same bits whatever the number of users beside it.

    Args:
        networks: ``actor``, from a belief to a latent; ``first_critic`` and ``second_critic``, from a belief and a
            latent to a number, the larger the better.
        ranker: Finds the items that are chosen among.
        metadata: How it was made; JSON types only.

    Raises:
        ValueError: Sizes that do not fit together.
        KeyError: A network is missing.
    """

    kind = "policy/wolpertinger_sac"

    def __init__(
        self,
        networks: Mapping[str, FeedForward],
        ranker: WknnRanker,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.networks, self.ranker, self.metadata = dict(networks), ranker, dict(metadata or {})
        actor, *critics = (networks[name] for name in ("actor", "first_critic", "second_critic"))
        self.observation_size, self.action_size = actor.input_size, ranker.action_size
        both = self.observation_size + self.action_size
        if actor.output_size != self.action_size or any(
            (one.input_size, one.output_size) != (both, 1) for one in critics
        ):
            raise ValueError(
                f"the networks do not fit {ranker.kind} with latents of {self.action_size} numbers"
            )

    def __call__(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chooses the action of each user; see :class:`~gems_gym.policies.saved.MemorylessLatents`."""
        beliefs = self.checked_observations(observations).astype(np.float32)
        return refined(self.ranker, beliefs, self.networks["actor"](beliefs), self._least_values)

    def _least_values(
        self, beliefs: NDArray[np.float32], latents: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        both = np.concatenate([beliefs, latents], axis=1)
        least: NDArray[np.float32] = np.minimum(
            self.networks["first_critic"](both), self.networks["second_critic"](both)
        )[:, 0]
        return least

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        tensors = dict(self.ranker.tensors)
        for name, network in self.networks.items():
            tensors |= network.to_tensors(name)
        ranker = {name: getattr(self.ranker, name) for name in _RANKER}
        if self.ranker.search != "exact":
            ranker["search"] = self.ranker.header["search"]
        layers = {name: network.spec for name, network in self.networks.items()}
        return tensors, {**self.sizes, "layers": layers, "ranker": ranker, "metadata": self.metadata}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> RefinedLatents:
        """The reverse of :meth:`to_parts`."""
        networks = {
            name: FeedForward.from_tensors(tensors, name, layers) for name, layers in header["layers"].items()
        }
        options = {name: header["ranker"][name] for name in _RANKER}
        search = stored_search(tensors, header["ranker"])
        ranker = WknnRanker(tensors["item_embeddings"], search=search, **options)
        return cls(networks, ranker, header["metadata"])


_RANKER = ("slate_size", "catalog_hash", "k", "deduplicate")
"""What makes the ranker, beside its embeddings."""
