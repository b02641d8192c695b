"""Learning a world model from logged sessions: groups of items, the network, and the states of new users."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster import vq
from scipy.special import expit
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from gems_gym_agents.user_model.logs import Log
from gems_gym_agents.world_model.model import WorldModel
from gems_gym_agents.world_model.network import RECENT, Batch, WorldNetwork, log_likelihood

_CLUSTERINGS = 10
_GROUPING_SESSIONS, _SESSIONS = 128, 64
"""Sessions of an update, while groups are chosen and later."""
KNOWN = 12
"""Clicks after which they say who the user is: the network learns from the slates behind these."""
_RATE = 0.02
_RATES = {"items": 0.01, "tired_query": 0.003, "membership": 0.1}
_PATTERN_RATE = 0.08
"""Learning rate of what finds patterns in recent clicks, once groups are chosen: its weights become large."""
_WARM_UP, _LAST_RATE = 20, 0.02
_CHOSEN_FROM, _TIRING_FROM = 0.2, 0.3
"""Shares of the updates after which memberships are learned too, and tiredness may change the query: before, what the
other weights get wrong would move them."""
_SHARP_FROM, _SHARP_UNTIL, _SHARPEST = 0.35, 0.7, 4.0
"""Shares of the updates between which membership in groups becomes sharper, and by what factor in the end."""
_PRIOR_LENGTH, _PRIOR_ROUNDS, _PRIOR_UPDATES, _PRIOR_RATE = 15, 3, 60, 0.15

Advance = Callable[[], Any]


def first_groups(embeddings: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.int64]:
    """A clustering of items by their embeddings: spectral, with as many groups as the spectrum suggests.

    The k dimensions before the largest gap in variance are kept, and k + 1 groups are made, which differ along k
    dimensions.

    Args:
        embeddings: ``(num_items, size)``.
        rng: Draws the first centres.

    Returns:
        The group of each item, int64 ``(num_items,)``; none is empty.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    left, lengths, _ = np.linalg.svd(centred, full_matrices=False)
    kept = 1 + int(np.argmax(-np.diff(lengths**2))) if len(lengths) > 1 else 1
    points = left[:, :kept] * lengths[:kept]
    found = [vq.kmeans2(points, kept + 1, iter=50, minit="++", rng=rng) for _ in range(_CLUSTERINGS)]
    _, labels = min(found, key=lambda one: float(((points - one[0][one[1]]) ** 2).sum()))
    groups: NDArray[np.int64] = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    return groups


def fit_network(
    network: WorldNetwork,
    log: Log,
    grouping_updates: int,
    updates: int,
    rng: np.random.Generator,
    advance: Advance,
) -> Tensor:
    """Learn all weights; first groups are chosen too, as memberships that become sharper, then they are fixed.

    Args:
        network: Changed in place.
        log: Sessions.
        grouping_updates: Gradient updates in which groups are chosen.
        updates: Gradient updates after that.
        rng: Draws the sessions of each update.
        advance: Called after each update.

    Returns:
        Membership of items in groups, 0 or 1, ``(num_items, num_groups)``.
    """

    def chosen_in(part: float) -> Tensor:
        share = min(max((part - _SHARP_FROM) / (_SHARP_UNTIL - _SHARP_FROM), 0.0), 1.0)
        logits = network.membership if part >= _CHOSEN_FROM else network.membership.detach()
        return torch.softmax((1.0 + (_SHARPEST - 1.0) * share) * logits, dim=1)

    _descend(
        network, log, grouping_updates, _GROUPING_SESSIONS, _RATES, _TIRING_FROM, chosen_in, rng, advance
    )
    num_groups = network.membership.shape[1]
    groups = functional.one_hot(network.membership.detach().argmax(dim=1), num_groups).float()
    rates = _RATES | dict.fromkeys(("by_click", "by_age", "detection", "span"), _PATTERN_RATE)
    _descend(network, log, updates, _SESSIONS, rates, 0.0, lambda _: groups, rng, advance)
    return groups


