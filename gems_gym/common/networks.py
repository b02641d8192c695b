"""Small feed-forward networks on NumPy arrays, for inference without torch.

A row of a result has the same bits whatever the number of rows computed together, see :mod:`gems_gym.common.products`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gems_gym.common.compilation import compiled_with
from gems_gym.common.products import dense
from gems_gym.errors import unknown_name

LAYERS = ("linear", "relu", "tanh", "layer_norm", "with_input", "clip")
"""Layers that a network may consist of; ``linear`` and ``layer_norm`` have a weight and a bias.

``with_input`` puts the network's input before what came out of the layer before it, as a decoder does that is given
both; ``clip`` cuts numbers to [-1, 1]. A ``layer_norm`` may name its ε, as a text: ``["layer_norm", "0.003"]``.
"""

LAYER_NORM_EPSILON = 1e-5
"""ε of a ``layer_norm`` that names none; torch's default."""

_WITH_WEIGHTS = ("linear", "layer_norm")


class FeedForward:
    """A sequence of layers, with the layer and tensor conventions of ``torch.nn.Sequential``.

    Args:
        tensors: Weights named as in the state dict of a ``torch.nn.Sequential``: ``"0.weight"``,
            ``"0.bias"``, …, where the number is the layer's place in ``spec``. Linear weights are (outputs,
            inputs).
        spec: One list per layer, its name first, e.g. ``[["linear"], ["relu"], ["linear"]]``: JSON-able, so
            that it can stand in an artefact's header.

    Raises:
        ValueError: An unknown layer, a missing or non-finite tensor, or shapes that do not fit together.

    Example:
        >>> tensors = {"0.weight": np.array([[1.0, -2.0]]), "0.bias": np.array([0.5])}
        >>> network = FeedForward(tensors, [["linear"], ["relu"]])
        >>> network(np.array([[1.0, 0.0], [1.0, 1.0]], dtype=np.float32))
        array([[1.5],
               [0. ]], dtype=float32)
    """

    def __init__(self, tensors: Mapping[str, np.ndarray], spec: Sequence[Sequence[str]]) -> None:
        self.spec = [list(layer) for layer in spec]
        self._parameters: list[tuple[np.ndarray, np.ndarray] | None] = []
        self._epsilons = [_epsilon(index, layer) for index, layer in enumerate(self.spec)]
        width: int | None = None
        input_size: int | None = None
        for index, (name, *_) in enumerate(self.spec):
            if name not in LAYERS:
                raise unknown_name("layer", name, LAYERS)
            if name not in _WITH_WEIGHTS:
                if name == "with_input":
                    if input_size is None or width is None:
                        raise ValueError(f"layer {index} (with_input) has no layer with weights before it")
                    width += input_size
                self._parameters.append(None)
                continue
            weight, bias = _checked_parameters(tensors, index, name, width)
            self._parameters.append((weight, bias))
            input_size = weight.shape[0] if input_size is None else input_size
            width = bias.shape[0]
        if input_size is None or width is None:
            raise ValueError(f"spec={self.spec} has no layer with weights, so the network has no size")
        self.input_size: int = input_size
        self.output_size: int = width

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, np.ndarray], prefix: str, spec: Sequence[Sequence[str]]
    ) -> FeedForward:
        """Picks the tensors whose names start with ``prefix`` and a dot, as :meth:`to_tensors` wrote them."""
        start = f"{prefix}."
        own = {name[len(start) :]: array for name, array in tensors.items() if name.startswith(start)}
        try:
            return cls(own, spec)
        except ValueError as error:
            raise ValueError(f"network {prefix!r}: {error}") from error

    def to_tensors(self, prefix: str) -> dict[str, np.ndarray]:
        """The weights for an artefact, float32, linear ones (outputs, inputs)."""
        tensors = {}
        for index, parameters in enumerate(self._parameters):
            if parameters is not None:
                weight, bias = parameters
                tensors[f"{prefix}.{index}.weight"] = np.ascontiguousarray(weight.T)
                tensors[f"{prefix}.{index}.bias"] = bias
        return tensors

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Runs the network on every row.

        Args:
            rows: float ``(num_rows, input_size)``.

        Returns:
            float32 ``(num_rows, output_size)``; a new array.

        Raises:
            ValueError: A wrong shape.
        """
        if rows.ndim != 2 or rows.shape[1] != self.input_size:
            raise ValueError(f"rows has shape {rows.shape}; (num_rows, {self.input_size}) was expected")
        values = inputs = np.ascontiguousarray(rows, dtype=np.float32)
        for (name, *_), parameters, epsilon in zip(self.spec, self._parameters, self._epsilons, strict=True):
            if name == "relu":
                values = np.maximum(values, np.float32(0))
            elif name == "tanh":
                values = tanh(values)
            elif name == "with_input":
                values = np.concatenate([inputs, values], axis=1)
            elif name == "clip":
                values = np.clip(values, np.float32(-1), np.float32(1))
            elif parameters is not None and name == "linear":
                values = dense(values, *parameters)
            elif parameters is not None:
                values = _layer_norm(values, *parameters, epsilon)
        return values


def _epsilon(index: int, layer: list[str]) -> float:
    """The ε of a layer; only of a layer_norm does it mean anything."""
    name, *settings = layer
    if not settings:
        return LAYER_NORM_EPSILON
    try:
        (epsilon,) = map(float, settings)
    except (TypeError, ValueError):
        epsilon = 0.0
    if name != "layer_norm" or not 0.0 < epsilon < 1.0:
        raise ValueError(f"layer {index} is {layer}; only a layer_norm has a setting, its ε in (0, 1)")
    return epsilon


def _checked_parameters(
    tensors: Mapping[str, np.ndarray], index: int, name: str, width: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """One layer's weight, (inputs, outputs) if linear, and bias; float32, contiguous."""
    keys = (f"{index}.weight", f"{index}.bias")
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise ValueError(f"layer {index} ({name}) lacks the tensors {missing}")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused
        weight, bias = (np.asarray(tensors[key], dtype=np.float32) for key in keys)
    for key, array in zip(keys, (weight, bias), strict=True):
        if array.size == 0:
            raise ValueError(f"tensor {key!r} is empty: it has shape {array.shape}")
        if not np.isfinite(array).all():
            raise ValueError(
                f"tensor {key!r} holds {np.count_nonzero(~np.isfinite(array))} non-finite numbers"
            )
    inputs = weight.shape[-1] if weight.ndim else 0
    fits = weight.ndim == (2 if name == "linear" else 1) and bias.shape == weight.shape[:1]
    if not fits or width not in (None, inputs):
        after = "" if width is None else f" after a layer of {width}"
        raise ValueError(
            f"layer {index} ({name}): weight {weight.shape} and bias {bias.shape} do not fit together{after}"
        )
    return np.ascontiguousarray(weight.T), np.ascontiguousarray(bias)


@compiled_with()
def tanh(values: np.ndarray) -> np.ndarray:
    """Elementwise tanh of a 2-D float32 array, the same bits wherever an element stands."""
    result = np.empty_like(values)
    for row in range(values.shape[0]):
        for j in range(values.shape[1]):
            result[row, j] = np.tanh(values[row, j])
    return result


@compiled_with()
def _layer_norm(rows: np.ndarray, weight: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    """Layer normalisation over the last axis (Ba et al., 2016), sums in float64."""
    result = np.empty_like(rows)
    width = rows.shape[1]
    for row in range(rows.shape[0]):
        mean = 0.0
        for j in range(width):
            mean += rows[row, j]
        mean /= width
        variance = 0.0
        for j in range(width):
            variance += (rows[row, j] - mean) ** 2
        scale = 1.0 / np.sqrt(variance / width + epsilon)
        for j in range(width):
            result[row, j] = (rows[row, j] - mean) * scale * weight[j] + bias[j]
    return result
