"""Policies that score items by what networks make of a belief, as files, on NumPy alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import first_unused
from gems_gym.common.checks import Count, checked
from gems_gym.common.networks import FeedForward, tanh
from gems_gym.common.products import dense
from gems_gym.policies.saved import MemorylessSlates
from gems_gym.rankers.kernels import best_of_each, draw_items
from gems_gym_agents.slates.options import SlateSearch
from gems_gym_agents.slates.search import SEARCHES


class ItemPolicy(MemorylessSlates):
    """Scores items by dot products of their embeddings with vectors that networks make of a belief, and a bias.

    It is deterministic and remembers nothing. A user's slate has the same bits whoever is served beside.

    Args:
        networks: Name -> a network from beliefs to vectors; those of :attr:`roles`.
        tensors: ``items`` float32 ``(num_items, embedding_size)``, and a bias for each network, ``NAME_bias`` float32
            ``(num_items,)``; others are passed over.
        slate_size: Items in a slate.
        metadata: How it was made; JSON types only.

    Attributes:
        kind: Kind of its files.
        roles: Names of its networks.
        settings: Further arguments, which its file's header holds.
        networks: What was given.
        slate_size: Likewise.
        metadata: Likewise.
        tensors: All that is in its file.
        sha256: Digest of the file it was saved to or read from, None if there is none.

    Raises:
        ValueError: A tensor or a network is missing, has another size than the others, or numbers that are not finite.
    """

    roles: ClassVar[tuple[str, ...]]
    settings: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        networks: Mapping[str, FeedForward],
        tensors: Mapping[str, NDArray[np.float32]],
        slate_size: int,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.networks = {role: networks[role] for role in self.roles}
        self.metadata = dict(metadata or {})
        items = _finite(tensors, "items", 2)
        self.slate_size = checked("slate_size", slate_size, Count)
        if slate_size > len(items):
            raise ValueError(
                f"slate_size must be at most the number of items, {len(items)}; got {slate_size}"
            )
        self._biases = {role: _finite(tensors, f"{role}_bias", 1) for role in self.roles}
        stored = {"items": items} | {f"{role}_bias": bias for role, bias in self._biases.items()}
        for role, network in self.networks.items():
            if network.output_size != items.shape[1] or len(self._biases[role]) != len(items):
                raise ValueError(f"network and bias {role!r} must fit items of shape {items.shape}")
            stored |= network.to_tensors(role)
        self.tensors = stored
        self._items = np.ascontiguousarray(items.T)  # (embedding_size, num_items)

    def _scores(self, role: str, beliefs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of every item, float32 ``(num_users, num_items)``."""
        scores: NDArray[np.float32] = dense(self.networks[role](beliefs), self._items, self._biases[role])
        return scores

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        layers = {role: network.spec for role, network in self.networks.items()}
        settings = {name: getattr(self, name) for name in self.settings}
        header = {"layers": layers, "slate_size": self.slate_size, "metadata": self.metadata, **settings}
        return self.tensors, header

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> Self:
        """The reverse of :meth:`to_parts`."""
        networks = {
            role: FeedForward.from_tensors(tensors, role, header["layers"][role]) for role in cls.roles
        }
        settings = {name: header[name] for name in cls.settings}
        return cls(networks, tensors, header["slate_size"], header["metadata"], **settings)


class TopItemsPolicy(ItemPolicy):
    """Shows the items of the highest scores, best first.

    Args:
        networks: ``query``; the other arguments are those of :class:`ItemPolicy`.
        tensors: See there.
        slate_size: Likewise.
        metadata: Likewise.
    """

    roles = ("query",)

    def slates(self, beliefs: NDArray[np.float32]) -> NDArray[np.int64]:
        """The best items, int64 ``(num_users, slate_size)``."""
        return self._best(self.networks["query"](beliefs))

    def _best(self, queries: NDArray[np.float32]) -> NDArray[np.int64]:
        slates: NDArray[np.int64] = best_of_each(queries, self._items, self._biases["query"], self.slate_size)
        return slates


class HyperActionPolicy(TopItemsPolicy):
    """Shows the items that are closest to a hyper-action; see :mod:`gems_gym_agents.slates.hac`.

    Args:
        networks: ``query``, from beliefs to hyper-actions; the other arguments are those of :class:`ItemPolicy`.
        tensors: See there.
        slate_size: Likewise.
        metadata: Likewise.
    """

    kind = "policy/hac"

    def noisy_slates(
        self, beliefs: NDArray[np.float32], noise: float, rngs: Sequence[np.random.Generator]
    ) -> NDArray[np.int64]:
        """Those of hyper-actions with normal noise of a standard deviation, each user's by a generator of its own."""
        queries = self.networks["query"](beliefs)
        drawn = np.stack([rng.standard_normal(queries.shape[1]) for rng in rngs])
        return self._best((queries + noise * drawn).astype(np.float32))


