"""Item catalogues: drawn from a seed, or your own."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.array_files import read_npy
from gems_gym.common.checks import Count, as_array, check_fields, checked
from gems_gym.config import SlateConfig, config_class, resolve_config
from gems_gym.fitted_config import FittedConfig
from gems_gym.sardine_config import SardineConfig
from gems_gym.world_config import WorldConfig

ItemEmbeddings = NDArray[np.floating[Any]] | str | Path
"""What ``item_embeddings=`` takes: an (I, D) array, or the path of an .npy file of one."""


@dataclass(frozen=True, eq=False)
class Catalog:
    """The items of a world; the same for every user, session and process.

    Attributes:
        item_embeddings: float32 ``(num_items, embedding_size)``; one block of ``topic_size`` numbers per topic.
        topic_size: Numbers per topic.
    """

    item_embeddings: NDArray[np.float32]  # (num_items, num_topics * topic_size)
    topic_size: Count

    def __post_init__(self) -> None:
        check_fields(self)
        array = as_array(self.item_embeddings, "item_embeddings")
        if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] % self.topic_size:
            raise ValueError(
                f"item_embeddings must be float32 of shape (num_items, num_topics * topic_size), topic_size="
                f"{self.topic_size}; got {array.dtype} of shape {array.shape}"
            )

    @property
    def num_items(self) -> int:
        """Items in the catalogue."""
        found: int = self.item_embeddings.shape[0]
        return found

    @cached_property
    def block_norms(self) -> NDArray[np.float64]:
        """Euclidean norm of every item's block per topic, ``(num_items, num_topics)``."""
        blocks = self.item_embeddings.astype(np.float64).reshape(self.num_items, -1, self.topic_size)
        found: NDArray[np.float64] = np.sqrt((blocks**2).sum(axis=2))
        return found

    @cached_property
    def item_topics(self) -> NDArray[np.int64]:
        """Topic with the largest block norm per item (the lowest of equals), ``(num_items,)``."""
        found: NDArray[np.int64] = self.block_norms.argmax(axis=1)
        return found

    @cached_property
    def max_score(self) -> float:
        """The largest Euclidean norm of an item; scores are divided by it."""
        return float(np.sqrt((self.item_embeddings.astype(np.float64) ** 2).sum(axis=1)).max())

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hexadecimal) of shape, topic size and embeddings: what rankers and beliefs are tied to."""
        digest = hashlib.sha256(f"{self.item_embeddings.shape} {self.topic_size} ".encode())
        digest.update(np.ascontiguousarray(self.item_embeddings, dtype="<f4").tobytes())
        return digest.hexdigest()

    def first_slate(self, slate_size: int) -> NDArray[np.int64]:
        """The slate that every session opens with: the items that stand out most in each topic.

        With at least as many topics as positions, the item with the largest block norm in topic 0, then in
        topic 1, …. With fewer topics, the S // T best of every topic, topic by topic; positions that this
        leaves over get the next best of topics 0, 1, ….

        Returns:
            int64 ``(slate_size,)``.
        """
        num_topics = self.block_norms.shape[1]
        # stable sort: equals in the order of their ids
        best_first = np.argsort(-self.block_norms, axis=0, kind="stable")  # (num_items, num_topics)
        if num_topics >= slate_size:
            return best_first[0, :slate_size].copy()
        per_topic, left_over = divmod(slate_size, num_topics)
        return np.concatenate(
            [best_first[:per_topic].T.ravel(), best_first[per_topic : per_topic + 1, :left_over].ravel()]
        )


class SardineCatalog(Catalog):
    """The items of a SARDINE world."""

    @cached_property
    def item_topics(self) -> NDArray[np.int64]:
        """Topic with the largest number per item, which may be negative (the lowest of equals), ``(num_items,)``."""
        found: NDArray[np.int64] = self.item_embeddings.argmax(axis=1)
        return found


@dataclass(frozen=True, eq=False)
class LoggedCatalog(Catalog):
    """The items of a log, as a world that was fitted to it has them.

    Attributes:
        log_hash: What rankers and beliefs that were fitted to the log are tied to.
    """

    log_hash: str

    @cached_property
    def hash(self) -> str:
        """The hash of the log's items, whatever was learned of them."""
        return self.log_hash


def resolve_world(
    config: WorldConfig | str,
    item_embeddings: ItemEmbeddings | None = None,
    overrides: dict[str, Any] | None = None,
) -> tuple[WorldConfig, Catalog]:
    """A world's configuration and its catalogue from what was given.

    Args:
        config: A preset's name or a configuration.
        item_embeddings: Your own catalogue, as an array or the path of an .npy file; None draws the world's own.
        overrides: Fields of the configuration to change. With own embeddings, ``num_items`` follows them unless
            it is given here.

    Raises:
        ValueError: See :func:`gems_gym.config.resolve_config` and :func:`load_catalog`.
        TypeError: Likewise.
        FileNotFoundError: No file at the path.
    """
    overrides = dict(checked("overrides", overrides, Mapping | None) or {})
    file = item_embeddings if isinstance(item_embeddings, str | Path) else None
    if item_embeddings is not None:
        if file is not None:
            item_embeddings = read_npy(Path(file), name="item_embeddings")
        item_embeddings = as_array(item_embeddings, "item_embeddings")
        if item_embeddings.ndim == 2 and "num_items" in config_class(config).parameters():
            overrides.setdefault("num_items", item_embeddings.shape[0])
    resolved = resolve_config(config, overrides)
    try:
        return resolved, load_catalog(resolved, item_embeddings)
    except (ValueError, TypeError) as error:
        if file is None:
            raise
        raise ValueError(f"{error} (they are from the file {str(file)!r})") from error


