"""Policy networks out of torch, as :class:`gems_gym.policies.actor.Actor`, which runs on NumPy alone."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from gems_gym.common.networks import FeedForward
from gems_gym.policies.actor import Actor


class WithInput:
    """Stands between modules where the network's input is put before what came out of the one before it."""


def scaled_inputs(linear: Any, factors: Sequence[float]) -> Any:
    """A ``torch.nn.Linear`` that does to numbers what another does to them times factors, one for each."""
    import torch

    scaled = copy.deepcopy(linear)
    with torch.no_grad():
        scaled.weight *= torch.as_tensor(factors, dtype=scaled.weight.dtype, device=scaled.weight.device)
    return scaled


def actor_from_modules(modules: Iterable[Any], metadata: dict[str, Any] | None = None) -> Actor:
    """Copies a policy network out of torch.

    Args:
        modules: ``torch.nn`` modules in the order they are applied: Linear, ReLU, LayerNorm (over the last axis), Tanh,
            Hardtanh (to [-1, 1]), and Sequential of these; and :class:`WithInput`. Identity, Flatten and Dropout (which
            do nothing to rows at inference) are passed over.
        metadata: JSON-able values to keep in the file.

    Returns:
        An actor that agrees with the modules within float32 rounding.

    Raises:
        ValueError: A module that the exported network has no layer for, or a network that does not end in Tanh or
            Hardtanh.
    """
    spec: list[list[str]] = []
    tensors: dict[str, np.ndarray] = {}
    for name, weights in _layers(modules):
        for key, array in weights.items():
            tensors[f"{len(spec)}.{key}"] = array
        spec.append([name])
    return Actor(FeedForward(tensors, spec), metadata)


def _layers(modules: Iterable[Any]) -> Iterable[tuple[str, dict[str, np.ndarray]]]:
    """Layer names of :class:`FeedForward` with their weights, from torch modules."""
    from torch import nn

    for module in modules:
        if isinstance(module, nn.Sequential):
            yield from _layers(module)
        elif isinstance(module, nn.Linear):
            weight = _array(module.weight)  # (outputs, inputs)
            bias = np.zeros(len(weight), dtype=np.float32) if module.bias is None else _array(module.bias)
            yield "linear", {"weight": weight, "bias": bias}
        elif isinstance(module, nn.LayerNorm):
            yield "layer_norm", _layer_norm_weights(module)
        elif isinstance(module, nn.ReLU):
            yield "relu", {}
        elif isinstance(module, nn.Tanh):
            yield "tanh", {}
        elif isinstance(module, nn.Hardtanh) and (module.min_val, module.max_val) == (-1.0, 1.0):
            yield "clip", {}
        elif isinstance(module, WithInput):
            yield "with_input", {}
        elif not isinstance(module, nn.Identity | nn.Flatten | nn.Dropout):
            raise ValueError(
                f"module {module} cannot be exported; Linear, LayerNorm, ReLU, Tanh, Hardtanh and Sequential can "
                "(Identity, Flatten and Dropout are passed over)"
            )


def _layer_norm_weights(module: Any) -> dict[str, np.ndarray]:
    if len(module.normalized_shape) != 1 or module.eps != 1e-5:
        raise ValueError(
            f"module {module} cannot be exported; LayerNorm over the last axis with eps=1e-05 can"
        )
    width = module.normalized_shape[0]
    weight = np.ones(width, dtype=np.float32) if module.weight is None else _array(module.weight)
    bias = np.zeros(width, dtype=np.float32) if module.bias is None else _array(module.bias)
    return {"weight": weight, "bias": bias}


def _array(tensor: Any) -> np.ndarray:
    # a copy: training goes on in the tensor
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float32)
