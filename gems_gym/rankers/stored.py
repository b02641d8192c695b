"""What the rankers of this package have in common: checks of their input, and their files."""

from __future__ import annotations

import abc
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts import Artifact, ArtifactError, SavedPart, load_artifact
from gems_gym.artifacts.files import checked_tensors
from gems_gym.common.checks import as_array, checked, checked_arguments
from gems_gym.rankers.indexing import QUERIES, make_list_search
from gems_gym.rankers.item_lists import ItemLists, Search, stored_search
from gems_gym.rankers.search import ExactSearch, ItemSearch, ListSearch


class StoredRanker(SavedPart):
    """Base of rankers that are made of tensors and a few options, and saved as one artefact.

    A subclass names its ``kind`` and, in ``option_names``, the arguments of its constructor that are options: they
    are attributes of the same name, stand in the file's header under "options", and come back from there.

    Attributes:
        kind: The artefact kind, "ranker/name".
        option_names: Constructor arguments recorded in the file.
        search: How the best items are found; an option of some rankers, which is recorded if it isn't "exact".
        tensors: float32 arrays by name.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        header: What else is recorded in the file.
        sha256: Digest of the file it was saved to or read from, None if there is none.
        num_items: Items in the catalogue.
        embedding_size: Numbers in an item embedding.
        slate_size: Items in a slate.
        action_size: Numbers in a latent action.
    """

    kind: str = ""
    option_names: tuple[str, ...] = ()
    search: Search = "exact"
    num_items: int
    embedding_size: int
    slate_size: int
    action_size: int

    @checked_arguments
    def __init__(
        self,
        tensors: Mapping[str, Any],
        needed: Sequence[str],
        catalog_hash: str,
        header: Mapping[str, Any] | None,
        sha256: str | None,
    ) -> None:
        self.tensors = checked_tensors(tensors, needed, self.kind)
        self.catalog_hash = catalog_hash
        self.header = dict(header or {})
        self.sha256 = sha256

    def _searching(
        self,
        items: NDArray[np.float32],
        bias: NDArray[np.float32],
        search: Search | ItemLists,
        count: int,
        asked: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    ) -> ItemSearch:
        """What finds the best of items float32 ``(E, num_items)`` with a bias, up to ``count`` a query.

        ``asked`` makes queries ``(num_queries, E)`` of latents, one or several each.

        Lists of items become part of the ranker, which its file keeps.
        """
        search = checked("search", search, Search | ItemLists)
        self.header.pop("search", None)
        if search == "exact":
            return ExactSearch(items, bias)
        if isinstance(search, ItemLists):
            search.check(items.shape[1])
            found = ListSearch(items, bias, search)
        else:
            latents = np.random.default_rng(1).uniform(-1, 1, (QUERIES, self.action_size))
            queries = asked(latents.astype(np.float32))[:QUERIES]
            found = make_list_search(items, bias, queries, count)
        self.search = "ivf"
        self.tensors = {**self.tensors, "item_lists": found.lists.of_items}
        self.header["search"] = dict(found.lists.report)
        return found

    def with_search(self, search: Search | ItemLists) -> Self:
        """The same ranker with another search: "exact", "ivf", or the lists of another ranker's.

        Raises:
            ImportError: The module faiss is not installed, and "ivf" requires it; the text names the extra.
            TypeError: The ranker has no such option.
        """
        arguments = self.options | {
            "search": search,
            "catalog_hash": self.catalog_hash,
            "header": self.header,
        }
        return self._restore(self.tensors, self.sizes, **arguments)

    @property
    def options(self) -> dict[str, Any]:
        """The options that act in :meth:`rank`, by name."""
        options = {name: getattr(self, name) for name in self.option_names}
        # exact search is not mentioned, as in files from before there was another one
        return {name: value for name, value in options.items() if (name, value) != ("search", "exact")}

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes recorded in the file."""
        return {
            "num_items": self.num_items,
            "slate_size": self.slate_size,
            "latent_size": self.action_size,
            "embedding_size": self.embedding_size,
        }

    def _file_header(self) -> dict[str, Any]:
        others = {
            name: value
            for name, value in self.header.get("options", {}).items()
            if name not in self.option_names
        }
        options = {**others, **self.options}
        return {**self.header, "catalog_hash": self.catalog_hash, "sizes": self.sizes, "options": options}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a ranker that :meth:`save` wrote; :func:`gems_gym.rankers.load_ranker` reads every kind."""
        return cls.from_artifact(load_artifact(path, cls.kind))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Makes the ranker from a loaded artefact; an ArtifactError says what is wrong with an unfit one."""
        header = dict(artifact.header)
        catalog_hash, sizes = header.pop("catalog_hash", None), header.pop("sizes", {})
        found = header.get("options", {})
        if not isinstance(found, dict) or not isinstance(sizes, dict):
            raise ArtifactError(f"{artifact.path}: options and sizes in its header must be JSON objects")
        missing = [] if isinstance(catalog_hash, str) else ["catalog_hash"]
        missing += [f"options.{name}" for name in cls.option_names if name not in {"search", *found}]
        if missing:
            raise ArtifactError(
                f"{artifact.path} lacks {' and '.join(missing)}; {cls.__name__}.save did not write it"
            )
        common = {"catalog_hash": catalog_hash, "header": header, "sha256": artifact.sha256}
        options = {name: found[name] for name in cls.option_names if name in found}
        try:
            if "search" in cls.option_names:
                options["search"] = stored_search(artifact.tensors, header)
            ranker = cls._restore(artifact.tensors, sizes, **common, **options)
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:
            raise ArtifactError(f"{artifact.path} is not a usable {cls.kind}: {error}") from error
        artifact.check_sizes(ranker.sizes)
        return ranker

    @classmethod
    @abc.abstractmethod
    def _restore(cls, tensors: Mapping[str, np.ndarray], sizes: Mapping[str, Any], **arguments: Any) -> Self:
        """Makes the ranker from what is in its file."""

    def __repr__(self) -> str:
        options = "".join(f"{name}={value}, " for name, value in self.options.items())
        return (
            f"{type(self).__name__}(action_size={self.action_size}, slate_size={self.slate_size}, "
            f"num_items={self.num_items}, {options}catalog_hash={self.catalog_hash[:12]!r})"
        )


def checked_latents(latents: np.ndarray, action_size: int) -> np.ndarray:
    """Latents as contiguous float32 ``(num_users, action_size)``.

    Raises:
        ValueError: A wrong shape or dtype, or numbers that are not finite. Numbers outside [-1, 1] pass: the
            wrappers refuse them.
    """
    latents = as_array(latents, "latents")
    if latents.ndim != 2 or latents.shape[1] != action_size or latents.dtype.kind != "f":
        raise ValueError(
            f"latents has shape {latents.shape} and dtype {latents.dtype}; "
            f"(num_users, {action_size}) float32 was expected"
        )
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
        found = np.ascontiguousarray(latents, dtype=np.float32)
    if not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found).all(axis=1)))
        raise ValueError(f"latents[{row}] = {latents[row].tolist()} must hold finite numbers only")
    return found


def checked_sessions(
    slates: np.ndarray, clicks: np.ndarray, slate_size: int, num_items: int, lowest: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Slates and clicks as arrays, both ``(num_users, slate_size)``; ``lowest`` is the lowest item id, 0 or -1.

    Raises:
        ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
    """
    slates, clicks = as_array(slates, "slates"), as_array(clicks, "clicks")
    for name, array, kinds in (("slates", slates, "iu"), ("clicks", clicks, "iub")):
        fits = slates.ndim == 2 and array.shape == (slates.shape[0], slate_size)
        if not fits or array.dtype.kind not in kinds:
            raise ValueError(
                f"{name} has shape {array.shape} and dtype {array.dtype}; "
                f"(num_users, {slate_size}) integers, the same number of users, were expected"
            )
    known = (slates >= lowest) & (slates < num_items)
    if not known.all():
        nothing = (
            " or, for nothing, -1"
            if lowest < 0
            else " (-1, a log's slot that shows nothing, is not known here)"
        )
        _raise_bad_row("slates", slates, known, f"item ids in 0 … {num_items - 1}{nothing}")
    binary = (clicks == 0) | (clicks == 1)
    if not binary.all():
        _raise_bad_row("clicks", clicks, binary, "zeros and ones")
    return slates, clicks


def check_enough_items(num_items: int, slate_size: int, what: str) -> None:
    """Raises a ValueError where a slate without duplicates would need more items than there are."""
    if slate_size > num_items:
        raise ValueError(f"{what} requires num_items >= slate_size; got {num_items} < {slate_size}")


def _raise_bad_row(name: str, array: np.ndarray, good: np.ndarray, expected: str) -> NoReturn:
    row = int(np.argmin(good.all(axis=1)))
    raise ValueError(f"{name}[{row}] = {array[row].tolist()}; {expected} were expected")
