"""A world fitted to a log: a recurrent click model and the inclination to leave, learned from the earlier sessions."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.beliefs import GruBelief
from gems_gym.common.checks import Count, Seed, Share, checked_arguments
from gems_gym.common.files import write_json
from gems_gym.common.networks import FeedForward
from gems_gym.fitted_world import LEAVING, TOWER, FittedWorld, leaving_inputs
from gems_gym.logs.fidelity import FidelityReport, measure_fidelity
from gems_gym.logs.fitting import belief_settings, fitting
from gems_gym.logs.history import beliefs_before
from gems_gym.logs.sessions import LoggedSessions
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import Upkeep

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset

WORLD_FILE, REPORT_FILE = "world.safetensors", "world.json"
"""The files' names in their folder; the report appears last."""

STATE_SIZE = 32
"""Numbers in a user's state."""

_MOST_OPENINGS = 10_000
"""Slates that sessions open with, at most: those of the latest ones."""

_RIDGE, _MOST_STEPS, _TOLERANCE = 1.0, 50, 1e-6
"""Of the regression that tells how likely users leave."""


@checked_arguments
def fit_world(
    dataset: Dataset,
    out: Path,
    *,
    held_out: Share = 0.2,
    batches: Count | None = None,
    seed: Seed = 0,
    overwrite: bool = False,
    progress: bool = True,
) -> FidelityReport:
    """Fit a world to the earlier sessions of a dataset, and measure on the later ones how near it comes to them.

    An interrupted call resumes; the files appear in their folder when both are finished.

    Args:
        dataset: The dataset, imported from a log or recorded in a world, a part of it that Minari made, or the id of a
            local one.
        out: Folder for ``world.safetensors``, which ``gymnasium.make("GemsSlate-fitted-v0", world=FILE)`` takes, and
            the report, ``world.json``.
        held_out: Share of the sessions, the latest, that it is measured on.
        batches: Gradient updates; None: as many as the recipe of the GRU belief says.
        seed: Of everything random.
        overwrite: Start anew, whatever an interrupted call left.
        progress: Whether to show progress on stderr.

    Raises:
        ValueError: There is no such dataset or it can't be read, it has fewer than two sessions, one item, no session
            of more than one slate, too many items, or no click in the earlier or the later sessions.
        ImportError: Minari or torch is not installed; the message names the extra.
    """
    chosen = {"held_out": held_out, "batches": batches, "seed": seed}
    reading = fitting(dataset, out / REPORT_FILE, chosen, overwrite=overwrite, progress=progress)
    with reading as (dataset_id, earlier, later, work):
        if not later.clicks.any():
            raise ValueError(f"the {len(later)} later sessions of dataset {dataset_id!r} hold no click")
        training = Unfinished(work.file("training"), work.settings)
        world = make_world(
            earlier, batches=batches, seed=seed, progress=progress, upkeep=Upkeep(unfinished=training)
        )
        header = {"log": {"dataset": dataset_id, "sessions": len(earlier)}, "options": work.settings}
        sha256 = replace(world, header=header).save(work.file(WORLD_FILE))
        report = measure_fidelity(world, earlier, later, dataset_id=dataset_id, sha256=sha256, seed=seed)
        write_json(work.file(REPORT_FILE), report.as_dict())
        for name in (WORLD_FILE, REPORT_FILE):
            os.replace(work.file(name), out / name)
        return report


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

    from gems_gym.pretraining.belief import train_model
    from gems_gym.pretraining.gru import GruBeliefModel

    first_slates = openings(sessions)  # before any work, as there may be none
    settings = belief_settings(sessions, STATE_SIZE)
    if batches is not None:
        settings = replace(settings, batches=batches)
    model, _ = train_model(
        GruBeliefModel, _with_beginnings(sessions.session_log()), sessions.num_items, settings,
        seed=seed, device="cpu", progress=progress, upkeep=upkeep,
    )  # fmt: skip
    with torch.no_grad():
        features = model.head.item_features(model.item_embeddings).numpy()
        propensities = torch.sigmoid(model.head.examination).numpy()
        tower = {
            name: np.array(tensor.numpy()) for name, tensor in model.head.belief_tower.state_dict().items()
        }
    world = FittedWorld(
        belief=GruBelief(model.tensors(), sessions.catalog_hash),
        tower=FeedForward(tower, TOWER),
        leaving=None,
        items=np.concatenate([features, np.ones_like(features[:, :1])], axis=1),
        propensities=propensities,
        openings=first_slates,
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
        raise ValueError(
            "no session has more than one slate: there is nothing to be simulated beyond a slate"
        )
    usual = [np.bincount(column[column >= 0], minlength=1).argmax() for column in sessions.slates.T]
    slates = sessions.slates[first]
    return np.where(slates >= 0, slates, np.array(usual, np.int32))


def fit_leaving(world: FittedWorld, sessions: LoggedSessions) -> FeedForward | None:
    """A logistic regression of who left after each slate, by Newton's method; None if nobody did."""
    if not sessions.left.any():
        return None
    before = beliefs_before(world.belief, sessions, world.start)
    after = world.belief.update(before, sessions.slates, sessions.clicks)
    clicks = sessions.clicks.sum(axis=1, dtype=np.float32)
    known = leaving_inputs(after, clicks, sessions.numbers).astype(np.float64)
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


def _with_beginnings(log: SessionLog) -> SessionLog:
    """The same with a slate that shows nothing before each session, so that clicks on the first slate are learned."""
    pad = ((0, 0), (1, 0), (0, 0))
    return replace(log, slates=np.pad(log.slates, pad, constant_values=-1), clicks=np.pad(log.clicks, pad))
