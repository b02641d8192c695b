"""What the rankers have in common that score items by fixed item embeddings and need no training of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Units, as_array, checked
from gems_gym.embeddings.base import EmbeddingTable
from gems_gym.rankers.stored import StoredRanker, check_enough_items, checked_latents


class ItemVectorRanker(StoredRanker):
    """Base of rankers made of item embeddings and a few options.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: Items in a slate, in [1, 65,536].
        catalog_hash: Hash of the catalogue that the item ids belong to.
        header: What else to record in the file.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: Embeddings of another shape, empty or not finite, or a slate size out of its range.
    """

    queries_per_slate: bool = False
    """Whether a latent holds one query for each slot, rather than one for the slate."""

    always_distinct: bool = False
    """Whether a slate never holds an item twice, whatever the options."""

    def __init__(
        self,
        item_embeddings: NDArray[np.floating[Any]],
        slate_size: int,
        catalog_hash: str,
        *,
        header: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        tensors = {"item_embeddings": as_array(item_embeddings, "item_embeddings")}
        super().__init__(tensors, ["item_embeddings"], catalog_hash, header, sha256)
        embeddings = self.tensors["item_embeddings"]
        if embeddings.ndim != 2 or 0 in embeddings.shape:
            raise ValueError(f"item_embeddings has shape {embeddings.shape}; (num_items, E) was expected")
        slate_size = checked("slate_size", slate_size, Units)
        self.num_items, self.embedding_size = embeddings.shape
        if self.always_distinct:
            check_enough_items(self.num_items, slate_size, f"a {self.kind}")
        self.slate_size = slate_size
        self.action_size = self.embedding_size * (slate_size if self.queries_per_slate else 1)
        # Transposed, so that the kernels run over items side by side in memory.
        self._items = np.ascontiguousarray(embeddings.T)  # (E, num_items)
        self._bias = np.zeros(self.num_items, dtype=np.float32)  # (num_items,) added to the dot products

    @classmethod
    def from_embeddings(cls, table: EmbeddingTable, slate_size: int, **options: Any) -> Self:
        """Makes the ranker from item embeddings, whose origin is recorded.

        Args:
            table: The embeddings, see :func:`gems_gym.embeddings.load_embeddings`.
            slate_size: Items in a slate.
            options: The ranker's own (``option_names``).

        Raises:
            TypeError: An unknown option.
            ValueError: An option out of its range.
        """
        header = {"item_embeddings": table.provenance}
        return cls(table.vectors, slate_size, table.catalog_hash, header=header, **options)

    @classmethod
    def _restore(cls, tensors: Mapping[str, np.ndarray], sizes: Mapping[str, Any], **arguments: Any) -> Self:
        if "item_embeddings" not in tensors or "slate_size" not in sizes:
            raise ValueError("it lacks the tensor item_embeddings or sizes.slate_size")
        return cls(tensors["item_embeddings"], sizes["slate_size"], **arguments)


class SlotQueryRanker(ItemVectorRanker):
    """Base of rankers whose latents hold one query for each slot: ``slate_size`` times E numbers, slot by slot.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: Items in a slate.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        deduplicate: No item twice in a slate: slots choose one after the other among the items that are left.
        header: What else to record in the file.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: Embeddings of another shape or not finite, or options out of range.
    """

    option_names: tuple[str, ...] = ("deduplicate",)
    queries_per_slate = True

    def __init__(
        self,
        item_embeddings: NDArray[np.floating[Any]],
        slate_size: int,
        catalog_hash: str,
        *,
        deduplicate: bool = True,
        **recorded: Any,
    ) -> None:
        super().__init__(item_embeddings, slate_size, catalog_hash, **recorded)
        self.deduplicate = checked("deduplicate", deduplicate, bool)
        if self.deduplicate:
            check_enough_items(self.num_items, slate_size, "deduplicate=True")

    def _queries(self, latents: np.ndarray) -> np.ndarray:
        """The queries in latents, float32 ``(num_users, slate_size, E)``; ValueErrors say what is wrong with them."""
        return checked_latents(latents, self.action_size).reshape(-1, self.slate_size, self.embedding_size)
