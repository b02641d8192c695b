"""Item embeddings as a file, and what every way of making them has in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact, shipped
from gems_gym.common.checks import (
    Checked,
    Count,
    Seed,
    Units,
    as_array,
    check_fields,
    checked,
    checked_arguments,
)

DEFAULT_SIZE = 20
"""Numbers in a learned embedding: those of the simulator's own (10 topics of 2), and of arXiv 2301.08632."""


@runtime_checkable
class ClickLog(Protocol):
    """What embeddings are made from; :class:`gems_gym.pretraining.session_log.SessionLog` is one."""

    @property
    def slates(self) -> NDArray[Any]:
        """Item ids, integer ``(..., slate_size)``; the first axis is the session where sessions matter."""

    @property
    def clicks(self) -> NDArray[Any]:
        """The clicks on them, same shape, 0 or 1."""


@dataclass(frozen=True)
class Sources:
    """What embeddings may be made from; each kind takes the one it needs.

    Attributes:
        num_items: Items in the catalogue.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        log: Logged slates and clicks.
        true_embeddings: The simulator's own, float ``(num_items, D)``: privileged.
        belief: The file of a pretrained GRU belief.
    """

    num_items: int
    catalog_hash: str
    log: ClickLog | None = None
    true_embeddings: NDArray[np.floating[Any]] | None = None
    belief: str | os.PathLike[str] | None = None


class Make(Protocol):
    """How one kind of embeddings is made."""

    def __call__(self, sources: Sources, size: int | None, seed: int) -> NDArray[np.float32]:
        """The embeddings.

        Args:
            sources: Holds what the kind ``needs``.
            size: Numbers in an embedding; None: the kind's own default.
            seed: Seed of everything random.

        Returns:
            float32 ``(num_items, size)``.
        """


@dataclass(frozen=True, kw_only=True)
class LogRecipe(Checked):
    """What a kind of embeddings is best made from, where the log is not given.

    Attributes:
        policy: Name of the logging policy.
        sessions: Sessions logged.
        session_length: Slates in a session; None: as many as in the world.
    """

    policy: str = "eps_greedy_oracle"
    sessions: Count = 5_000
    session_length: Count | None = None


@dataclass(frozen=True)
class EmbeddingKind:
    """A way of making item embeddings: what the entry points of the group ``gems_gym.embeddings`` name.

    Attributes:
        make: Makes them.
        needs: The field of :class:`Sources` that it takes, besides the number of items.
        privileged: Whether they hold privileged information.
        log_recipe: What to log for them, where they need a log; by default that of arXiv 2301.08632.
    """

    make: Make
    needs: Literal["num_items", "log", "true_embeddings", "belief"]
    privileged: bool = False
    log_recipe: LogRecipe = LogRecipe()

    def __call__(self, sources: Sources, size: Units | None = None, seed: Seed = 0) -> NDArray[np.float32]:
        """Makes the embeddings, see :class:`Make`; a ValueError names a missing source or a size below 1."""
        if getattr(sources, self.needs) is None:
            raise ValueError(f"these embeddings are made from sources.{self.needs}, which is not given")
        size = checked("size", size, Units | None)
        return self.make(sources, size, seed)


@dataclass(frozen=True, eq=False)
class EmbeddingTable:
    """Item embeddings, and where they come from.

    Attributes:
        vectors: float32 ``(num_items, size)``.
        kind: The artefact kind, "embeddings/name".
        catalog_hash: Hash of the catalogue that the item ids belong to.
        privileged: Whether they hold privileged information.
        header: What else is recorded in the file.
        sha256: Digest of the file they were read from, None if there is none.
    """

    vectors: NDArray[np.float32]  # (num_items, size)
    kind: str
    catalog_hash: str
    privileged: bool = False
    header: Mapping[str, Any] = field(default_factory=dict)
    sha256: str | None = None

    def __post_init__(self) -> None:
        """Raises a ValueError on another shape or dtype, or numbers that are not finite."""
        check_fields(self)
        object.__setattr__(self, "vectors", as_array(self.vectors, "vectors"))
        if self.vectors.ndim != 2 or 0 in self.vectors.shape or self.vectors.dtype != np.float32:
            raise ValueError(
                f"vectors, the item embeddings, are of shape {self.vectors.shape} and dtype {self.vectors.dtype}; "
                f"(num_items, size) float32 was expected"
            )
        if not np.isfinite(self.vectors).all():
            bad = np.count_nonzero(~np.isfinite(self.vectors))
            raise ValueError(f"vectors, the item embeddings, hold {bad} non-finite numbers")

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes recorded in the file."""
        return {"num_items": self.vectors.shape[0], "embedding_size": self.vectors.shape[1]}

    @property
    def provenance(self) -> dict[str, Any]:
        """What is recorded of them by what is built on them."""
        return {"kind": self.kind, "sha256": self.sha256, "privileged": self.privileged}

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes an artefact of its kind; returns the file's sha256."""
        header = {
            **self.header,
            "catalog_hash": self.catalog_hash,
            "privileged": self.privileged,
            "sizes": self.sizes,
        }
        return save_artifact(path, self.kind, {"item_embeddings": self.vectors}, header)


