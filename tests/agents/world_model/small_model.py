"""A world model of the small world, fitted in seconds, for tests."""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from gems_gym.common.threads import one_thread
from gems_gym_agents.world_model.fitting import first_states, fit_network, world_model
from gems_gym_agents.world_model.model import WorldModel
from gems_gym_agents.world_model.network import WorldNetwork
from tests.agents.user_model.small_world import log, truth


@cache
def first_labels() -> NDArray[np.int64]:
    """The true topics, a fifth of them wrong: where the groups start."""
    rng = np.random.default_rng(0)
    wrong = rng.random(len(truth()[1])) < 0.2
    labels: NDArray[np.int64] = np.where(wrong, rng.integers(5, size=len(wrong)), truth()[1])
    return labels


@cache
@one_thread()
def fitted() -> tuple[WorldNetwork, torch.Tensor]:
    """The network and its groups; embeddings start at the true items, turned."""
    rng = np.random.default_rng(0)
    turned = truth()[0] @ np.linalg.qr(rng.standard_normal((10, 10)))[0]
    embeddings = (turned - turned.mean(axis=0)) / turned.std()
    network = WorldNetwork(embeddings, first_labels(), slate_size=10)
    membership = fit_network(network, log()[256:], 150, 60, rng, lambda: None)
    return network, membership


@cache
@one_thread()
def small_model() -> WorldModel:
    """What it has learned."""
    network, membership = fitted()
    atoms = first_states(network, log()[:256], membership, np.random.default_rng(1))
    return world_model(network, membership, atoms, {"session_length": 30})
