"""The GRU belief: a one-layer gated recurrent unit over (slate, clicks), for inference on NumPy arrays.

GeMS (Deffayet et al., WSDM 2023, arXiv 2301.08632) encodes the session with a GRU whose input at each step is the S
item embeddings of the slate and its S clicks, concatenated. Training lives in
:mod:`gems_gym.pretraining.gru_belief`; here is the part that environments run at every step, without torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from gems_gym.artifacts import (
    LARGEST_TABLE,
    Artifact,
    ArtifactError,
    content_sha256,
    load_artifact,
    save_artifact,
)
from gems_gym.common.checks import Count, Seed, Units, WholeNumber, as_array, checked_arguments
from gems_gym.common.compilation import compiled_with

_TENSORS = ("item_embeddings", "weight_items", "weight_clicks", "weight_hh", "bias_ih", "bias_hh")


class GruBelief:
    """A user's belief state as the hidden state of a GRU (Cho et al., 2014; gates in PyTorch's order: r, z, n).

    With ``h`` the belief and ``g`` what an observation gives to the three gates, a sum over the slots s of the slate,
    whose items have embeddings ``e_s`` and clicks ``c_s``::

        g = b_i + sum_s (W_items[c_s, s] e_s + c_s w_clicks[s])      (3 * size numbers: g_r, g_z, g_n)
        r = sigmoid(g_r + W_hr h + b_hr)
        z = sigmoid(g_z + W_hz h + b_hz)
        n = tanh(g_n + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    The published encoder (slate embeddings and clicks concatenated) is the case ``W_items[0] = W_items[1]``: there,
    which item got a click reaches the belief only through the gates' curvature.

    ``g`` is a sum of one table row per (slot, item, click), computed once, which costs a tenth of the matrix product.
    Users are processed one by one in a compiled loop: a user's belief has the same bits whatever the number of users
    updated together, and one user costs no more than its share of a thousand.

    Args:
        tensors: ``item_embeddings`` (num_items, E), ``weight_items`` (2, slate_size, 3 * size, E), ``weight_clicks``
            (slate_size, 3 * size), ``weight_hh`` (3 * size, size), ``bias_ih`` and ``bias_hh`` (3 * size,); float32.
        catalog_hash: hash of the catalogue that the item ids belong to.
        header: what else to record in the file (options, metrics, command, …); JSON values.
        sha256: digest of the file it was read from, if any.

    Raises:
        ValueError: a tensor is missing, empty, not finite, or its shape does not fit the others; or the table of the
            sum above would have more than 2^28 numbers (``slate_size * num_items * 6 * size``).

    Example:
        >>> import numpy as np
        >>> belief = GruBelief.random(num_items=50, slate_size=5, catalog_hash="none", seed=0)
        >>> slates = np.arange(10).reshape(2, 5)
        >>> clicks = np.array([[0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
        >>> states = belief.update(belief.initial(2), slates, clicks)
        >>> states.shape, states.dtype
        ((2, 20), dtype('float32'))
    """

    kind = "belief/gru"

    @checked_arguments
    def __init__(
        self,
        tensors: Mapping[str, Any],
        catalog_hash: str,
        header: Mapping[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        missing = [name for name in _TENSORS if name not in tensors]
        if missing:
            raise ValueError(f"tensors lacks {missing}; a {self.kind} requires {list(_TENSORS)}")
        with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
            self.tensors = {name: np.ascontiguousarray(tensors[name], dtype=np.float32) for name in _TENSORS}
        self.catalog_hash = catalog_hash
        self.header = dict(header or {})
        self.sha256 = sha256
        self._check_shapes()
        self.num_items, self.embedding_size = self.tensors["item_embeddings"].shape
        self.slate_size = self.tensors["weight_items"].shape[1]
        self.size = self.tensors["weight_hh"].shape[1]
        self._build_tables()

    def _check_shapes(self) -> None:
        for name, dimensions in (("item_embeddings", 2), ("weight_items", 4), ("weight_hh", 2)):
            if self.tensors[name].ndim != dimensions:
                raise ValueError(
                    f"tensors[{name!r}] has shape {self.tensors[name].shape}, not {dimensions} dimensions"
                )
        width = self.tensors["item_embeddings"].shape[1]
        slots, gates = self.tensors["weight_items"].shape[1], 3 * self.tensors["weight_hh"].shape[1]
        for name, shape in _shapes(slots, gates, width).items():
            if self.tensors[name].shape != shape:
                raise ValueError(f"tensors[{name!r}] has shape {self.tensors[name].shape}; {shape} would fit")
        for name, tensor in self.tensors.items():
            if tensor.size == 0:
                raise ValueError(f"tensors[{name!r}] is empty: it has shape {tensor.shape}")
            if not np.isfinite(tensor).all():
                raise ValueError(
                    f"tensors[{name!r}] holds {np.count_nonzero(~np.isfinite(tensor))} non-finite numbers"
                )
        items = self.tensors["item_embeddings"].shape[0]
        if slots * items * 2 * gates > LARGEST_TABLE:
            raise ValueError(
                f"{items} items in slates of {slots} and {gates // 3} numbers in a belief need a table of "
                f"{slots * items * 2 * gates} numbers; at most {LARGEST_TABLE} are made"
            )

    def _build_tables(self) -> None:
        """Precomputes what each (slot, item, click) adds to the gates; in float64, rounded once."""
        items = self.tensors["item_embeddings"].astype(np.float64)
        weights = self.tensors["weight_items"].astype(np.float64)
        table = np.einsum(
            "ie,csge->sicg", items, weights, optimize=True
        )  # (slate_size, num_items, 2, 3 * size)
        table[:, :, 1] += self.tensors["weight_clicks"][:, None].astype(np.float64)
        self._input_table = np.ascontiguousarray(table, dtype=np.float32)
        self._hidden_table = np.ascontiguousarray(self.tensors["weight_hh"].T)  # (size, 3 * size)

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
    ) -> GruBelief:
        """An untrained encoder: PyTorch's GRU initialisation, U(-1/√size, 1/√size), and N(0, 1) item embeddings."""
        generator = np.random.default_rng(seed)
        bound = size**-0.5
        shapes = _shapes(slate_size, 3 * size, embedding_size)
        tensors = {name: generator.uniform(-bound, bound, shape) for name, shape in shapes.items()}
        tensors["item_embeddings"] = generator.standard_normal((num_items, embedding_size))
        return cls(tensors, catalog_hash, {"options": {"random": True, "seed": seed}})

    @checked_arguments
    def initial(self, num_users: WholeNumber) -> np.ndarray:
        """The belief before the first slate was seen: ``(num_users, size)`` float32 zeros."""
        return np.zeros((num_users, self.size), dtype=np.float32)

    def read(self, state: np.ndarray) -> np.ndarray:
        """The belief is the state itself."""
        return state

    def update(self, state: np.ndarray, slates: np.ndarray, clicks: np.ndarray) -> np.ndarray:
        """The belief after one more observation.

        Args:
            state: ``(num_users, size)`` float32 in [-1, 1], from :meth:`initial` or an earlier update.
            slates: ``(num_users, slate_size)`` integer item ids, ``0 … num_items - 1``.
            clicks: ``(num_users, slate_size)`` zeros and ones (integer or bool).

        Returns:
            ``(num_users, size)`` float32 in [-1, 1]; a new array, the inputs are left alone.

        Raises:
            ValueError: a wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        belief = as_array(state, "state")
        if belief.ndim != 2 or belief.shape[1] != self.size or belief.dtype != np.float32:
            raise ValueError(
                f"state has shape {belief.shape} and dtype {belief.dtype}; "
                f"(num_users, {self.size}) float32 was expected"
            )
        slates = self._checked("slates", slates, len(belief), "iu")
        clicks = self._checked("clicks", clicks, len(belief), "iub")
        updated = np.empty_like(belief, order="C")
        bias_ih, bias_hh = self.tensors["bias_ih"], self.tensors["bias_hh"]
        weights = (self._input_table, self._hidden_table, bias_ih, bias_hh)
        bad_row = _gru_update(np.ascontiguousarray(belief), slates, clicks, *weights, updated)
        if bad_row >= 0:
            self._raise_bad_row(bad_row, slates, clicks)
        return updated

    def _checked(self, name: str, array: np.ndarray, num_users: int, dtype_kinds: str) -> np.ndarray:
        array = as_array(array, name)
        if array.shape != (num_users, self.slate_size) or array.dtype.kind not in dtype_kinds:
            raise ValueError(
                f"{name} has shape {array.shape} and dtype {array.dtype}; "
                f"({num_users}, {self.slate_size}) integers were expected"
            )
        # One dtype only, so that the loop below is compiled once.
        return np.ascontiguousarray(array, dtype=np.int64)

    def _raise_bad_row(self, row: int, slates: np.ndarray, clicks: np.ndarray) -> None:
        bad_items = (slates[row] < 0) | (slates[row] >= self.num_items)
        if bad_items.any():
            raise ValueError(
                f"slates[{row}] = {slates[row].tolist()} holds unknown item ids; ids are 0 … {self.num_items - 1}"
            )
        raise ValueError(f"clicks[{row}] = {clicks[row].tolist()} must hold zeros and ones only")

    def save(self, path: str | os.PathLike[str]) -> str:
        """Writes the encoder to a safetensors artefact of kind "belief/gru"; returns (and keeps) the file's sha256."""
        self.sha256 = save_artifact(path, self.kind, self.tensors, self._file_header())
        return self.sha256

    @property
    def content_sha256(self) -> str:
        """Hash of the weights and settings, see :func:`gems_gym.artifacts.content_sha256`."""
        return content_sha256(self.kind, self.tensors, self._file_header())

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
    def load(cls, path: str | os.PathLike[str]) -> GruBelief:
        """Reads an encoder that :meth:`save` wrote; :func:`gems_gym.beliefs.load_belief` reads every kind."""
        return cls.from_artifact(load_artifact(path, cls.kind))

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> GruBelief:
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
        except ValueError as error:
            raise ArtifactError(f"{artifact.path} is not a usable {cls.kind}: {error}") from error
        artifact.check_sizes(belief.sizes)
        return belief

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(size={self.size}, num_items={self.num_items}, slate_size={self.slate_size}, "
            f"catalog_hash={self.catalog_hash[:12]!r})"
        )


def _shapes(slate_size: int, gates: int, embedding_size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors besides the item embeddings."""
    return {
        "weight_items": (2, slate_size, gates, embedding_size),
        "weight_clicks": (slate_size, gates),
        "weight_hh": (gates, gates // 3),
        "bias_ih": (gates,),
        "bias_hh": (gates,),
    }


@compiled_with()
def _gru_update(
    belief: np.ndarray,  # (num_users, size) float32
    slates: np.ndarray,  # (num_users, slate_size) int64
    clicks: np.ndarray,  # (num_users, slate_size) int64
    input_table: np.ndarray,  # (slate_size, num_items, 2, 3 * size) float32
    hidden_table: np.ndarray,  # (size, 3 * size) float32
    bias_ih: np.ndarray,  # (3 * size,) float32
    bias_hh: np.ndarray,  # (3 * size,) float32
    updated: np.ndarray,  # (num_users, size) float32, written
) -> int:
    """One GRU step for every user; returns the first row with an unknown id or click, or -1.

    No ``fastmath`` and no ``parallel``: the order of the sums, and so the bits, are the same for every row.
    """
    num_users, slate_size = slates.shape
    num_items, gates = input_table.shape[1], input_table.shape[3]
    size = gates // 3
    one = np.float32(1.0)
    from_input = np.empty(gates, dtype=np.float32)
    from_belief = np.empty(gates, dtype=np.float32)
    for user in range(num_users):
        from_input[:] = bias_ih
        from_belief[:] = bias_hh
        for slot in range(slate_size):
            item, click = slates[user, slot], clicks[user, slot]
            if item < 0 or item >= num_items or click < 0 or click > 1:
                return user
            for gate in range(gates):
                from_input[gate] += input_table[slot, item, click, gate]
        for unit in range(size):
            for gate in range(gates):
                from_belief[gate] += belief[user, unit] * hidden_table[unit, gate]
        for unit in range(size):
            reset = one / (one + np.exp(-(from_input[unit] + from_belief[unit])))
            keep = one / (one + np.exp(-(from_input[size + unit] + from_belief[size + unit])))
            new = np.tanh(from_input[2 * size + unit] + reset * from_belief[2 * size + unit])
            updated[user, unit] = (one - keep) * new + keep * belief[user, unit]
    return -1
