"""How policies get out of d3rlpy: its networks for observations as they are, and whether both act the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXPORT_TOLERANCE = 1e-5
"""Largest accepted difference between an action of the exported policy and of d3rlpy's, where observations are not
scaled; where they are, rounding grows with what is taken off."""


def mean_actions(algorithm: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of a d3rlpy algorithm's Gaussian policy, where its ``predict`` draws actions and chooses among them."""
    import torch

    with torch.no_grad():
        policy = algorithm.impl.policy(seen_by_networks(algorithm, observations))
    actions: NDArray[np.float32] = policy.squashed_mu.cpu().numpy()
    return actions


def seen_by_networks(algorithm: Any, observations: NDArray[np.float32]) -> Any:
    """Observations as a d3rlpy algorithm's networks see them: a tensor, scaled if there is a scaler."""
    import torch

    tensor = torch.as_tensor(observations, device=algorithm.impl.device)
    scaler = algorithm.observation_scaler
    return tensor if scaler is None else scaler.transform(tensor)


def hidden_layers(algorithm: Any, network: Any, factors: Sequence[float] = ()) -> list[Any]:
    """The hidden layers of one of d3rlpy's networks, for observations as they are instead of scaled ones.

    Args:
        algorithm: Whose network it is.
        network: It has an encoder, of observations and of what may follow them.
        factors: Factors of the numbers that follow the observations; 1 if not given.
    """
    from gems_gym_agents.actors import scaled_inputs

    first, *others = network._encoder._layers
    factor, offset = scaling(algorithm)
    behind = first.in_features - len(factor)
    return [
        scaled_inputs(first, [*factor, *(factors or [1.0] * behind)], [*offset, *[0.0] * behind]),
        *others,
    ]


def scaling(algorithm: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factors and offsets, (observation_size,) each: how a d3rlpy algorithm's networks see observations."""
    size, scaler = algorithm.observation_shape[0], algorithm.observation_scaler
    if scaler is None:
        return np.ones(size), np.zeros(size)
    offset = scaler.transform_numpy(np.zeros(size))
    return scaler.transform_numpy(np.ones(size)) - offset, offset


def probe_noise(num_rows: int, size: int) -> NDArray[np.float32]:
    """Standard normal numbers, always the same, on which policies that draw are watched and compared."""
    return np.random.default_rng(0).standard_normal((num_rows, size), dtype=np.float32)


def check_same(exported: NDArray[Any], expected: NDArray[Any], algorithm: Any) -> None:
    """Raise unless two arrays agree within 1e-5, or what rounding makes of it where observations are scaled.

    Args:
        exported: What the exported policy computes.
        expected: What d3rlpy does.
        algorithm: d3rlpy's, to be named.

    Raises:
        RuntimeError: They do not.
    """
    gap = float(np.abs(exported - expected).max()) if exported.shape == expected.shape else np.inf
    tolerance = EXPORT_TOLERANCE * max(1.0, float(np.abs(scaling(algorithm)[1]).max()))
    if not gap <= tolerance:
        raise RuntimeError(
            f"the exported policy differs from d3rlpy's by {gap:.3g}: {type(algorithm).__name__} has other networks "
            "than were assumed"
        )
