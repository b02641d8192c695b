"""Policy networks out of torch, as :class:`gems_gym.policies.actor.Actor`, which runs on NumPy alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from gems_gym.common.networks import FeedForward
from gems_gym.policies.actor import Actor


def actor_from_modules(modules: Iterable[Any], metadata: dict[str, Any] | None = None) -> Actor:
    """Copies a policy network out of torch.

    Args:
        modules: ``torch.nn`` modules in the order they are applied: Linear, ReLU, LayerNorm (over the last axis), Tanh,
            and Sequential of these. Identity, Flatten and Dropout (which do nothing to rows at inference) are passed
            over.
        metadata: JSON-able values to keep in the file.

    Returns:
        An actor that agrees with the modules within float32 rounding.

    Raises:
        ValueError: a module that the exported network has no layer for, or a network that does not end in Tanh.
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
        elif not isinstance(module, nn.Identity | nn.Flatten | nn.Dropout):
            raise ValueError(
                f"module {module} cannot be exported; Linear, LayerNorm, ReLU, Tanh and Sequential can "
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
