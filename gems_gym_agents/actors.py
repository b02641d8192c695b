"""Policy networks out of torch, as :class:`gems_gym.policies.actor.Actor`, which runs on NumPy alone."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gems_gym.common.networks import LAYER_NORM_EPSILON, FeedForward
from gems_gym.policies.actor import Actor


class WithInput:
    """Stands between modules where the network's input is put before what came out of the one before it."""


def scaled_inputs(linear: Any, factors: ArrayLike, offsets: ArrayLike = 0.0) -> Any:
    """A ``torch.nn.Linear`` that does to numbers what another does to factors · numbers + offsets.

    Args:
        linear: The other one.
        factors: ``(inputs,)``.
        offsets: ``(inputs,)``, or one for all.
    """
    import torch

    scaled = copy.deepcopy(linear)
    weight = linear.weight.detach().cpu().numpy().astype(np.float64)  # (outputs, inputs)
    offset = weight @ np.broadcast_to(np.asarray(offsets, np.float64), weight.shape[1:])  # (outputs,)
    with torch.no_grad():
        scaled.bias += torch.as_tensor(offset).to(scaled.bias)
        scaled.weight.copy_(torch.as_tensor(weight * np.asarray(factors, np.float64)))
    return scaled


def actor_from_modules(modules: Iterable[Any], metadata: dict[str, Any] | None = None) -> Actor:
    """Copies a policy network out of torch.

    Args:
        modules: See :func:`network_from_modules`.
        metadata: JSON-able values to keep in the file.

    Returns:
        An actor that agrees with the modules within float32 rounding.

    Raises:
        ValueError: As there, or a network that does not end in Tanh or Hardtanh.
    """
    return Actor(network_from_modules(modules), metadata)


def network_from_modules(modules: Iterable[Any]) -> FeedForward:
    """Copies a network out of torch.

    Args:
        modules: ``torch.nn`` modules in the order they are applied: Linear, ReLU, LayerNorm (over the last axis), Tanh,
            Hardtanh (to [-1, 1]), and Sequential of these; and :class:`WithInput`. Identity, Flatten and Dropout (which
            do nothing to rows at inference) are passed over.

    Returns:
        A network that agrees with the modules within float32 rounding.

    Raises:
        ValueError: A module that it has no layer for.
    """
    spec: list[list[str]] = []
    tensors: dict[str, np.ndarray] = {}
    for layer, weights in _layers(modules):
        for key, array in weights.items():
            tensors[f"{len(spec)}.{key}"] = array
        spec.append(layer)
    return FeedForward(tensors, spec)


def _layers(modules: Iterable[Any]) -> Iterable[tuple[list[str], dict[str, np.ndarray]]]:
    """Layers of :class:`FeedForward` with their weights, from torch modules."""
    from torch import nn

    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _layers(module)
        elif isinstance(module, nn.Linear):
            weight = _array(module.weight)  # (outputs, inputs)
            bias = np.zeros(len(weight), dtype=np.float32) if module.bias is None else _array(module.bias)
            yield ["linear"], {"weight": weight, "bias": bias}
        elif isinstance(module, nn.LayerNorm):
            yield _layer_norm(module)
        elif isinstance(module, nn.ReLU):
            yield ["relu"], {}
        elif isinstance(module, nn.Tanh):
            yield ["tanh"], {}
        elif isinstance(module, nn.Hardtanh) and (module.min_val, module.max_val) == (-1.0, 1.0):
            yield ["clip"], {}
        elif isinstance(module, WithInput):
            yield ["with_input"], {}
        elif not isinstance(module, nn.Identity | nn.Flatten | nn.Dropout):
            raise ValueError(
                f"module {module} cannot be exported; Linear, LayerNorm, ReLU, Tanh, Hardtanh and Sequential can "
                "(Identity, Flatten and Dropout are passed over)"
            )


def _layer_norm(module: Any) -> tuple[list[str], dict[str, np.ndarray]]:
    if len(module.normalized_shape) != 1:
        raise ValueError(f"module {module} cannot be exported; LayerNorm over the last axis can")
    width = module.normalized_shape[0]
    weight = np.ones(width, dtype=np.float32) if module.weight is None else _array(module.weight)
    bias = np.zeros(width, dtype=np.float32) if module.bias is None else _array(module.bias)
    epsilon = [] if module.eps == LAYER_NORM_EPSILON else [repr(float(module.eps))]
    return ["layer_norm", *epsilon], {"weight": weight, "bias": bias}


def _array(tensor: Any) -> np.ndarray:
    # a copy: training goes on in the tensor
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)