def _descend(
    network: WorldNetwork,
    log: Log,
    updates: int,
    sessions: int,
    rates: dict[str, float],
    tiring_from: float,
    membership: Callable[[float], Tensor],
    rng: np.random.Generator,
    advance: Advance,
) -> None:
    """Adam with a learning rate that falls along a cosine, on sessions drawn at random."""
    groups = [
        {"params": [one], "full_rate": rates.get(name, _RATE)} for name, one in network.named_parameters()
    ]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.98))
    for update in range(updates):
        part = update / updates
        factor = min(1.0, (update + 1) / _WARM_UP) * (0.5 * (1.0 + math.cos(math.pi * part)) + _LAST_RATE)
        for group in optimizer.param_groups:
            group["lr"] = factor * group["full_rate"]
        batch = Batch.of(log[rng.integers(len(log), size=sessions)], len(network.items))
        chances = network(batch, membership(part), tiring=part >= tiring_from)
        known = (batch.num_clicks >= KNOWN).float()
        losses = -log_likelihood(chances, batch).mean(dim=2)
        loss = (losses * known).sum() / known.sum().clamp(min=1.0)
        optimizer.zero_grad()
        loss.backward()
        clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        advance()


def held_out_likelihood(network: WorldNetwork, log: Log, membership: Tensor) -> float:
    """Mean log-likelihood of a slot, where the clicks before say who the user is."""
    batch = Batch.of(log, len(network.items))
    with torch.no_grad():
        found = log_likelihood(network(batch, membership), batch).mean(dim=2)
    return float(found[batch.num_clicks >= KNOWN].mean())


def first_states(
    network: WorldNetwork, log: Log, membership: Tensor, rng: np.random.Generator
) -> NDArray[np.float64]:
    """States of users at the beginning of their sessions, as draws from what the model takes users to be.

    A normal distribution of states is learned by expectation maximisation. For each session a state is drawn from its
    posterior by randomise-then-optimise: the most likely state, given its clicks and a centre of the distribution that
    is itself drawn from it.

    Args:
        network: Not changed.
        log: Sessions, one for each state.
        membership: Membership of items in groups.
        rng: Draws.

    Returns:
        float64 ``(num_sessions, size)``.
    """
    batch = Batch.of(
        Log(log.slates[:, : _PRIOR_LENGTH + 1], log.clicks[:, : _PRIOR_LENGTH + 1]), len(network.items)
    )
    with torch.no_grad():
        inputs = network.with_one() @ network.inputs
    mean, covariance = inputs.mean(dim=0), 0.5 * inputs.T.cov()
    size = len(mean)
    states = inputs[:1]
    network.requires_grad_(False)
    offset = torch.zeros(len(log), size)
    for round_ in range(_PRIOR_ROUNDS):
        root = torch.linalg.cholesky(covariance + 1e-3 * covariance.trace() / size * torch.eye(size))
        centre = torch.from_numpy(rng.standard_normal((len(log), size), dtype=np.float32))
        if round_ == 0:
            offset = centre.clone()
        else:
            offset = torch.linalg.solve_triangular(root, (states - mean).T, upper=False).T.clone()
        offset.requires_grad_(True)
        optimizer = torch.optim.Adam([offset], lr=_PRIOR_RATE)
        for _ in range(_PRIOR_UPDATES):
            chances = network(batch, membership, start=mean + offset @ root.T)
            loss = 0.5 * ((offset - centre) ** 2).sum() - log_likelihood(chances, batch).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        states = (mean + offset @ root.T).detach()
        mean, covariance = states.mean(dim=0), states.T.cov()
    network.requires_grad_(True)
    found: NDArray[np.float64] = states.double().numpy()
    return found


def world_model(
    network: WorldNetwork, membership: Tensor, atoms: NDArray[np.float64], metadata: dict[str, Any]
) -> WorldModel:
    """What a network has learned, as arrays."""

    def array(tensor: Tensor) -> NDArray[np.float64]:
        found: NDArray[np.float64] = tensor.detach().double().numpy()
        return found

    items = array(network.with_one())
    patterns = array(network.by_click)[:, None] * np.exp(array(network.by_age))  # (RECENT, AGES, DETECTORS)
    assert len(patterns) == RECENT
    return WorldModel(
        items=items[:, :-1],
        groups=membership.argmax(dim=1).numpy(),
        inputs=items @ array(network.inputs),
        gates=expit(items @ array(network.gate)),
        query=array(network.query),
        tired_query=array(network.tired_query),
        examination=expit(array(network.examination)),
        crowding=array(network.crowding_by_count()),
        patterns=patterns,
        detection=array(network.detection),
        span=array(functional.softplus(network.span)),
        atoms=atoms,
        metadata=metadata,
    )
