"""The WkNN ranker (Wolpertinger): the items nearest to each slot's query, of which a critic may choose.

Dulac-Arnold et al., *Deep Reinforcement Learning in Large Discrete Action Spaces*, 2015 (arXiv 1512.07679); for slates
as in the baseline "SAC+WkNN" of arXiv 2301.08632.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol, cast

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from gems_gym.common.checks import checked
from gems_gym.rankers.item_lists import ItemLists, Search
from gems_gym.rankers.item_vectors import SlotQueryRanker
from gems_gym.rankers.stored import checked_sessions


class SlateCritic(Protocol):
    """Values actions of users whose state it knows, e.g. an agent's Q-function with its observations bound."""

    def __call__(self, actions: NDArray[np.float32]) -> NDArray[np.floating[Any]]:
        """Values ``(num_users, num_candidates)``, more is better.

        Args:
            actions: float32 ``(num_users, num_candidates, action_size)`` in [-1, 1], user by user in the order of
                the latents that are ranked.
        """


class WknnRanker(SlotQueryRanker):
    """Shows in every slot one of the items nearest to the slot's query, by Euclidean distance.

    A latent is ``slate_size`` queries of E numbers, slot by slot. A query's box [-1, 1]^E is scaled to the smallest box
    that holds all item embeddings, so every item can be pointed at: the point is ``centre + half_width * query``, where
    distances are taken. Of equals the lowest id is nearest.

    Without a critic the nearest item is shown (and ``k`` has no effect). With one, slots choose one after the other
    among the ``k`` nearest items: the one whose action the critic values most, the nearest of equals. That action is
    the latent with the slot's query, and those of the slots before it, replaced by the coordinates of the items chosen.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: Items in a slate.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        k: Candidates for a slot when there is a critic, ≥ 1.
        deduplicate: No item twice in a slate: slots choose among the items that are left, candidates likewise.
        search: "exact", or "ivf" for large catalogues, which requires faiss (extra ``search``); or the lists of another
            ranker.
        header: What else to record in the file.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: Embeddings of another shape or not finite, or options out of range.

    Example:
        >>> ranker = WknnRanker(np.array([[0.0, 0], [0, 4], [2, 2]]), slate_size=1, catalog_hash="none", k=2)
        >>> ranker.rank(np.array([[-1, -1], [0.5, 0.2]], dtype=np.float32))
        array([[0],
               [2]])
    """

    kind = "ranker/wknn"
    option_names = ("k", "deduplicate", "search")

    def __init__(
        self,
        item_embeddings: NDArray[np.floating[Any]],
        slate_size: int,
        catalog_hash: str,
        *,
        k: int = 10,
        deduplicate: bool = True,
        search: Search | ItemLists = "exact",
        **recorded: Any,
    ) -> None:
        super().__init__(item_embeddings, slate_size, catalog_hash, deduplicate=deduplicate, **recorded)
        # The last slot of a slate without duplicates still has k items to choose from.
        most = self.num_items - (slate_size - 1 if deduplicate else 0)
        self.k = checked("k", k, Annotated[int, Interval(ge=1, le=most)])
        embeddings = self.tensors["item_embeddings"]
        low, high = embeddings.min(axis=0), embeddings.max(axis=0)
        self._centre = (low + high) / 2  # (E,)
        half_width = (high - low) / 2
        self._half_width = np.where(half_width > 0, half_width, np.float32(1))  # (E,)
        # |point - item|² is |point|² - 2 (point · item - |item|² / 2): the nearest item has the largest bracket.
        # Distances from the centre, so that little is lost to rounding.
        offsets = embeddings - self._centre
        self._items = np.ascontiguousarray(offsets.T)
        self._bias = (-0.5 * (offsets.astype(np.float64) ** 2).sum(axis=1)).astype(np.float32)
        # (num_items, E): the queries that hit them
        self._coordinates = np.clip(offsets / self._half_width, -1, 1)
        # a slot's, used ones among them
        self._candidates = self.k + (slate_size - 1 if self.deduplicate else 0)
        self._search = self._searching(self._items, self._bias, search, self._candidates, self._asked)

    def rank(self, latents: np.ndarray, critic: SlateCritic | None = None) -> np.ndarray:
        """The slates for latents.

        Args:
            latents: float ``(num_users, slate_size * E)`` in [-1, 1].
            critic: Chooses among the candidates; None: the nearest are shown. A slate depends on its own row only if
                the critic's values do.

        Returns:
            int64 ``(num_users, slate_size)``.

        Raises:
            ValueError: A wrong shape or dtype, latents that are not finite, or a critic whose values are of another
                shape or NaN.
        """
        queries = self._queries(latents)
        if critic is None:
            return self._search.best_per_slot(queries * self._half_width, self.deduplicate)
        nearest = self._search.best(self._asked(latents), self._candidates)
        return self._refined(queries.copy(), nearest.reshape(*queries.shape[:2], -1), critic)

    def _asked(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        """Offsets from the centre, slot by slot."""
        return (self._queries(latents) * self._half_width).reshape(-1, self.embedding_size)

    def _refined(self, queries: np.ndarray, nearest: np.ndarray, critic: SlateCritic) -> np.ndarray:
        """Slates that the critic chose; ``queries`` ends as their actions."""
        users = np.arange(len(queries))
        slates = np.empty(queries.shape[:2], dtype=np.int64)
        for slot in range(self.slate_size):
            candidates = nearest[:, slot]  # (num_users, count), nearest first
            if self.deduplicate:
                used = (candidates[:, :, None] == slates[:, None, :slot]).any(axis=2)
                # stable: the unused ones move to the front, in their order
                unused_first = np.argsort(used, axis=1, kind="stable")
                candidates = np.take_along_axis(candidates, unused_first, axis=1)
            candidates = candidates[:, : self.k]
            actions = np.repeat(queries[:, None], self.k, axis=1)  # (num_users, k, slate_size, E)
            actions[:, :, slot] = self._coordinates[candidates]
            values = self._checked_values(critic(actions.reshape(len(users), self.k, -1)), candidates.shape)
            slates[:, slot] = candidates[users, values.argmax(axis=1)]
            queries[:, slot] = self._coordinates[slates[:, slot]]
        return slates

    def _checked_values(self, values: Any, shape: tuple[int, ...]) -> np.ndarray:
        values = np.asarray(values)
        if values.shape != shape or np.isnan(values).any():
            raise ValueError(
                f"critic gave values of shape {values.shape}, {np.isnan(values).sum()} of them NaN; numbers of shape "
                f"{shape} were expected"
            )
        return cast(np.ndarray, values)

    def encode(self, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The latents that point at the items of slates; clicks are checked and have no effect.

        Args:
            slates: Integer ``(num_users, slate_size)`` item ids.
            clicks: ``(num_users, slate_size)`` zeros and ones.

        Returns:
            float32 ``(num_users, slate_size * E)`` in [-1, 1]. Ranking them gives the slates back, unless two items
            have the same embedding or ``deduplicate`` replaces a repeated one.

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        slates, _ = checked_sessions(slates, clicks, self.slate_size, self.num_items)
        found: np.ndarray = self._coordinates[slates].reshape(len(slates), self.action_size)
        return found
