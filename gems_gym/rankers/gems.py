"""The GeMS ranker: the decoder of a VAE over (slate, clicks), for use without torch.

Deffayet, Thonet, Renders, de Rijke, *Generative Slate Recommendation with Reinforcement Learning*, WSDM 2023
(arXiv 2301.08632). Pretraining is in :mod:`gems_gym.pretraining.gems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Seed, Units, checked, checked_arguments
from gems_gym.common.networks import FeedForward
from gems_gym.common.products import dense
from gems_gym.common.threads import one_thread
from gems_gym.rankers.item_lists import ItemLists, Search
from gems_gym.rankers.search import ListSearch
from gems_gym.rankers.stored import (
    StoredRanker,
    check_enough_items,
    checked_latents,
    checked_sessions,
)

MLP = [["linear"], ["relu"], ["linear"], ["relu"], ["linear"]]
"""Layers of the encoder and of the decoder; the sizes are those of the tensors."""


def _layers(network: str) -> list[str]:
    return [f"{network}.{layer}.{part}" for layer in (0, 2, 4) for part in ("weight", "bias")]


_DECODER_TENSORS = [
    "item_embeddings",
    *_layers("decoder"),
    "click_head.weight",
    "click_head.bias",
    "centre",
    "basis",
]


class GemsDecoder(StoredRanker):
    """Decodes latent actions into slates with the decoder of a pretrained GeMS VAE.

    An action in [-1, 1]^n stands for the latent ``centre + action @ basis``; with box coordinates ``basis``
    is diagonal and holds the half-widths of the logged latents' bounds. The decoder turns a latent into one
    vector per slot; an item's score in a slot is its dot product with its embedding. With ``deduplicate``
    every slot takes, in slate order, its best item among those not yet in the slate; without, simply its best
    item.

    Args:
        tensors: ``item_embeddings`` (num_items, E); ``decoder.{0,2,4}.{weight,bias}``, which map n numbers to S * E;
            ``click_head.{weight,bias}``, S click logits from the decoder's last hidden layer; ``centre`` (n,) and
            ``basis`` (n, n). Others are left out.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        deduplicate: No item twice in a slate.
        search: "exact", or "ivf" for large catalogues, which requires faiss (extra ``search``); or the lists of another
            ranker.
        header: What else to record in the file (options, metrics, command, …); JSON values.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: A tensor is missing, not finite, or its shape does not fit the others.
    """

    kind = "ranker/gems_decoder"
    option_names = ("deduplicate", "search")
    needed = _DECODER_TENSORS

    def __init__(
        self,
        tensors: Mapping[str, np.ndarray],
        catalog_hash: str,
        *,
        deduplicate: bool = True,
        search: Search | ItemLists = "exact",
        header: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        super().__init__(tensors, self.needed, catalog_hash, header, sha256)
        self.deduplicate = checked("deduplicate", deduplicate, bool)
        if self.tensors["item_embeddings"].ndim != 2:
            found = self.tensors["item_embeddings"].shape
            raise ValueError(f"tensors['item_embeddings'] has shape {found}; (num_items, E) was expected")
        self.num_items, self.embedding_size = self.tensors["item_embeddings"].shape
        self._decoder = FeedForward.from_tensors(self.tensors, "decoder", MLP)
        self.action_size = self._decoder.input_size
        self.slate_size = self._decoder.output_size // self.embedding_size
        self._check_sizes()
        # Transposed, so that the kernel runs over items side by side in memory.
        items = np.ascontiguousarray(self.tensors["item_embeddings"].T)  # (E, num_items)
        no_bias = np.zeros(self.num_items, dtype=np.float32)
        count = self.slate_size if self.deduplicate else 1
        self._search = self._searching(items, no_bias, search, count, self._asked)

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        """The shapes that would fit each other."""
        n, slots = self.action_size, self.slate_size
        return {
            "centre": (n,),
            "basis": (n, n),
            "decoder.4.bias": (slots * self.embedding_size,),
            "click_head.weight": (slots, self.tensors["decoder.2.bias"].size),
            "click_head.bias": (slots,),
        }

    def _check_sizes(self) -> None:
        for name, shape in self._sizes().items():
            if self.tensors[name].shape != shape:
                found = self.tensors[name].shape
                raise ValueError(f"tensors[{name!r}] has shape {found}; {shape} would fit the others")
        if self.deduplicate:
            check_enough_items(self.num_items, self.slate_size, "deduplicate=True")

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """The slates for latent actions.

        Args:
            latents: float ``(num_users, action_size)`` in [-1, 1] (float32 in all our own use). Numbers
                outside are decoded as they are; the wrappers refuse them.

        Returns:
            int64 ``(num_users, slate_size)`` item ids.

        Raises:
            ValueError: A wrong shape or dtype, or latents that are not finite.
        """
        slots = self._asked(latents).reshape(-1, self.slate_size, self.embedding_size)
        return self._search.best_per_slot(slots, self.deduplicate)

    def _asked(self, latents: NDArray[np.float32]) -> NDArray[np.float32]:
        latents = checked_latents(latents, self.action_size)
        points = dense(latents, self.tensors["basis"], self.tensors["centre"])
        return self._decoder(points).reshape(-1, self.embedding_size)

    @classmethod
    def _restore(cls, tensors: Mapping[str, np.ndarray], sizes: Mapping[str, Any], **arguments: Any) -> Self:
        return cls(tensors, **arguments)  # the sizes are those of the tensors


class GemsRanker(GemsDecoder):
    """A GeMS VAE with its encoder: besides decoding, it encodes slates and clicks.

    Args:
        tensors: Those of :class:`GemsDecoder`, and ``encoder.{0,2,4}.{weight,bias}``, which map S * E embedding numbers
            and S clicks to n means and n log-variances.
        catalog_hash: As there, like the others.
        deduplicate: No item twice in a slate.
        header: What else to record in the file.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: A tensor is missing, not finite, or its shape does not fit the others.

    Example:
        >>> ranker = GemsRanker.random(num_items=50, slate_size=5, latent_size=8, catalog_hash="none", seed=0)
        >>> ranker.rank(np.zeros((2, 8), dtype=np.float32)).shape
        (2, 5)
    """

    kind = "ranker/gems"
    needed = [*_DECODER_TENSORS, *_layers("encoder")]

    def __init__(self, tensors: Mapping[str, np.ndarray], catalog_hash: str, **options: Any) -> None:
        super().__init__(tensors, catalog_hash, **options)
        self._encoder = FeedForward.from_tensors(self.tensors, "encoder", MLP)
        self._to_action = _inverse(self.tensors["basis"])  # (n, n)

    def _sizes(self) -> dict[str, tuple[int, ...]]:
        slots = self.slate_size * (self.embedding_size + 1)
        return {
            **super()._sizes(),
            "encoder.0.weight": (self.tensors["encoder.0.bias"].size, slots),
            "encoder.4.bias": (2 * self.action_size,),
        }

    def without_encoder(self) -> GemsDecoder:
        """The same ranker as far as :meth:`rank` goes, in half of the space."""
        search = self._search.lists if isinstance(self._search, ListSearch) else self.search
        options = {"deduplicate": self.deduplicate, "search": search, "header": self.header}
        return GemsDecoder(self.tensors, self.catalog_hash, **options)

    @classmethod
    @checked_arguments
    def random(
        cls,
        *,
        num_items: Count,
        slate_size: Units,
        catalog_hash: str,
        seed: Seed,
        latent_size: Units = 32,
        embedding_size: Units = 20,
        deduplicate: bool = True,
    ) -> GemsRanker:
        """An untrained ranker: He-normal weights, N(0, 1) item embeddings, bounds of ± 3."""
        generator = np.random.default_rng(seed)
        tensors = {"item_embeddings": generator.standard_normal((num_items, embedding_size))}
        slots = slate_size * embedding_size
        layers = {
            "encoder": (slots + slate_size, 512, 256, 2 * latent_size),
            "decoder": (latent_size, 256, 512, slots),
        }
        for prefix, sizes in layers.items():
            for index, (inputs, outputs) in enumerate(pairwise(sizes)):
                weight = generator.standard_normal((outputs, inputs)) * np.sqrt(2 / inputs)
                tensors[f"{prefix}.{2 * index}.weight"] = weight
                tensors[f"{prefix}.{2 * index}.bias"] = np.zeros(outputs)
        tensors |= {"click_head.weight": np.zeros((slate_size, 512)), "click_head.bias": np.zeros(slate_size)}
        tensors |= {"centre": np.zeros(latent_size), "basis": 3 * np.eye(latent_size)}
        options = {"random": True, "seed": seed}
        return cls(tensors, catalog_hash, deduplicate=deduplicate, header={"options": options})

    def encode(self, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The actions whose latents are the encoder's posterior means, cut to the box.

        Args:
            slates: Integer ``(num_users, slate_size)`` item ids; -1 where nothing was shown.
            clicks: ``(num_users, slate_size)`` zeros and ones.

        Returns:
            float32 ``(num_users, action_size)`` in [-1, 1].

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        found: np.ndarray = np.clip(self.to_actions(self.posterior(slates, clicks)[0]), -1, 1)
        return found

    def to_actions(self, latents: np.ndarray) -> np.ndarray:
        """The actions that stand for latents, the inverse of ``centre + actions @ basis``.

        Args:
            latents: float32 ``(N, action_size)``, in the coordinates of the encoder and the decoder.

        Returns:
            float32 ``(N, action_size)``; numbers outside [-1, 1] where a latent lies outside the ranker's bounds.
        """
        no_bias = np.zeros(self.action_size, dtype=np.float32)
        return dense(latents - self.tensors["centre"], self._to_action, no_bias)

    def posterior(self, slates: np.ndarray, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The encoder's Gaussian over latents (not actions): means and log-variances, ``(N, n)`` each."""
        slates, clicks = checked_sessions(slates, clicks, self.slate_size, self.num_items, lowest=-1)
        embedded = np.where(slates[..., None] >= 0, self.tensors["item_embeddings"][slates], np.float32(0))
        embedded = embedded.reshape(len(slates), -1)  # (N, S * E)
        parameters = self._encoder(np.concatenate([embedded, clicks.astype(np.float32)], axis=1))
        means, log_variances = np.split(parameters, 2, axis=1)
        return np.ascontiguousarray(means), np.ascontiguousarray(log_variances)


@one_thread()
def _inverse(basis: np.ndarray) -> np.ndarray:
    try:
        return np.ascontiguousarray(np.linalg.inv(basis.astype(np.float64)), dtype=np.float32)
    except np.linalg.LinAlgError as error:
        raise ValueError("tensors['basis'] is singular: some latent direction has no width") from error
