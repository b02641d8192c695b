"""The transformer belief: a small causal transformer over (slate, clicks), for inference on NumPy arrays.

Training lives in :mod:`gems_gym.pretraining.transformer`; here is the part that environments run at every step, without
torch. A step attends to the keys and values of the newest observations, which are kept, and computes nothing again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from gems_gym.artifacts import LARGEST_TABLE
from gems_gym.beliefs.trained import TrainedBelief, observation_shapes
from gems_gym.common.arrays import copy_into
from gems_gym.common.checks import Count, Seed, Units, WholeNumber, checked_arguments
from gems_gym.common.compilation import compiled_with
from gems_gym.common.networks import FeedForward

ATTEND = [["layer_norm"], ["linear"]]
"""Layers, as of :class:`~gems_gym.common.networks.FeedForward`, that give queries, keys and values."""

COMBINE = [["linear"]]
"""Of what the heads attended to."""

TRANSFORM = [["layer_norm"], ["linear"], ["relu"], ["linear"]]
"""Of each number of an observation's vector by the others."""

READ_OUT = [["layer_norm"], ["linear"], ["tanh"]]
"""Of the belief, out of the newest observation's vector."""

_AGE_BIAS = re.compile(r"layers\.(\d+)\.age_bias")


class _Layer(NamedTuple):
    attend: FeedForward
    combine: FeedForward
    transform: FeedForward
    age_bias: np.ndarray  # (heads, context)


