"""A world fitted to a log: a recurrent click model and the inclination to leave, learned from the earlier sessions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.networks import FeedForward
from gems_gym.fitted_world import LEAVING, TOWER, FittedWorld, leaving_features
from gems_gym.logs.history import beliefs_before
from gems_gym.logs.sessions import LoggedSessions
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import Upkeep

STATE_SIZE = 32
"""Numbers in a user's state."""

_MOST_OPENINGS = 10_000
"""Slates that sessions open with, at most: those of the latest ones."""

_RIDGE, _MOST_STEPS, _TOLERANCE = 1.0, 50, 1e-6
"""Of the regression that tells how likely users leave."""


def make_world(
    sessions: LoggedSessions, *, batches: int | None, seed: int, progress: bool, upkeep: Upkeep | None = None
) -> FittedWorld:
    """Fit a world to sessions.

    Args:
        sessions: What is learned from; some of them are kept to choose among weights.
        batches: Gradient updates; None: as many as the recipe of the GRU belief says.
        seed: Of everything random.
        progress: Whether to show a progress bar on stderr.
        upkeep: Where an interrupted training is kept; None: nowhere.

    Raises:
        ValueError: No session has more than one slate, there are too few, or too many items.
    """
    import torch

    from gems_gym.logs.fitting import belief_settings
    from gems_gym.pretraining.belief import train_model
    from gems_gym.pretraining.gru import GruBeliefModel

    settings = replace(belief_settings(sessions), size=STATE_SIZE)
    if batches is not None:
        settings = replace(settings, batches=batches)
    model, _ = train_model(
        GruBeliefModel, _with_beginnings(sessions.session_log()), sessions.num_items, settings,
        seed=seed, device="cpu", progress=progress, upkeep=upkeep,
    )  # fmt: skip
    with torch.no_grad():
        features = model.head.item_features(model.item_embeddings).numpy()
        propensities = torch.sigmoid(model.head.examination).numpy()
        tower = {name: np.array(tensor.numpy()) for name, tensor in model.head.belief_tower.state_dict().items()}
    world = FittedWorld(
        belief=model.encoder(model.tensors(), sessions.catalog_hash),
        tower=FeedForward(tower, TOWER),
        leaving=None,
        items=np.concatenate([features, np.ones_like(features[:, :1])], axis=1),
        propensities=propensities,
        openings=openings(sessions),
    )
    return replace(world, leaving=fit_leaving(world, sessions))


def openings(sessions: LoggedSessions) -> NDArray[np.int32]:
    """The first slates of the latest sessions, int32 ``(n, slate_size)``.

    Sessions of one slate have no step to take, so they open none. A slot that nothing is known of shows what this
    position showed most often.

    Raises:
        ValueError: All sessions are of one slate.
    """
    first = sessions.starts[:-1][sessions.lengths > 1][-_MOST_OPENINGS:]
    if not len(first):
        raise ValueError("no session has more than one slate: there is nothing to be simulated beyond a slate")
    usual = [np.bincount(column[column >= 0], minlength=1).argmax() for column in sessions.slates.T]
    slates = sessions.slates[first]
    return np.where(slates >= 0, slates, np.array(usual, np.int32))


def fit_leaving(world: FittedWorld, sessions: LoggedSessions) -> FeedForward | None:
    """A logistic regression of who left after each slate, by Newton's method; None if nobody did."""
    if not sessions.left.any():
        return None
    before = beliefs_before(world.belief, sessions, world.start)
    known = leaving_known(world, sessions, before).astype(np.float64)
    left = np.zeros(len(known))
    left[sessions.starts[1:] - 1] = sessions.left
    weights = np.zeros(known.shape[1])
    for _ in range(_MOST_STEPS):
        likely = 1 / (1 + np.exp(-known @ weights))
        curvature = (known * (likely * (1 - likely))[:, None]).T @ known + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(curvature, known.T @ (left - likely) - _RIDGE * weights)
        weights += step
        if np.abs(step).max() < _TOLERANCE:
            break
    return FeedForward({"0.weight": weights[None], "0.bias": np.zeros(1)}, LEAVING)


def leaving_known(
    world: FittedWorld, sessions: LoggedSessions, before: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What is known after each slate of whether its user leaves, ``(num_slates, inputs of world.leaving)``.

    Args:
        world: Its ``leaving`` is not used.
        sessions: What was shown and clicked.
        before: The states before each slate.
    """
    after = world.belief.update(before, sessions.slates, sessions.clicks)
    number = np.arange(1, len(after) + 1) - np.repeat(sessions.starts[:-1], sessions.lengths)
    return leaving_features(after, sessions.clicks.sum(axis=1, dtype=np.float32), number)


def _with_beginnings(log: SessionLog) -> SessionLog:
    """The same with a slate that shows nothing before each session, so that clicks on the first slate are learned."""
    pad = ((0, 0), (1, 0), (0, 0))
    return replace(
        log, slates=np.pad(log.slates, pad, constant_values=-1), clicks=np.pad(log.clicks, pad)
    )
