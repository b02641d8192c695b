"""Lists of items that lie close together, which a search in a large catalogue reads instead of all items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from gems_gym.common.checks import checked

Search = Literal["exact", "ivf"]
"""How a ranker finds the best items: among all, or among those of likely lists (IVF, an inverted file)."""


@dataclass(frozen=True, eq=False)
class ItemLists:
    """Which items stand together, and how many lists are read for a query.

    Attributes:
        of_items: Every item's list, int32 ``(num_items,)``; no list is empty.
        report: ``lists`` and ``probes``, how many there are and how many are read for a query; for queries of uniform
            latents and for queries near items, ``recall_…``, the share of the best items that are found, and
            ``score_lost_…``, the share of what they score above the mean item that the items found do not.
    """

    of_items: NDArray[np.int32]
    report: Mapping[str, Any]

    @property
    def probes(self) -> int:
        """How many lists are read for a query."""
        probes: int = self.report["probes"]
        return probes

    def check(self, num_items: int) -> None:
        """Raise a ValueError or TypeError unless these are lists of so many items, none of them empty."""
        if len(self.of_items) != num_items:
            raise ValueError(f"search has lists of {len(self.of_items)} items, the ranker has {num_items}")
        known = np.unique(self.of_items)
        if not np.array_equal(known, np.arange(len(known))):
            raise ValueError("item_lists must name lists 0, 1, …, none of them empty")
        checked("search.probes", self.report["probes"], Annotated[int, Interval(ge=1, le=len(known))])


def stored_search(tensors: Mapping[str, NDArray[Any]], header: Mapping[str, Any]) -> Search | ItemLists:
    """The search that a ranker was saved with: by its lists, or exact if there are none.

    Args:
        tensors: The ranker's tensors.
        header: Its header; only ``search`` is looked at.

    Raises:
        KeyError: Something is missing beside the lists.
        TypeError: What is there is of another type.
        ValueError: They are no lists of the catalogue's items.
    """
    if "item_lists" not in tensors:
        return "exact"
    of_items, items = tensors["item_lists"], tensors["item_embeddings"]
    if of_items.dtype != np.int32 or of_items.shape != items.shape[:1]:
        found = f"{of_items.dtype} {of_items.shape}"
        raise ValueError(f"item_lists is {found}; int32 {items.shape[:1]} would fit the items")
    lists = ItemLists(of_items, checked("search", header["search"], dict))
    lists.check(len(items))
    return lists
