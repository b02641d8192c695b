"""Checking a user model on sessions that it has not learned from: likelihood, explained variance, calibration."""

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.user_model.clues import Clues, clues_of
from gems_gym_agents.user_model.flexible import corrected
from gems_gym_agents.user_model.logs import Log
from gems_gym_agents.user_model.misfit import Misfit
from gems_gym_agents.user_model.model import UserModel
from gems_gym_agents.user_model.predictions import predicted_clicks

_DIGITS = 4
_GROUPS = 10
"""Groups of values that clicks are counted in; items, positions and ages are counted one by one."""


def check_model(model: UserModel, log: Log, rng: np.random.Generator) -> Misfit:
    """What a model misses of logged clicks.

    Args:
        model: Says what clicks are likely.
        log: Sessions that it has not learned from, at least two, of slates that vary as much as those to be planned.
        rng: For the flexible model.

    Raises:
        ValueError: Fewer sessions, or nothing was clicked.
    """
    if len(log) < 2 or not log.chosen.clicks.any():
        raise ValueError(f"log must hold at least two sessions, and clicks in them; got {len(log)} sessions")
    clicks = log.chosen.clicks
    predicted = predicted_clicks(model, log)
    clues = clues_of(log, model.items, model.topics)
    rates = np.clip(clicks.mean(axis=(0, 1)), 1e-6, 1.0 - 1e-6)  # (slate_size,)
    by_position, by_model, by_flexible = (
        _log_likelihoods(one, clicks) for one in (rates, predicted, corrected(predicted, clicks, clues, rng))
    )
    known = by_flexible.mean() - by_position.mean()
    gains = (by_flexible - by_model) / max(known, 1e-9)
    variance = clicks.var()
    numbers = {
        "by_position": by_position.mean(),
        "by_model": by_model.mean(),
        "by_flexible": by_flexible.mean(),
        "missed": gains.mean(),
        "missed_error": gains.std() / len(gains) ** 0.5,
        "explained": 1.0 - ((clicks - predicted) ** 2).mean() / variance,
        "promised": 1.0 - (predicted * (1.0 - predicted)).mean() / variance,
    }
    off = {
        name: round(_off(clicks - predicted, groups) / float(clicks.mean()), _DIGITS)
        for name, groups in _groups(log, predicted, clues).items()
    }
    return Misfit(
        sessions=len(log), off=off, **{name: round(float(one), _DIGITS) for name, one in numbers.items()}
    )


def _log_likelihoods(chances: NDArray[np.float64], clicks: NDArray[np.int8]) -> NDArray[np.float64]:
    """Mean over the slots of each session, ``(num_sessions,)``."""
    found: NDArray[np.float64] = np.log(np.where(clicks, chances, 1.0 - chances)).mean(axis=(1, 2))
    return found


def _groups(log: Log, predicted: NDArray[np.float64], clues: Clues) -> dict[str, NDArray[np.int64]]:
    """The number of each slot's group, for each way to group them."""
    deciles = np.quantile(predicted, np.arange(1, _GROUPS) / _GROUPS)
    counts = {name: np.minimum(getattr(clues, name), _GROUPS) for name in clues._fields[2:-1]}
    ages = {name: getattr(clues, name) for name in ("topic_age", "item_age")}
    grouped = {
        "step": (clues.step.astype(np.int64) - 1) * _GROUPS // int(clues.step.max()),
        "position": clues.position,
        **(counts | ages),
        "predicted": np.searchsorted(deciles, predicted),
        "item": log.chosen.slates,
    }
    return {name: numbers.astype(np.int64) for name, numbers in grouped.items()}


def _off(errors: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """By how much the errors of groups differ from 0: root mean square over slots, without what chance does.

    Chance is what sessions differ by: errors of one session may go together.
    """
    count = int(groups.max()) + 1
    rows = np.arange(len(errors))[:, None, None] * count + groups
    sums = np.bincount(rows.ravel(), errors.ravel(), len(errors) * count).reshape(-1, count)
    sizes = np.maximum(np.bincount(groups.ravel(), minlength=count), 1)
    by_chance = (sums**2).sum(axis=0)  # variance of a sum over sessions, whose mean is hardly more than 0
    excess = (sums.sum(axis=0) ** 2 - by_chance) / sizes
    return float(max(excess.sum() / errors.size, 0.0) ** 0.5)
