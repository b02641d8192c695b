"""How good predicted click probabilities are: log-loss and AUC, against the base rate and the simulator's truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


def log_loss(probabilities: NDArray[np.floating], clicks: NDArray[np.integer]) -> float:
    """Mean negative log-likelihood of the clicks, nats a position; probabilities are kept 1e-7 away from 0 and 1."""
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.where(clicks > 0, np.log(clipped), np.log1p(-clipped)).mean())


def auc(scores: NDArray[np.floating], clicks: NDArray[np.integer]) -> float | None:
    """Probability that a clicked position has a higher score than one without a click; equal scores count half.

    The Mann-Whitney form of the area under the ROC curve. None where all or none was clicked.
    """
    clicked = clicks.ravel() > 0
    positives = int(clicked.sum())
    negatives = clicked.size - positives
    if positives == 0 or negatives == 0:
        return None
    rank_sum = float(rankdata(scores.ravel())[clicked].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def click_report(
    predicted: NDArray[np.floating],
    clicks: NDArray[np.integer],
    truth: NDArray[np.floating],
    policy: NDArray[np.integer],
    policy_names: Sequence[str],
) -> dict[str, dict[str, float | int | None]]:
    """Measures predictions, over all sessions and for each logging policy.

    Args:
        predicted: ``(num_sessions, ...)`` predicted click probabilities.
        clicks: same shape, 0 or 1.
        truth: same shape, the simulator's click probabilities: what a perfect model would predict.
        policy: ``(num_sessions,)`` index into ``policy_names``.
        policy_names: who showed the slates.

    Returns:
        For "all" and every policy with sessions here: ``sessions``, ``log_loss`` and ``auc`` of the prediction,
        ``log_loss_truth`` and ``auc_truth`` of the simulator's own probabilities, and ``log_loss_base``, that of the
        group's own click rate predicted everywhere (its AUC is one half).
    """
    groups = {"all": np.ones(len(policy), dtype=np.bool_)}
    groups |= {name: policy == index for index, name in enumerate(policy_names)}
    report: dict[str, dict[str, float | int | None]] = {}
    for name, chosen in groups.items():
        if chosen.any():
            seen = clicks[chosen]
            report[name] = {
                "sessions": int(chosen.sum()),
                "log_loss": log_loss(predicted[chosen], seen),
                "log_loss_base": log_loss(np.full(seen.shape, seen.mean()), seen),
                "log_loss_truth": log_loss(truth[chosen], seen),
                "auc": auc(predicted[chosen], seen),
                "auc_truth": auc(truth[chosen], seen),
            }
    return report
