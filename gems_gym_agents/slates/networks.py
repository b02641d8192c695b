"""Networks from beliefs to vectors and numbers, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor, nn

from gems_gym.pretraining.click_prediction import draw_linear_weights
from gems_gym_agents.torch_state import array_of


def perceptron(inputs: int, hidden_units: Sequence[int], outputs: int) -> nn.Sequential:
    """Layers of normalised rectified units, and a linear one behind them."""
    layers: list[nn.Module] = []
    for units in hidden_units:
        layers += [nn.Linear(inputs, units), nn.LayerNorm(units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


@torch.no_grad()
def initialise(module: nn.Module, seed: int) -> None:
    """Draw the weights of all linear layers, and of item embeddings (a parameter ``items``), from one seed."""
    generator = torch.Generator().manual_seed(seed)
    draw_linear_weights(module, generator)
    for name, parameter in module.named_parameters():
        if name.endswith("items"):
            parameter.normal_(std=parameter.shape[1] ** -0.5, generator=generator)


def scores_of(vectors: Tensor, items: Tensor, bias: Tensor, slates: Tensor | None = None) -> Tensor:
    """Scores of items: dot products with what a network made of a belief, and a bias.

    Args:
        vectors: ``(batch, embedding_size)``.
        items: ``(num_items, embedding_size)``.
        bias: ``(num_items,)``.
        slates: Whose items are scored, int64 ``(batch, slate_size)``; every item if None.

    Returns:
        ``(batch, slate_size)`` or ``(batch, num_items)``.
    """
    if slates is None:
        return vectors @ items.T + bias
    return torch.einsum("be,bse->bs", vectors, items[slates]) + bias[slates]


def numpy_of(**tensors: Tensor) -> dict[str, NDArray[np.float32]]:
    """Tensors as arrays, by name."""
    return {name: array_of(tensor) for name, tensor in tensors.items()}


def belief_size(env: VectorEnv[Any, Any, Any]) -> int:
    """Numbers in a belief."""
    (size,) = env.single_observation_space.shape or (0,)
    return int(size)