class PlackettLucePolicy(TopItemsPolicy):
    """Shows the most likely slate of a Plackett–Luce distribution over slates: the items of the highest scores.

    Slates are drawn from it item by item, each from the softmax of the scores of those that are left.

    Args:
        networks: ``query``; the other arguments are those of :class:`ItemPolicy`.
        tensors: See there.
        slate_size: Likewise.
        metadata: Likewise.
    """

    kind = "policy/reinforce_softmax"

    def draw(self, beliefs: NDArray[np.float32], rngs: Sequence[np.random.Generator]) -> NDArray[np.int64]:
        """Draw slates, int64 ``(num_users, slate_size)``, each user's by a generator of its own."""
        uniforms = np.stack([rng.random(self.slate_size) for rng in rngs])
        queries = self.networks["query"](beliefs)
        drawn: NDArray[np.int64] = draw_items(
            queries, self._items, self._biases["query"], 1.0, uniforms, False
        )
        return drawn


class ItemByItemPolicy(ItemPolicy):
    """Fills a slate position by position, by scores that depend on the belief and the items before.

    Slates are drawn, or shown as they are likely, each item from the softmax of the scores of those that are left.

    Args:
        networks: ``query``, from a belief and the embeddings of the slate so far, zero where nothing stands yet; the
            other arguments are those of :class:`ItemPolicy`.
        tensors: See there.
        slate_size: Likewise.
        metadata: Likewise.
    """

    kind = "policy/gfn4rec"
    roles = ("query",)

    def slates(self, beliefs: NDArray[np.float32]) -> NDArray[np.int64]:
        """The most likely item at each position, int64 ``(num_users, slate_size)``."""

        def best(queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
            found: NDArray[np.int64] = best_of_each(queries, self._items, self._biases["query"], count)
            return found

        return self._filled(beliefs, best)

    def draw(self, beliefs: NDArray[np.float32], rngs: Sequence[np.random.Generator]) -> NDArray[np.int64]:
        """Draw slates, int64 ``(num_users, slate_size)``, each user's by a generator of its own."""

        def drawn(queries: NDArray[np.float32], count: int) -> NDArray[np.int64]:
            uniforms = np.stack([rng.random(count) for rng in rngs])
            found: NDArray[np.int64] = draw_items(
                queries, self._items, self._biases["query"], 1.0, uniforms, False
            )
            return found

        return self._filled(beliefs, drawn)

    def _filled(
        self,
        beliefs: NDArray[np.float32],
        choose: Callable[[NDArray[np.float32], int], NDArray[np.int64]],
    ) -> NDArray[np.int64]:
        """Slates of the first new item at each position, among as many different ones as are needed to have one.

        Drawn without replacement, the first new one is from the softmax of those that are left.
        """
        num_users, items = len(beliefs), self.tensors["items"]
        slates = np.empty((num_users, self.slate_size), np.int64)
        shown = np.zeros((num_users, self.slate_size, items.shape[1]), np.float32)
        for position in range(self.slate_size):
            beginnings = np.concatenate([beliefs, shown.reshape(num_users, -1)], axis=1)
            found = choose(self.networks["query"](beginnings), position + 1)  # (num_users, position + 1)
            slates[:, position] = first_unused(found, slates[:, :position])
            shown[:, position] = items[slates[:, position]]
        return slates


class SlateQPolicy(ItemPolicy):
    """Shows the slate of the highest value; see :mod:`gems_gym_agents.slates.slateq`.

    Args:
        networks: ``interest``, whose scores are the logits of attractiveness, and ``value``, of item-wise values.
        tensors: See :class:`ItemPolicy`; and ``propensities``, how likely each position is looked at, float32
            ``(slate_size,)``, ≥ 0.
        slate_size: See :class:`ItemPolicy`.
        metadata: Likewise.
        slate_search: How the slate is found.
    """

    kind = "policy/slateq"
    roles = ("interest", "value")
    settings = ("slate_search",)

    def __init__(
        self,
        networks: Mapping[str, FeedForward],
        tensors: Mapping[str, NDArray[np.float32]],
        slate_size: int,
        metadata: Mapping[str, Any] | None = None,
        slate_search: SlateSearch = "top_k",
    ) -> None:
        super().__init__(networks, tensors, slate_size, metadata)
        self.slate_search: SlateSearch = checked("slate_search", slate_search, SlateSearch)
        propensities = _finite(tensors, "propensities", 1)
        if len(propensities) != slate_size or (propensities < 0).any():
            raise ValueError(f"propensities must be {slate_size} numbers ≥ 0, got {propensities}")
        self._propensities = propensities
        self.tensors = {**self.tensors, "propensities": propensities}

    def slates(self, beliefs: NDArray[np.float32]) -> NDArray[np.int64]:
        """The best slates, int64 ``(num_users, slate_size)``."""
        # a logistic function, by the tanh that has the same bits wherever a number stands
        attractiveness = (tanh(self._scores("interest", beliefs) / 2) + 1) / 2
        values = attractiveness * self._scores("value", beliefs)
        return SEARCHES[self.slate_search](values, self._propensities)


def _finite(tensors: Mapping[str, NDArray[Any]], name: str, dimensions: int) -> NDArray[np.float32]:
    array = np.ascontiguousarray(tensors[name], np.float32)
    if array.ndim != dimensions or not array.size or not np.isfinite(array).all():
        raise ValueError(
            f"{name} must hold finite numbers in {dimensions} dimensions, got shape {array.shape}"
        )
    return array
