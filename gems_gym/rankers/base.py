"""What every ranker can do, and the one function that loads one from a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np

from gems_gym import plugins
from gems_gym.artifacts import Artifact, load_artifact, shipped
from gems_gym.common.checks import Units, checked_arguments
from gems_gym.embeddings.base import EmbeddingTable, load_embeddings
from gems_gym.errors import unknown_name


@runtime_checkable
class Ranker(Protocol):
    """Turns latent actions into slates.

    A row of a result depends on the same row of the latents only, bit for bit, however many users are ranked
    together. Whatever scales a latent (bounds, coordinates) is part of the ranker: agents act in [-1, 1].

    Attributes:
        kind: The artefact kind, "ranker/name".
        action_size: Numbers in a latent action.
        slate_size: Items in a slate.
        num_items: Items in the catalogue; ids are ``0 … num_items - 1``.
        catalog_hash: Hash of the catalogue that the ranker was made for.
        sha256: Digest of the file it was saved to or loaded from, None if there is none.
    """

    kind: str
    action_size: int
    slate_size: int
    num_items: int
    catalog_hash: str
    sha256: str | None

    def rank(self, latents: np.ndarray) -> np.ndarray:
        """The slates for latent actions.

        Args:
            latents: float ``(num_users, action_size)`` in [-1, 1].

        Returns:
            int64 ``(num_users, slate_size)``, best slot first.
        """
        ...

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the ranker as an artefact and returns the sha256 of the file."""
        ...


@runtime_checkable
class SamplingRanker(Ranker, Protocol):
    """A ranker that may draw slates: ``rank`` takes one random Generator for each user.

    Attributes:
        sample: Whether it draws; if not, ``rank`` needs no generators.
    """

    sample: bool

    def rank(
        self, latents: np.ndarray, generators: Sequence[np.random.Generator] | None = None
    ) -> np.ndarray:
        """The slates for latent actions, drawn with each user's own generator."""
        ...


@checked_arguments
def load_ranker(path: str | os.PathLike[str]) -> Ranker:
    """Loads a ranker of whichever kind the file holds, or one that comes with the package.

    The file's header names the kind, "ranker/name"; the entry point ``name`` of the group
    ``gems_gym.rankers`` is the class that reads it, through its ``from_artifact`` class method.

    Args:
        path: A file written by some ranker's ``save``, or a shipped ranker's name, e.g. "gems-diffuse_mix".

    Raises:
        FileNotFoundError: There is no such file.
        ArtifactError: The file is not a complete and unaltered ranker artefact.
        ValueError: Neither a shipped name nor a file, or no installed plugin knows this kind of ranker.
    """
    artifact = load_artifact(shipped.path(path, "ranker"), "ranker")
    ranker_class = plugins.load(plugins.RANKERS, artifact.kind.partition("/")[2])
    return cast(Callable[[Artifact], Ranker], ranker_class.from_artifact)(artifact)


@checked_arguments
def make_ranker(
    name: str, table: EmbeddingTable | str | os.PathLike[str], slate_size: Units, **options: Any
) -> Ranker:
    """Makes a ranker that needs no training from item embeddings.

    Args:
        name: A member of the entry-point group ``gems_gym.rankers`` whose class has ``from_embeddings``: "topk",
            "k_head_argmax", "wknn", "softmax", or a plugin's.
        table: The item embeddings, their file, or the name of shipped ones, e.g. "mf-diffuse_mix".
        slate_size: Items in a slate.
        options: The ranker's own.

    Raises:
        ValueError: An unknown name or option, an option out of its range, or a ranker that has to be trained.
    """
    ranker_class = plugins.load(plugins.RANKERS, name)
    if not hasattr(ranker_class, "from_embeddings"):
        raise ValueError(f"a {name} ranker can't be made of item embeddings alone: it has to be trained")
    known = getattr(ranker_class, "option_names", tuple(options))
    for option in options:
        if option not in known:
            raise unknown_name(f"option of the ranker {name!r}:", option, known)
    if not isinstance(table, EmbeddingTable):
        table = load_embeddings(table)
    return cast(Ranker, ranker_class.from_embeddings(table, slate_size, **options))