def own_embeddings(config: WorldConfig, catalog: Catalog) -> NDArray[np.float32] | None:
    """What :func:`load_catalog` makes this catalogue of again; None where it is in the world's file."""
    return None if isinstance(config, FittedConfig) else catalog.item_embeddings


def load_catalog(config: WorldConfig, item_embeddings: NDArray[Any] | None = None) -> Catalog:
    """The catalogue of a world: the one drawn from its seed, or your own embeddings.

    Args:
        config: The world.
        item_embeddings: None, or an ``(num_items, embedding_size)`` array.

    Raises:
        ValueError: Embeddings of another shape, with numbers that are not finite, or all zero.
        TypeError: Embeddings that are no array of real numbers.
    """
    if isinstance(config, FittedConfig):
        if item_embeddings is not None:
            raise ValueError("item_embeddings can't be given: the items of a fitted world are in its file")
        file = config.artifact
        return LoggedCatalog(file.tensors["items"], 1, file.header["catalog_hash"])
    if item_embeddings is None:
        if isinstance(config, SlateConfig):
            return draw_catalog(
                config.catalog, config.num_items, config.num_topics, config.topic_size, config.catalog_seed
            )
        return draw_sardine_catalog(config.num_items, config.num_topics, config.catalog_seed)
    array = as_array(item_embeddings, "item_embeddings")
    if array.dtype.kind not in "fiu":
        raise TypeError(f"item_embeddings must be an array of real numbers, got dtype {array.dtype}")
    expected = (config.num_items, config.embedding_size)
    if array.shape != expected:
        raise ValueError(
            f"item_embeddings must have shape (num_items, num_topics * topic_size) = {expected}, "
            f"got {array.shape}; give num_items, num_topics and topic_size that fit"
        )
    with np.errstate(over="ignore"):  # reported below
        frozen = np.array(array, dtype=np.float32)  # a copy of our own
    if not np.isfinite(frozen).all():
        raise ValueError(
            "item_embeddings must be finite float32 numbers, got NaN, infinity or magnitudes above 3.4e38"
        )
    if not frozen.any():
        raise ValueError("item_embeddings are all zero (as float32 numbers): no item could ever be relevant")
    frozen.flags.writeable = False
    kind = SardineCatalog if isinstance(config, SardineConfig) else Catalog
    return kind(frozen, config.topic_size)


@lru_cache(maxsize=32)
def draw_catalog(catalog: str, num_items: int, num_topics: int, topic_size: int, seed: int) -> Catalog:
    """Draw a catalogue as the published simulator does.

    Topic weights are uniform and sum to 1; block values are ``|clip(0.4 · N(0, 1), −1, 1)|`` times the topic's
    weight, to the power 1.5 where the catalogue is *focused*; items have unit Euclidean norm
    (Section 5.1 of arXiv 2301.08632).

    Args:
        catalog: ``"diffuse"`` or ``"focused"``.
        num_items: Items to draw.
        num_topics: Topics T.
        topic_size: Numbers per topic.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    weights = rng.random((num_items, num_topics))
    weights /= weights.sum(axis=1, keepdims=True)
    blocks = np.abs(np.clip(0.4 * rng.standard_normal((num_items, num_topics, topic_size)), -1.0, 1.0))
    values = (blocks * weights[:, :, None]).reshape(num_items, num_topics * topic_size)
    if catalog == "focused":
        values = values * np.sqrt(values)  # power 1.5, rounded alike on every platform (a pow is not)
    values /= np.sqrt((values**2).sum(axis=1, keepdims=True))
    embeddings = values.astype(np.float32)
    embeddings.flags.writeable = False
    return Catalog(embeddings, topic_size)


@lru_cache(maxsize=32)
def draw_sardine_catalog(num_items: int, num_topics: int, seed: int) -> SardineCatalog:
    """Draw a catalogue in the form of those published with SARDINE.

    Every item has 2 or 3 topics, with uniform values, and unit Euclidean norm.

    Args:
        num_items: Items to draw.
        num_topics: Topics T, ≥ 3.
        seed: Seed of the draw.
    """
    rng = np.random.default_rng(seed)
    values = rng.random((num_items, num_topics))
    kept = rng.integers(2, 4, size=(num_items, 1))
    places = rng.random((num_items, num_topics)).argsort(axis=1).argsort(axis=1)
    values[places >= kept] = 0.0
    values /= np.sqrt((values**2).sum(axis=1, keepdims=True))
    embeddings = values.astype(np.float32)
    embeddings.flags.writeable = False
    return SardineCatalog(embeddings, 1)
