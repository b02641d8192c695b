"""The TopK ranker: one query, and the items nearest to its direction."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import checked
from gems_gym.common.threads import one_thread
from gems_gym.rankers.item_lists import ItemLists, Search
from gems_gym.rankers.item_vectors import ItemVectorRanker
from gems_gym.rankers.stored import checked_latents, checked_sessions


class TopKRanker(ItemVectorRanker):
    """Shows the items whose embeddings have the largest dot product, or cosine, with the latent, best first.

    The latent is the query: only its direction matters, so the box [-1, 1]^E holds all of them and nothing has to be
    scaled. No item stands twice in a slate; of equals the lowest id comes first (for a latent of zeros: items 0, 1, …).
    The baselines "SAC+TopK" of arXiv 2301.08632 with true ("ideal") or matrix-factorisation embeddings.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: Items in a slate, at most ``num_items``.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        cosine: Whether embeddings count by their direction only. Learned ones are longer for popular items; by dot
            products, those stand in most slates.
        search: "exact", or "ivf" for large catalogues, which requires faiss (extra ``search``); or the lists of another
            ranker.
        header: What else to record in the file.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: Embeddings of another shape or not finite, a slate size out of range, or with ``cosine`` an
            embedding of zeros, which has no direction.

    Example:
        >>> ranker = TopKRanker(np.array([[1, 0], [0, 1], [1, 1]]), slate_size=2, catalog_hash="none")
        >>> ranker.rank(np.array([[0.5, 0.1], [-0.5, 0.1]], dtype=np.float32))
        array([[2, 0],
               [1, 2]])
    """

    kind = "ranker/topk"
    option_names = ("cosine", "search")
    always_distinct = True

    def __init__(
        self,
        item_embeddings: NDArray[np.floating[Any]],
        slate_size: int,
        catalog_hash: str,
        *,
        cosine: bool = False,
        search: Search | ItemLists = "exact",
        **recorded: Any,
    ) -> None:
        super().__init__(item_embeddings, slate_size, catalog_hash, **recorded)
        self.cosine = checked("cosine", cosine, bool)
        if self.cosine:
            lengths = np.linalg.norm(self._items, axis=0)  # (num_items,)
            if not lengths.all():
                item = int(np.flatnonzero(lengths == 0)[0])
                raise ValueError(f"item_embeddings[{item}] is zeros, which have no direction for cosine=True")
            self._items = self._items / lengths
        self._search = self._searching(self._items, self._bias, search, self.slate_size, self._asked)

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """The slates for latents: float ``(num_users, E)`` to int64 ``(num_users, slate_size)``.

        Raises:
            ValueError: A wrong shape or dtype, or latents that are not finite.
        """
        return self._search.best(self._asked(latents), self.slate_size)

    def _asked(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        return checked_latents(latents, self.action_size)

    def encode(self, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The latents that score the slates' items 1 and all others 0, by least squares; clicks have no effect.

        Args:
            slates: Integer ``(num_users, slate_size)`` item ids.
            clicks: ``(num_users, slate_size)`` zeros and ones.

        Returns:
            float32 ``(num_users, E)`` in [-1, 1]. Ranking them gives back as much of the slates as have one direction;
            zeros where they have none.

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        slates, _ = checked_sessions(slates, clicks, self.slate_size, self.num_items)
        latents = self._answers[slates].sum(axis=1)  # (num_users, E)
        largest = np.abs(latents).max(axis=1, keepdims=True)
        rounding = 1e-12 * np.abs(self._answers).max()  # of items whose answers cancel, or have none
        found: np.ndarray = np.divide(latents, largest, out=np.zeros_like(latents), where=largest > rounding)
        return found.astype(np.float32)

    @cached_property
    @one_thread()
    def _answers(self) -> NDArray[np.float64]:
        """The latent that asks for each item alone, ``(num_items, E)``."""
        return np.linalg.pinv(self._items.astype(np.float64))
