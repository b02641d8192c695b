"""The TopK ranker: one query, and the items nearest to its direction."""

from __future__ import annotations

import numpy as np

from gems_gym.rankers.item_vectors import ItemVectorRanker
from gems_gym.rankers.kernels import best_of_each
from gems_gym.rankers.stored import checked_latents


class TopKRanker(ItemVectorRanker):
    """Shows the items whose embeddings have the largest dot product with the latent, best first.

    The latent is the query: only its direction matters, so the box [-1, 1]^E holds all of them and nothing has to be
    scaled. No item stands twice in a slate; of equals the lowest id comes first (for a latent of zeros: items 0, 1, …).
    The baselines "SAC+TopK" of arXiv 2301.08632 with true ("ideal") or matrix-factorisation embeddings.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: items in a slate, at most ``num_items``.
        catalog_hash: hash of the catalogue that the item ids belong to.
        header: what else to record in the file.
        sha256: digest of the file it was read from, if any.

    Raises:
        ValueError: embeddings of another shape or not finite, or a slate size out of range.

    Example:
        >>> ranker = TopKRanker(np.array([[1, 0], [0, 1], [1, 1]]), slate_size=2, catalog_hash="none")
        >>> ranker.rank(np.array([[0.5, 0.1], [-0.5, 0.1]], dtype=np.float32))
        array([[2, 0],
               [1, 2]])
    """

    kind = "ranker/topk"
    always_distinct = True

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """The slates for latents: float ``(num_users, E)`` to int64 ``(num_users, slate_size)``.

        Raises:
            ValueError: a wrong shape or dtype, or latents that are not finite.
        """
        queries = checked_latents(latents, self.action_size)
        return best_of_each(queries, self._items, self._bias, self.slate_size)
