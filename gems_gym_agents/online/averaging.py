"""The mean of policies that one training has passed through, as one more policy.

SAC's networks move around a good policy with every update rather than settle on it, and the mean of their weights is
closer to it than any of them: stochastic weight averaging (Izmailov et al., 2018, arXiv 1803.05407).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gems_gym.beliefs import GruBelief
from gems_gym.common.networks import FeedForward
from gems_gym.policies.actor import Actor


def mean_actor(actors: Sequence[Actor]) -> Actor:
    """The actor whose weights are the means of others'.

    Args:
        actors: of the same layers, at least one.

    Returns:
        An actor with the metadata of the last one, and ``mean_of``, their number.
    """
    last = actors[-1]
    tensors = _means([actor.network.to_tensors("actor") for actor in actors])
    network = FeedForward.from_tensors(tensors, "actor", last.network.spec)
    return Actor(network, {**last.metadata, "mean_of": len(actors)})


def mean_belief(beliefs: Sequence[GruBelief]) -> GruBelief:
    """The belief encoder whose weights are the means of others'.

    Args:
        beliefs: of the same catalogue and sizes, at least one.

    Returns:
        An encoder with the header of the last one, and ``mean_of``, their number.
    """
    last = beliefs[-1]
    tensors = _means([belief.tensors for belief in beliefs])
    return GruBelief(tensors, last.catalog_hash, {**last.header, "mean_of": len(beliefs)})


def _means(weights: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: np.stack([one[name] for one in weights]).mean(axis=0, dtype=np.float64).astype(np.float32)
        for name in weights[0]
    }
