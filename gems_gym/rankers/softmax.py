"""The softmax ranker: draws items with probabilities from one query, or shows the most probable ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Positive, checked
from gems_gym.rankers.item_vectors import ItemVectorRanker
from gems_gym.rankers.kernels import best_of_each, draw_items
from gems_gym.rankers.stored import check_enough_items, checked_latents


class SoftmaxRanker(ItemVectorRanker):
    """Shows items drawn from ``softmax(item_embeddings @ latent / temperature)``, or the most probable ones.

    The latent is the query as it is: its length, at most √E in the box [-1, 1]^E, matters for draws, as a temperature
    does. The policy of the baseline "REINFORCE+SoftMax" of arXiv 2301.08632: it draws while it learns and shows the top
    of its distribution when it is evaluated.

    Whoever wants draws hands down one Generator a user; a user's draws then depend on no other user. The wrappers
    :class:`gems_gym.wrappers.LatentAction` and its vector twin do so, seeded by ``reset``.

    Args:
        item_embeddings: float ``(num_items, E)``.
        slate_size: Items in a slate.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        sample: Draw the items, in this order of slots; if False, show the most probable ones, best first.
        temperature: Divides the scores before the softmax, > 0; only draws feel it.
        replace: Draw with replacement, so that an item may stand twice in a slate; only draws feel it.
        header: What else to record in the file.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: Embeddings of another shape or not finite, or options out of range.

    Example:
        >>> ranker = SoftmaxRanker(np.eye(4), slate_size=2, catalog_hash="none", sample=True, temperature=0.1)
        >>> latents = np.array([[1, 0, 0.9, 0]] * 3, dtype=np.float32)
        >>> ranker.rank(latents, [np.random.default_rng(seed) for seed in range(3)]).shape
        (3, 2)
    """

    kind = "ranker/softmax"
    option_names = ("sample", "temperature", "replace")

    def __init__(
        self,
        item_embeddings: NDArray[np.floating[Any]],
        slate_size: int,
        catalog_hash: str,
        *,
        sample: bool = False,
        temperature: float = 1.0,
        replace: bool = False,
        **recorded: Any,
    ) -> None:
        super().__init__(item_embeddings, slate_size, catalog_hash, **recorded)
        self.sample = checked("sample", sample, bool)
        self.replace = checked("replace", replace, bool)
        self.temperature = checked("temperature", temperature, Positive)
        if not (sample and replace):
            check_enough_items(self.num_items, slate_size, "a slate without duplicates")

    def rank(
        self, latents: np.ndarray, generators: Sequence[np.random.Generator] | None = None
    ) -> np.ndarray:
        """The slates for latents.

        Args:
            latents: float ``(num_users, E)`` in [-1, 1].
            generators: One for each user, which draws ``slate_size`` uniform numbers from it; needed if ``sample``,
                and left alone if not.

        Returns:
            int64 ``(num_users, slate_size)``.

        Raises:
            ValueError: A wrong shape or dtype, latents that are not finite, or no generator for each user.
        """
        queries = checked_latents(latents, self.action_size)
        if not self.sample:
            return best_of_each(queries, self._items, self._bias, self.slate_size)
        if generators is None or len(generators) != len(queries):
            given = "none" if generators is None else len(generators)
            raise ValueError(
                f"generators: {given} given; a softmax ranker with sample=True draws slates and requires one "
                f"numpy Generator for each of the {len(queries)} users"
            )
        uniforms = np.empty((len(queries), self.slate_size))
        for row, generator in zip(uniforms, generators, strict=True):
            generator.random(out=row)
        return draw_items(queries, self._items, self._bias, self.temperature, uniforms, self.replace)