@checked_arguments
def load_embeddings(path: str | os.PathLike[str], catalog_hash: str | None = None) -> EmbeddingTable:
    """Reads item embeddings of any kind.

    Args:
        path: A file that :meth:`EmbeddingTable.save` wrote, or the name of shipped ones.
        catalog_hash: Hash of the catalogue that they are wanted for; None: any.

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactError: The file is not a complete and unaltered artefact of item embeddings.
        ValueError: They belong to another catalogue (both hashes are named), or neither a file nor a shipped name.
    """
    artifact = load_artifact(shipped.path(path, "embeddings"), "embeddings")
    header = dict(artifact.header)
    own_hash, privileged = header.pop("catalog_hash", None), header.pop("privileged", None)
    header.pop("sizes", None)
    vectors = artifact.tensors.get("item_embeddings")
    if not isinstance(own_hash, str) or not isinstance(privileged, bool) or vectors is None:
        raise ArtifactError(
            f"{path} lacks catalog_hash, privileged or the tensor item_embeddings; "
            f"EmbeddingTable.save did not write it"
        )
    if catalog_hash is not None:
        check_catalog(f"{path} ({artifact.kind})", own_hash, catalog_hash)
    try:
        table = EmbeddingTable(vectors, artifact.kind, own_hash, privileged, header, artifact.sha256)
    except ValueError as error:
        raise ArtifactError(f"{path} is not usable: {error}") from error
    artifact.check_sizes(table.sizes)
    return table


@checked_arguments
def make_embeddings(
    name: str, sources: Sources, *, size: Units | None = None, seed: Seed = 0
) -> EmbeddingTable:
    """Makes item embeddings of one kind.

    Args:
        name: A member of the entry-point group ``gems_gym.embeddings``: "scratch", "co_click",
            "session_co_click", "matrix_factorization", "belief", "ideal", or a plugin's.
        sources: What they may be made from; it has to hold what the kind needs.
        size: Numbers in an embedding; None: the kind's default (20 for those that are learned).
        seed: Seed of everything random.

    Raises:
        ValueError: An unknown name, a source that is missing, or one that does not fit the catalogue.
        FileNotFoundError: There is no belief file of that name.
    """
    kind: EmbeddingKind = plugins.load(plugins.EMBEDDINGS, name)
    vectors = kind(sources, size, seed)
    header: dict[str, Any] = {"seed": seed}
    policies = getattr(sources.log, "policy_names", None)
    if kind.needs == "log" and policies is not None:
        header["log"] = {"policies": list(policies), "sessions": len(sources.log.slates)}  # type: ignore[union-attr]
    if kind.needs == "belief":
        header["belief"] = Path(sources.belief).name  # type: ignore[arg-type]
    return EmbeddingTable(vectors, f"embeddings/{name}", sources.catalog_hash, kind.privileged, header)


def check_catalog(what: str, own_hash: object, wanted: str) -> None:
    """Raises a ValueError that names both hashes where something was made for another catalogue."""
    if own_hash != wanted:
        raise ValueError(
            f"{what} was made for the catalogue {own_hash}, but {wanted} is wanted: "
            f"item ids mean other items there"
        )


def unit_scale(embeddings: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The embeddings as float32, scaled as a whole to a root mean square of 1."""
    found: NDArray[np.float32] = (embeddings / np.sqrt(np.mean(embeddings**2))).astype(np.float32)
    return found


def clicked_items(
    log: ClickLog, num_items: int, row_axes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Who clicked what.

    Args:
        log: Slates and clicks.
        num_items: Items in the catalogue.
        row_axes: How many leading axes of the arrays make up a row: all but the slots' for slates, one for sessions.

    Returns:
        Row and item of every click in the order of the log, and the number of rows.

    Raises:
        ValueError: Arrays of different shapes, or unknown item ids that were clicked.
    """
    if log.slates.shape != log.clicks.shape:
        raise ValueError(
            f"log.slates has shape {log.slates.shape}, log.clicks {log.clicks.shape}; they must agree"
        )
    rows = int(np.prod(log.slates.shape[:row_axes]))
    slates = log.slates.reshape(rows, -1)
    row, position = np.nonzero(log.clicks.reshape(slates.shape))
    items = slates[row, position].astype(np.int64)
    if items.size and not 0 <= items.min() <= items.max() < num_items:
        raise ValueError(
            f"log.slates holds the item ids {items.min()} … {items.max()}; 0 … {num_items - 1} were expected"
        )
    return row.astype(np.int64), items, rows
