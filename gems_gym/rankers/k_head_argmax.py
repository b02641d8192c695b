"""The k-head argmax ranker: one query for each slot, and the best item for each query."""

from __future__ import annotations

import numpy as np

from gems_gym.rankers.item_vectors import SlotQueryRanker
from gems_gym.rankers.kernels import best_per_slot


class KHeadArgmaxRanker(SlotQueryRanker):
    """Shows in every slot the item whose embedding has the largest dot product with the slot's query.

    A latent is ``slate_size`` queries of E numbers, slot by slot: its first E numbers are the query of the first slot.
    Only the direction of a query matters, so nothing has to be scaled. Of equals the lowest id is taken. The baseline
    "SAC+k-head argmax" of arXiv 2301.08632.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: Items in a slate.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        deduplicate: No item twice in a slate: slots choose one after the other among the items that are left.
        header: What else to record in the file.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: Embeddings of another shape or not finite, or options out of range.

    Example:
        >>> ranker = KHeadArgmaxRanker(np.array([[1, 0], [0, 1]]), slate_size=2, catalog_hash="none")
        >>> ranker.rank(np.array([[0.1, 0.5, 0.1, 0.5]], dtype=np.float32))
        array([[1, 0]])
    """

    kind = "ranker/k_head_argmax"

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """The slates for latents: float ``(num_users, slate_size * E)`` to int64 ``(num_users, slate_size)``.

        Raises:
            ValueError: A wrong shape or dtype, or latents that are not finite.
        """
        return best_per_slot(self._queries(latents), self._items, self._bias, self.deduplicate)
