"""What the rankers have in common that score items by fixed item embeddings and need no training of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.embeddings.base import EmbeddingTable
from gems_gym.rankers.stored import StoredRanker


class ItemVectorRanker(StoredRanker):
    """Base of rankers made of item embeddings and a few options.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: items in a slate, ≥ 1.
        catalog_hash: hash of the catalogue that the item ids belong to.
        header: what else to record in the file.
        sha256: digest of the file it was read from, if any.

    Raises:
        ValueError: embeddings of another shape or not finite, or a slate size below 1.
    """

    queries_per_slate: bool = False
    """Whether a latent holds one query for each slot, rather than one for the slate."""

    def __init__(
        self,
        item_embeddings: NDArray[np.floating[Any]],
        slate_size: int,
        catalog_hash: str,
        *,
        header: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        tensors = {"item_embeddings": np.asarray(item_embeddings)}
        super().__init__(tensors, ["item_embeddings"], catalog_hash, header, sha256)
        embeddings = self.tensors["item_embeddings"]
        if embeddings.ndim != 2 or 0 in embeddings.shape:
            raise ValueError(f"item_embeddings has shape {embeddings.shape}; (num_items, E) was expected")
        if type(slate_size) is not int or slate_size < 1:
            raise ValueError(f"slate_size must be a whole number ≥ 1, got {slate_size!r}")
        self.num_items, self.embedding_size = embeddings.shape
        self.slate_size = slate_size
        self.action_size = self.embedding_size * (slate_size if self.queries_per_slate else 1)
        # Transposed, so that the kernels run over items side by side in memory.
        self._items = np.ascontiguousarray(embeddings.T)  # (E, num_items)
        self._bias = np.zeros(self.num_items, dtype=np.float32)  # (num_items,) added to the dot products

    @classmethod
    def from_embeddings(cls, table: EmbeddingTable, slate_size: int, **options: Any) -> Self:
        """Makes the ranker from item embeddings, whose origin is recorded.

        Args:
            table: the embeddings, see :func:`gems_gym.embeddings.load_embeddings`.
            slate_size: items in a slate.
            options: the ranker's own (``option_names``).

        Raises:
            TypeError: an unknown option.
            ValueError: an option out of its range.
        """
        header = {"item_embeddings": table.provenance}
        return cls(table.vectors, slate_size, table.catalog_hash, header=header, **options)

    @classmethod
    def _restore(cls, tensors: Mapping[str, np.ndarray], sizes: Mapping[str, Any], **arguments: Any) -> Self:
        if "item_embeddings" not in tensors or "slate_size" not in sizes:
            raise ValueError("it lacks the tensor item_embeddings or sizes.slate_size")
        return cls(tensors["item_embeddings"], sizes["slate_size"], **arguments)