class TransformerBelief(TrainedBelief):
    """A user's belief state as what a causal transformer reads out of the session (Vaswani et al., 2017).

    With ``x`` the vector of an observation, at first the sum over its slate (see
    :class:`~gems_gym.beliefs.trained.TrainedBelief`), each layer does::

        q, k, v = W norm(x)                                            (split among the heads)
        x = x + W_c sum over the newest ``context`` observations j of softmax_j(q·k_j / √d + bias[age of j]) v_j
        x = x + W_2 relu(W_1 norm(x))

    and the belief is ``tanh(W_r norm(x))``. Where an observation stands in the session is known by its age, through a
    learned bias of each head (as in T5, Raffel et al., 2020), so sessions may be longer than those of training.

    Args:
        tensors: Those of the sum, with the bias ``bias_input`` and ``width`` outputs; for each layer ``layers.N.``:
            ``age_bias`` (heads, context), and networks named ``attend`` (width to 3 width), ``combine``, ``transform``;
            ``read_out`` (width to size); float32.
        catalog_hash: Hash of the catalogue that the item ids belong to.
        header: What else to record in the file (options, metrics, command, …); JSON values.
        sha256: Digest of the file it was read from, if any.

    Raises:
        ValueError: A tensor is missing, empty, not finite, or its shape does not fit the others; or a user's state
            would have more than 2^28 numbers.

    Example:
        >>> import numpy as np
        >>> belief = TransformerBelief.random(num_items=50, slate_size=5, catalog_hash="none", seed=0)
        >>> slates = np.arange(10).reshape(2, 5)
        >>> clicks = np.array([[0, 1, 0, 0, 1], [0, 0, 0, 0, 0]])
        >>> state = belief.update(belief.initial(2), slates, clicks)
        >>> belief.read(state).shape, belief.read(state).dtype
        ((2, 20), dtype('float32'))
    """

    kind = "belief/transformer"
    input_bias = "bias_input"

    def _needed(self, tensors: Mapping[str, Any]) -> list[str]:
        return ["item_embeddings", *_shapes(1, 1, 1, 1, max(_count_layers(tensors), 1), 1, 1)]

    def _prepare(self) -> None:
        count = _count_layers(self.tensors)
        self._check_dimensions({"layers.0.age_bias": 2, "read_out.1.weight": 2})
        self.size = self.tensors["read_out.1.weight"].shape[0]
        self.heads, self.context = self.tensors["layers.0.age_bias"].shape
        if self._outputs % max(self.heads, 1):
            raise ValueError(
                f"tensors['weight_items'] gives {self._outputs} numbers, no multiple of {self.heads} heads"
            )
        sizes = (self.slate_size, self._outputs, self.embedding_size, self.size, count)
        self._check_shapes(_shapes(*sizes, self.heads, self.context))
        if (numbers := 2 * count * self._outputs * self.context) > LARGEST_TABLE:
            raise ValueError(
                f"{count} layers of {self._outputs} numbers for {self.context} observations need a state of {numbers} "
                f"numbers for each user; at most {LARGEST_TABLE} are kept"
            )
        self._layers = [
            _Layer(
                FeedForward.from_tensors(self.tensors, f"layers.{index}.attend", ATTEND),
                FeedForward.from_tensors(self.tensors, f"layers.{index}.combine", COMBINE),
                FeedForward.from_tensors(self.tensors, f"layers.{index}.transform", TRANSFORM),
                self.tensors[f"layers.{index}.age_bias"],
            )
            for index in range(count)
        ]
        self._read_out = FeedForward.from_tensors(self.tensors, "read_out", READ_OUT)

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
        width: Units = 32,
        layers: Units = 1,
        heads: Units = 4,
        context: Units = 100,
    ) -> TransformerBelief:
        """An untrained encoder: every weight from U(-1/√width, 1/√width), and N(0, 1) item embeddings.

        Raises:
            ValueError: A width that is no multiple of the heads.
        """
        shapes = _shapes(slate_size, width, embedding_size, size, layers, heads, context)
        return cls._of_random_numbers(shapes, width**-0.5, (num_items, embedding_size), catalog_hash, seed)

    @checked_arguments
    def initial(self, num_users: WholeNumber) -> dict[str, np.ndarray]:
        """The state before the first slate was seen.

        Returns:
            ``keys`` (num_users, layers, width, context) and ``values`` (num_users, layers, context, width) of the
            newest observations, number n at place ``n % context``; ``seen`` (num_users,), how many there were; and
            ``belief`` (num_users, size). Zeros, float32 but for ``seen``, int64.
        """
        layers, width = len(self._layers), self._outputs
        return {
            "keys": np.zeros((num_users, layers, width, self.context), dtype=np.float32),
            "values": np.zeros((num_users, layers, self.context, width), dtype=np.float32),
            "seen": np.zeros(num_users, dtype=np.int64),
            "belief": np.zeros((num_users, self.size), dtype=np.float32),
        }

    def read(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """The belief after the last update: ``(num_users, size)`` float32 in [-1, 1]; zeros before the first."""
        return state["belief"]

    def update(
        self, state: Mapping[str, np.ndarray], slates: np.ndarray, clicks: np.ndarray
    ) -> dict[str, np.ndarray]:
        """The state after one more observation.

        Args:
            state: From :meth:`initial` or an earlier update; it is left alone.
            slates: ``(num_users, slate_size)`` integer item ids, ``0 … num_items - 1``; -1 where nothing was shown.
            clicks: ``(num_users, slate_size)`` zeros and ones (integer or bool).

        Returns:
            New arrays.

        Raises:
            ValueError: A wrong shape or dtype, an unknown item id, or a click that is neither 0 nor 1.
        """
        seen = self._seen(state)
        vectors = self._observed(slates, clicks, len(seen))  # (num_users, width)
        # np.array, not copy(): what was indexed may be in another order in memory
        keys, values = (np.array(state[name], order="C") for name in ("keys", "values"))
        for index, layer in enumerate(self._layers):
            attended = np.empty_like(vectors)
            _attend(layer.attend(vectors), keys, values, index, seen, layer.age_bias, attended)
            vectors = vectors + layer.combine(attended)
            vectors = vectors + layer.transform(vectors)
        return {"keys": keys, "values": values, "seen": seen + 1, "belief": self._read_out(vectors)}

    def _seen(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """The observations in a state, ``(num_users,)``; a ValueError on a state of another form."""
        self._check_arrays(state)
        if state["seen"].min(initial=0) < 0:
            raise ValueError(f"state['seen'] must hold integers ≥ 0, got {state['seen'].min()}")
        return np.ascontiguousarray(state["seen"])


def _count_layers(tensors: Mapping[str, Any]) -> int:
    return sum(_AGE_BIAS.fullmatch(str(name)) is not None for name in tensors)


def _shapes(
    slate_size: int, width: int, embedding_size: int, size: int, layers: int, heads: int, context: int
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors besides the item embeddings."""
    shapes = observation_shapes(slate_size, width, embedding_size, "bias_input")

    def network(name: str, spec: list[list[str]], *widths: int) -> None:
        sizes = list(widths)
        for index, (layer,) in enumerate(spec):
            if layer == "linear":
                inputs = sizes.pop(0)
                shapes[f"{name}.{index}.weight"] = (sizes[0], inputs)
            if layer == "layer_norm":
                shapes[f"{name}.{index}.weight"] = (sizes[0],)
            if layer in ("linear", "layer_norm"):
                shapes[f"{name}.{index}.bias"] = (sizes[0],)

    for index in range(layers):
        shapes[f"layers.{index}.age_bias"] = (heads, context)
        network(f"layers.{index}.attend", ATTEND, width, 3 * width)
        network(f"layers.{index}.combine", COMBINE, width, width)
        network(f"layers.{index}.transform", TRANSFORM, width, 2 * width, width)
    network("read_out", READ_OUT, width, size)
    return shapes


@compiled_with()
def _attend(
    projected: np.ndarray,  # (num_users, 3 * width) float32: queries, keys, values
    keys: np.ndarray,  # (num_users, layers, width, context) float32, the newest is written
    values: np.ndarray,  # (num_users, layers, context, width) float32, the newest is written
    layer: int,
    seen: np.ndarray,  # (num_users,) int64
    age_bias: np.ndarray,  # (heads, context) float32
    attended: np.ndarray,  # (num_users, width) float32, written
) -> None:
    """What each user's heads attend to; no ``fastmath`` and no ``parallel``, so that a row's bits are always the same.

    Keys stand the other way round than values: both inner loops run along memory, and no sum is cut into parts.
    """
    heads, context = age_bias.shape
    width = attended.shape[1]
    part = width // heads
    scale = np.float32(1.0 / np.sqrt(part))
    weights = np.empty(context, dtype=np.float32)
    for user in range(projected.shape[0]):
        place = seen[user] % context
        count = min(seen[user] + 1, context)
        query = projected[user, :width]
        copy_into(keys[user, layer, :, place], projected[user, width : 2 * width])
        copy_into(values[user, layer, place], projected[user, 2 * width :])
        for head in range(heads):
            weights[:count] = np.float32(0.0)
            for d in range(head * part, (head + 1) * part):
                number, column = query[d], keys[user, layer, d]
                for row in range(count):
                    weights[row] += number * column[row]
            top = np.float32(-np.inf)
            for row in range(count):
                age = place - row if row <= place else place - row + context
                weights[row] = weights[row] * scale + age_bias[head, age]
                top = max(top, weights[row])
            total = np.float32(0.0)
            for row in range(count):
                weights[row] = np.exp(weights[row] - top)
                total += weights[row]
            out = attended[user, head * part : (head + 1) * part]
            out[:] = np.float32(0.0)
            for row in range(count):
                weight, value = (
                    weights[row] / total,
                    values[user, layer, row, head * part : (head + 1) * part],
                )
                for d in range(part):
                    out[d] += weight * value[d]
