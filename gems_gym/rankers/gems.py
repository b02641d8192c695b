"""The GeMS ranker: the decoder of a VAE over (slate, clicks), for use without torch.

Deffayet, Thonet, Renders, de Rijke, *Generative Slate Recommendation with Reinforcement Learning*, WSDM 2023
(arXiv 2301.08632). Pretraining is in :mod:`gems_gym.pretraining.gems_vae`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NoReturn

import numba
import numpy as np

from gems_gym.artifacts import Artifact, ArtifactError, load_artifact, save_artifact
from gems_gym.networks import FeedForward, dense

MLP = [["linear"], ["relu"], ["linear"], ["relu"], ["linear"]]
"""Layers of the encoder and of the decoder; the sizes are those of the tensors."""


class GemsRanker:
    """Decodes latent actions into slates with a pretrained GeMS VAE.

    An action in [-1, 1]^n stands for the latent ``centre + action @ basis``; with box coordinates ``basis``
    is diagonal and holds the half-widths of the logged latents' bounds. The decoder turns a latent into one
    vector per slot; an item's score in a slot is its dot product with its embedding. With ``deduplicate``
    every slot takes, in slate order, its best item among those not yet in the slate; without, simply its best
    item.

    Args:
        tensors: ``item_embeddings`` (num_items, E); ``encoder.{0,2,4}.{weight,bias}``, which map S * E
            embedding numbers and S clicks to n means and n log-variances; ``decoder.{0,2,4}.{weight,bias}``,
            which map n numbers to S * E; ``click_head.{weight,bias}``, S click logits from the decoder's last
            hidden layer; ``centre`` (n,) and ``basis`` (n, n).
        catalog_hash: hash of the catalogue that the item ids belong to.
        deduplicate: no item twice in a slate.
        header: what else to record in the file (options, metrics, command, …); JSON values.
        sha256: digest of the file it was read from, if any.

    Raises:
        ValueError: a tensor is missing, not finite, or its shape does not fit the others.

    Example:
        >>> ranker = GemsRanker.random(num_items=50, slate_size=5, latent_size=8, catalog_hash="none", seed=0)
        >>> ranker.rank(np.zeros((2, 8), dtype=np.float32)).shape
        (2, 5)
    """

    kind = "ranker/gems"

    def __init__(
        self,
        tensors: Mapping[str, np.ndarray],
        catalog_hash: str,
        *,
        deduplicate: bool = True,
        header: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        self.tensors = _checked(tensors)
        self.catalog_hash = catalog_hash
        self.deduplicate = deduplicate
        self.header = dict(header or {})
        self.sha256 = sha256
        self.num_items, self.embedding_size = self.tensors["item_embeddings"].shape
        self._encoder = FeedForward.from_tensors(self.tensors, "encoder", MLP)
        self._decoder = FeedForward.from_tensors(self.tensors, "decoder", MLP)
        self.action_size = self._decoder.input_size
        self.slate_size = self._decoder.output_size // self.embedding_size
        self._check_sizes()
        # Transposed, so that the kernel runs over items side by side in memory.
        self._items_by_dimension = np.ascontiguousarray(self.tensors["item_embeddings"].T)  # (E, num_items)
        self._to_action = _inverse(self.tensors["basis"])  # (n, n)

    def _check_sizes(self) -> None:
        n, slots = self.action_size, self.slate_size
        expected = {
            "centre": (n,),
            "basis": (n, n),
            "decoder.4.bias": (slots * self.embedding_size,),
            "encoder.0.weight": (self.tensors["encoder.0.bias"].size, slots * (self.embedding_size + 1)),
            "encoder.4.bias": (2 * n,),
            "click_head.weight": (slots, self.tensors["decoder.2.bias"].size),
            "click_head.bias": (slots,),
        }
        for name, shape in expected.items():
            if self.tensors[name].shape != shape:
                found = self.tensors[name].shape
                raise ValueError(f"tensors[{name!r}] has shape {found}; {shape} would fit the others")
        if self.deduplicate and slots > self.num_items:
            raise ValueError(
                f"deduplicate=True needs num_items >= slate_size; got {self.num_items} < {slots}"
            )

    @classmethod
    def random(
        cls,
        *,
        num_items: int,
        slate_size: int,
        catalog_hash: str,
        seed: int,
        latent_size: int = 32,
        embedding_size: int = 20,
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

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """The slates for latent actions.

        Args:
            latents: float ``(num_users, action_size)`` in [-1, 1] (float32 in all our own use). Numbers
                outside are decoded as they are; the wrappers refuse them.

        Returns:
            int64 ``(num_users, slate_size)`` item ids.

        Raises:
            ValueError: a wrong shape or dtype, or latents that are not finite.
        """
        latents = np.asarray(latents)
        if latents.ndim != 2 or latents.shape[1] != self.action_size or latents.dtype.kind != "f":
            raise ValueError(
                f"latents has shape {latents.shape} and dtype {latents.dtype}; "
                f"(num_users, {self.action_size}) float32 was expected"
            )
        if not np.isfinite(latents).all():
            row = int(np.argmin(np.isfinite(latents).all(axis=1)))
            raise ValueError(f"latents[{row}] = {latents[row].tolist()} must hold finite numbers only")
        points = dense(
            np.ascontiguousarray(latents, dtype=np.float32), self.tensors["basis"], self.tensors["centre"]
        )
        slots = self._decoder(points).reshape(len(points), self.slate_size, self.embedding_size)
        return _best_items(slots, self._items_by_dimension, self.deduplicate)

    def encode(self, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The actions whose latents are the encoder's posterior means, cut to the box.

        Args:
            slates: integer ``(num_users, slate_size)`` item ids.
            clicks: ``(num_users, slate_size)`` zeros and ones.

        Returns:
            float32 ``(num_users, action_size)`` in [-1, 1].

        Raises:
            ValueError: a wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        means = self.posterior(slates, clicks)[0] - self.tensors["centre"]
        actions = dense(means, self._to_action, np.zeros(self.action_size, dtype=np.float32))
        return np.clip(actions, -1, 1)

    def posterior(self, slates: np.ndarray, clicks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The encoder's Gaussian over latents (not actions): means and log-variances, ``(N, n)`` each."""
        slates, clicks = np.asarray(slates), np.asarray(clicks)
        for name, array, kinds in (("slates", slates, "iu"), ("clicks", clicks, "iub")):
            fits = slates.ndim == 2 and array.shape == (len(slates), self.slate_size)
            if not fits or array.dtype.kind not in kinds:
                raise ValueError(
                    f"{name} has shape {array.shape} and dtype {array.dtype}; "
                    f"({len(slates)}, {self.slate_size}) integers were expected"
                )
        known = (slates >= 0) & (slates < self.num_items)
        if not known.all():
            _raise_bad_row("slates", slates, known, f"item ids in 0 … {self.num_items - 1}")
        binary = (clicks == 0) | (clicks == 1)
        if not binary.all():
            _raise_bad_row("clicks", clicks, binary, "zeros and ones")
        embedded = self.tensors["item_embeddings"][slates].reshape(len(slates), -1)  # (N, S * E)
        parameters = self._encoder(np.concatenate([embedded, clicks.astype(np.float32)], axis=1))
        means, log_variances = np.split(parameters, 2, axis=1)
        return np.ascontiguousarray(means), np.ascontiguousarray(log_variances)

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the ranker as an artefact of kind "ranker/gems"; returns (and keeps) the file's sha256."""
        sizes = {
            "num_items": self.num_items,
            "slate_size": self.slate_size,
            "latent_size": self.action_size,
            "embedding_size": self.embedding_size,
        }
        options = {**self.header.get("options", {}), "deduplicate": self.deduplicate}
        header = {**self.header, "catalog_hash": self.catalog_hash, "sizes": sizes, "options": options}
        self.sha256 = save_artifact(path, self.kind, self.tensors, header)
        return self.sha256

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> GemsRanker:
        """Reads a ranker that :meth:`save` wrote; :func:`gems_gym.rankers.load_ranker` reads every kind."""
        return cls.from_artifact(load_artifact(path, cls.kind))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> GemsRanker:
        """Makes the ranker from a loaded artefact; an ArtifactError says what is wrong with an unfit one."""
        header = dict(artifact.header)
        catalog_hash = header.pop("catalog_hash", None)
        deduplicate = header.get("options", {}).get("deduplicate")
        if not isinstance(catalog_hash, str) or not isinstance(deduplicate, bool):
            raise ArtifactError(
                f"{artifact.path} lacks catalog_hash or options.deduplicate; {cls.__name__}.save did not write it"
            )
        header.pop("sizes", None)
        try:
            return cls(
                artifact.tensors, catalog_hash, deduplicate=deduplicate, header=header, sha256=artifact.sha256
            )
        except ValueError as error:
            raise ArtifactError(f"{artifact.path} is not a usable {cls.kind}: {error}") from error

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(action_size={self.action_size}, slate_size={self.slate_size}, "
            f"num_items={self.num_items}, deduplicate={self.deduplicate}, catalog_hash={self.catalog_hash[:12]!r})"
        )


