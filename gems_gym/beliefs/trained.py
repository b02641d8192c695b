"""What trained beliefs have in common: how they take in a slate and its clicks, their checks, and their files."""

from __future__ import annotations

import abc
import os
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from gems_gym.artifacts import (
    LARGEST_TABLE,
    Artifact,
    ArtifactError,
    SavedPart,
    load_artifact,
)
from gems_gym.artifacts.files import checked_tensors
from gems_gym.beliefs.base import State
from gems_gym.common.arrays import copy_into
from gems_gym.common.checks import Count, Seed, Units, as_array, checked_arguments
from gems_gym.common.compilation import compiled_with


class TrainedBelief(SavedPart):
    """A belief encoder that takes in an observation as a sum over the slots s of the slate.

    With items' embeddings ``e_s`` and clicks ``c_s``, what an observation gives to the rest of the encoder is::

        bias + sum_s (W_items[c_s, s] e_s + c_s w_clicks[s])

    It is a sum of one table row per (slot, item, click), computed once, which costs a tenth of the matrix product;
    where that table would have more than 2^28 numbers, each row is computed when it is needed. Users are processed one
    by one in compiled loops: a user's belief has the same bits whatever the number of users updated together, and one
    user costs no more than its share of a thousand.

    Args:
        tensors: ``item_embeddings`` (num_items, E), ``weight_items`` (2, slate_size, outputs, E), ``weight_clicks``
            (slate_size, outputs), the bias (outputs,), and those of the subclass; float32.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        header: What else to record in the file (options, metrics, command, …); JSON values.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: A tensor is missing, empty, not finite, or its shape does not fit the others.
    """

    kind: str
    size: int
    input_bias: ClassVar[str]
    """Name of the sum's bias."""

    @checked_arguments
    def __init__(
        self,
        tensors: Mapping[str, Any],
        catalog_hash: str,
        header: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        self.tensors = checked_tensors(tensors, self._needed(tensors), self.kind)
        self.catalog_hash, self.header, self.sha256 = catalog_hash, dict(header or {}), sha256
        self._check_dimensions({"item_embeddings": 2, "weight_items": 4})
        self.num_items, self.embedding_size = self.tensors["item_embeddings"].shape
        _, self.slate_size, self._outputs, _ = self.tensors["weight_items"].shape
        self._prepare()
        self._check_shapes(
            observation_shapes(self.slate_size, self._outputs, self.embedding_size, self.input_bias)
        )
        self._table = self._sum_table()

    @classmethod
    def _of_random_numbers(
        cls,
        shapes: Mapping[str, tuple[int, ...]],
        bound: float,
        items: tuple[int, int],
        catalog_hash: str,
        seed: int,
    ) -> Self:
        """An untrained encoder: U(-bound, bound), and N(0, 1) item embeddings of the shape ``items``."""
        generator = np.random.default_rng(seed)
        tensors = {name: generator.uniform(-bound, bound, shape) for name, shape in shapes.items()}
        tensors["item_embeddings"] = generator.standard_normal(items)
        return cls(tensors, catalog_hash, {"options": {"random": True, "seed": seed}})

    @abc.abstractmethod
    def _needed(self, tensors: Mapping[str, Any]) -> list[str]:
        """Names of all tensors, in the order that messages name them in."""

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Check the subclass's tensors, and take what it needs of them, ``size`` among that."""

    @abc.abstractmethod
    def initial(self, num_users: int) -> State:
        """The state before anything was seen."""

    @abc.abstractmethod
    def update(self, state: State, slates: np.ndarray, clicks: np.ndarray) -> State:
        """The state after one more observation."""

    @abc.abstractmethod
    def read(self, state: State) -> np.ndarray:
        """The belief that a state stands for."""

    def _check_arrays(self, state: Mapping[str, np.ndarray]) -> None:
        """Raise a ValueError on a state of other arrays than :meth:`initial` gives."""
        expected = self.initial(0)
        if not isinstance(state, Mapping) or state.keys() != expected.keys():
            raise ValueError(f"state must hold the arrays {list(expected)}, as initial() gives them")
        users = len(np.atleast_1d(next(iter(state.values()))))
        for name, array in expected.items():
            shape = (users, *array.shape[1:])
            if state[name].shape != shape or state[name].dtype != array.dtype:
                raise ValueError(
                    f"state[{name!r}] has shape {state[name].shape} and dtype {state[name].dtype}; "
                    f"{shape} {array.dtype} was expected"
                )

    def _check_dimensions(self, dimensions: Mapping[str, int]) -> None:
        for name, count in dimensions.items():
            if self.tensors[name].ndim != count:
                raise ValueError(
                    f"tensors[{name!r}] has shape {self.tensors[name].shape}, not {count} dimensions"
                )

    def _check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            if self.tensors[name].shape != shape:
                raise ValueError(f"tensors[{name!r}] has shape {self.tensors[name].shape}; {shape} would fit")

    def _sum_table(self) -> np.ndarray | None:
        """What each (slot, item, click) adds to the sum, ``(slate_size, num_items, 2, outputs)``; None: too large.

        In float64, rounded once.
        """
        if self.slate_size * self.num_items * 2 * self._outputs > LARGEST_TABLE:
            return None
        items = self.tensors["item_embeddings"].astype(np.float64)
        weights = self.tensors["weight_items"].astype(np.float64)
        table = np.einsum("ie,csge->sicg", items, weights, optimize=True)
        table[:, :, 1] += self.tensors["weight_clicks"][:, None].astype(np.float64)
        return np.ascontiguousarray(table, dtype=np.float32)

    def _observed(self, slates: np.ndarray, clicks: np.ndarray, num_users: int) -> np.ndarray:
        """The sum over each user's slate, ``(num_users, outputs)`` float32.

        An item id of -1, without a click, stands for a slot that showed nothing: it adds nothing.

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        slates = self._checked("slates", slates, num_users, "iu")
        clicks = self._checked("clicks", clicks, num_users, "iub")
        bad_row = _first_unknown(slates, clicks, self.num_items)
        if bad_row < 0:
            observed = np.empty((num_users, self._outputs), dtype=np.float32)
            bias = self.tensors[self.input_bias]
            if self._table is not None:
                _sum_rows(slates, clicks, self._table, bias, observed)
            else:
                items, by_item, by_click = (
                    self.tensors[name] for name in ("item_embeddings", "weight_items", "weight_clicks")
                )
                _sum_products(slates, clicks, items, by_item, by_click, bias, observed)
            return observed
        bad_items = (slates[bad_row] < -1) | (slates[bad_row] >= self.num_items)
        if bad_items.any():
            raise ValueError(
                f"slates[{bad_row}] = {slates[bad_row].tolist()} holds unknown item ids; "
                f"ids are 0 … {self.num_items - 1}, and -1 where nothing was shown"
            )
        raise ValueError(
            f"clicks[{bad_row}] = {clicks[bad_row].tolist()} must hold zeros and ones only, and zeros where nothing "
            f"was shown"
        )

    def _checked(self, name: str, array: np.ndarray, num_users: int, dtype_kinds: str) -> np.ndarray:
        array = as_array(array, name)
        if array.shape != (num_users, self.slate_size) or array.dtype.kind not in dtype_kinds:
            raise ValueError(
                f"{name} has shape {array.shape} and dtype {array.dtype}; "
                f"({num_users}, {self.slate_size}) integers were expected"
            )
        # One dtype only, so that the loop below is compiled once.
        return np.ascontiguousarray(array, dtype=np.int64)

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes recorded in the file."""
        return {
            "size": self.size,
            "num_items": self.num_items,
            "slate_size": self.slate_size,
            "embedding_size": self.embedding_size,
        }

    def _file_header(self) -> dict[str, Any]:
        return {**self.header, "catalog_hash": self.catalog_hash, "sizes": self.sizes}

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Reads an encoder that :meth:`save` wrote; :func:`gems_gym.beliefs.load_belief` reads every kind."""
        return cls.from_artifact(load_artifact(path, cls.kind))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> Self:
        """Makes the encoder from a loaded artefact; an ArtifactError says what is wrong with an unfit one."""
        header = dict(artifact.header)
        catalog_hash = header.pop("catalog_hash", None)
        if not isinstance(catalog_hash, str):
            raise ArtifactError(
                f"{artifact.path} names no catalog_hash; it was not written by {cls.__name__}.save"
            )
        header.pop("sizes", None)
        try:
            belief = cls(artifact.tensors, catalog_hash, header, artifact.sha256)
        except (ValueError, TypeError) as error:
            raise ArtifactError(f"{artifact.path} is not a usable {cls.kind}: {error}") from error
        artifact.check_sizes(belief.sizes)
        return belief

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, num_items={self.num_items}, slate_size={self.slate_size}, "
            f"catalog_hash={self.catalog_hash[:12]!r})"
        )


class RecurrentBelief(TrainedBelief):
    """One whose belief is the hidden state of a layer with gates, which ``weight_hh`` makes of the state before."""

    @staticmethod
    @abc.abstractmethod
    def _shapes(slate_size: int, size: int, embedding_size: int) -> dict[str, tuple[int, ...]]:
        """Shapes of the tensors besides the item embeddings, in the order that random ones are drawn in."""

    def _needed(self, tensors: Mapping[str, Any]) -> list[str]:
        return ["item_embeddings", *self._shapes(1, 1, 1)]

    def _prepare(self) -> None:
        self._check_dimensions({"weight_hh": 2})
        self.size = self.tensors["weight_hh"].shape[1]
        self._check_shapes(self._shapes(self.slate_size, self.size, self.embedding_size))
        self._hidden_table = np.ascontiguousarray(self.tensors["weight_hh"].T)  # (size, gates * size)

    @classmethod
    @checked_arguments
    def random(
        cls,
        *,
        num_items: Count,
        slate_size: Units,
        catalog_hash: str,
        seed: Seed,
        size: Units = 20,
        embedding_size: Units = 20,
    ) -> Self:
        """An untrained encoder: PyTorch's initialisation, U(-1/√size, 1/√size), and N(0, 1) item embeddings."""
        shapes = cls._shapes(slate_size, size, embedding_size)
        return cls._of_random_numbers(shapes, size**-0.5, (num_items, embedding_size), catalog_hash, seed)


def observation_shapes(
    slate_size: int, outputs: int, embedding_size: int, bias: str
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of the sum, besides the item embeddings."""
    return {
        "weight_items": (2, slate_size, outputs, embedding_size),
        "weight_clicks": (slate_size, outputs),
        bias: (outputs,),
    }


@compiled_with()
def _first_unknown(
    slates: np.ndarray,  # (num_users, slate_size) int64
    clicks: np.ndarray,  # (num_users, slate_size) int64
    num_items: int,
) -> int:
    """The first row with an unknown id or click, or a click on nothing; -1 if there is none."""
    for user in range(slates.shape[0]):
        for slot in range(slates.shape[1]):
            item, click = slates[user, slot], clicks[user, slot]
            if not (0 <= item < num_items and 0 <= click <= 1) and not (item == -1 and click == 0):
                return user
    return -1


@compiled_with()
def _sum_rows(
    slates: np.ndarray,  # (num_users, slate_size) int64
    clicks: np.ndarray,  # (num_users, slate_size) int64
    table: np.ndarray,  # (slate_size, num_items, 2, outputs) float32
    bias: np.ndarray,  # (outputs,) float32
    observed: np.ndarray,  # (num_users, outputs) float32, written
) -> None:
    """One table row per slot, added up in their order; nothing for item -1.

    No ``fastmath`` and no ``parallel``: the order of the sums, and so the bits, are the same for every row.
    """
    for user in range(slates.shape[0]):
        copy_into(observed[user], bias)
        for slot in range(slates.shape[1]):
            item, click = slates[user, slot], clicks[user, slot]
            if item >= 0:
                for output in range(table.shape[3]):
                    observed[user, output] += table[slot, item, click, output]


@compiled_with()
def _sum_products(
    slates: np.ndarray,  # (num_users, slate_size) int64
    clicks: np.ndarray,  # (num_users, slate_size) int64
    items: np.ndarray,  # (num_items, E) float32
    weight_items: np.ndarray,  # (2, slate_size, outputs, E) float32
    weight_clicks: np.ndarray,  # (slate_size, outputs) float32
    bias: np.ndarray,  # (outputs,) float32
    observed: np.ndarray,  # (num_users, outputs) float32, written
) -> None:
    """As :func:`_sum_rows`, with rows made as they are needed; in float64, rounded once."""
    for user in range(slates.shape[0]):
        copy_into(observed[user], bias)
        for slot in range(slates.shape[1]):
            item, click = slates[user, slot], clicks[user, slot]
            if item >= 0:
                for output in range(bias.shape[0]):
                    added = np.float64(weight_clicks[slot, output]) * click
                    for number in range(items.shape[1]):
                        added += np.float64(items[item, number]) * weight_items[click, slot, output, number]
                    observed[user, output] += np.float32(added)