def _checked(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    mlp_names = [
        f"{net}.{layer}.{part}"
        for net in ("encoder", "decoder")
        for layer in (0, 2, 4)
        for part in ("weight", "bias")
    ]
    names = ["item_embeddings", *mlp_names, "click_head.weight", "click_head.bias", "centre", "basis"]
    missing = [name for name in names if name not in tensors]
    if missing:
        raise ValueError(f"tensors lacks {missing}; a ranker/gems needs {names}")
    arrays = {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in names}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            bad = np.count_nonzero(~np.isfinite(array))
            raise ValueError(f"tensors[{name!r}] holds {bad} non-finite numbers")
    return arrays


def _inverse(basis: np.ndarray) -> np.ndarray:
    try:
        return np.ascontiguousarray(np.linalg.inv(basis.astype(np.float64)), dtype=np.float32)
    except np.linalg.LinAlgError as error:
        raise ValueError("tensors['basis'] is singular: some latent direction has no width") from error


def _raise_bad_row(name: str, array: np.ndarray, good: np.ndarray, expected: str) -> NoReturn:
    row = int(np.argmin(good.all(axis=1)))
    raise ValueError(f"{name}[{row}] = {array[row].tolist()}; {expected} were expected")


@numba.njit(cache=True)
def _best_items(
    slots: np.ndarray,  # (num_users, slate_size, embedding_size) float32
    items: np.ndarray,  # (embedding_size, num_items) float32
    deduplicate: bool,
) -> np.ndarray:
    """Every slot's best item, the lowest id of equals; with ``deduplicate`` among those left."""
    num_users, slate_size, _ = slots.shape
    slates = np.empty((num_users, slate_size), dtype=np.int64)
    no_bias = np.zeros(items.shape[1], dtype=np.float32)
    for user in range(num_users):
        scores = dense(slots[user], items, no_bias)  # (slate_size, num_items): one user's stay in the cache
        for slot in range(slate_size):
            if deduplicate:
                for earlier in range(slot):
                    scores[slot, slates[user, earlier]] = -np.inf
            slates[user, slot] = _first_of(scores[slot], _largest(scores[slot]))
    return slates


@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def _largest(values: np.ndarray) -> float:
    """The maximum; the flags (no NaN, signs of zeros ignored) let the loop use vector instructions."""
    largest = values[0]
    for value in values:
        largest = max(largest, value)
    return largest


@numba.njit(cache=True)
def _first_of(values: np.ndarray, wanted: float) -> int:
    for index in range(values.size):
        if values[index] == wanted:
            return index
    return -1
