"""One pass over logged sessions: how likely the clicks are under the model, and what would make them likelier."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import copy_into
from gems_gym.common.compilation import compiled_with, inlined
from gems_gym_agents.user_model.dynamics import (
    THRESHOLD,
    Dynamics,
    advance_boredom,
    drift,
    empty_sessions,
    forget_session,
    log_clicks,
    penalty_of,
)

_DAMPING = 300.0


class Gradients(NamedTuple):
    """Sums over clicks and missed clicks, added to by a pass."""

    totals: NDArray[np.float64]  # (4,): log-likelihood, slots counted, and for the log of the slope as below
    # (2, slate_size): gradient and curvature for the logs of the propensities
    propensities: NDArray[np.float64]


def no_gradients(slate_size: int) -> Gradients:
    """Sums of nothing."""
    return Gradients(np.zeros(4), np.zeros((2, slate_size)))


@inlined
def _compare(
    items: NDArray[np.float64],
    curvature: NDArray[np.float64],
    seen: NDArray[np.float64],
    item: int,
    clicked: int,
    propensity: float,
    slope: float,
    doubt: float,
    rate: float,
    sums: Gradients,
    s: int,
) -> None:
    """Compare what a user did at position ``s`` with what the model expects, and move the item's vector."""
    score = 0.0
    for d in range(seen.shape[0]):
        score += items[item, d] * seen[d]
    logit = min(max((score - THRESHOLD) * slope, -30.0), 30.0)
    relevance = 1.0 / (1.0 + np.exp(-logit))
    factor = (1.0 - 2.0 * doubt) * propensity
    p = min(doubt * propensity + factor * relevance, 0.9999)
    if clicked:
        sums.totals[0] += np.log(p)
        by_p = 1.0 / p
    else:
        sums.totals[0] += np.log(1.0 - p)
        by_p = -1.0 / (1.0 - p)
    p_by_logit = factor * relevance * (1.0 - relevance)
    information = 1.0 / (p * (1.0 - p))  # Fisher's, on p
    by_logit = by_p * p_by_logit
    logit_information = information * p_by_logit * p_by_logit
    sums.totals[1] += 1.0
    sums.totals[2] += by_logit * logit
    sums.totals[3] += logit_information * logit * logit
    sums.propensities[0, s] += by_p * p
    sums.propensities[1, s] += information * p * p
    if rate > 0.0:
        by_score = slope * min(max(by_logit, -3.0), 3.0)
        score_information = slope * slope * logit_information
        for d in range(seen.shape[0]):
            curvature[item, d] += score_information * seen[d] * seen[d]
            items[item, d] += rate * by_score * seen[d] / (curvature[item, d] + _DAMPING)


# fastmath: sums over the numbers of a vector may be taken in the order that vector instructions like best
@compiled_with(error_model="numpy", nogil=True, fastmath={"reassoc", "contract", "nsz", "arcp"})
def pass_over(
    items: NDArray[np.float64],
    curvature: NDArray[np.float64],
    dynamics: Dynamics,
    start: NDArray[np.float64],
    slates: NDArray[np.signedinteger],
    clicks: NDArray[np.int8],
    burn_in: int,
    doubt: float,
    rate: float,
    sums: Gradients,
) -> None:
    """Follow each session's user by the model's own drift, and compare clicks with what the model expects.

    After some clicks a user is known whatever the start: the clicks themselves are where the user has drifted to. From
    then on each slot counts. Users are held fixed when items are moved.

    Args:
        items: ``(num_items, size)``; moved towards what makes the clicks likelier if ``rate`` > 0.
        curvature: Same shape; what is known of each number of each item, added to if ``rate`` > 0.
        dynamics: All other numbers of the model.
        start: The user that every session starts from, ``(size,)``.
        slates: ``(num_sessions, length + 1, slate_size)``, the first slate at index 0.
        clicks: Same shape.
        burn_in: Clicks after which a session's slots count.
        doubt: Relevance is taken to be in [doubt, 1 − doubt], so that no single click decides anything.
        rate: Size of a step of the items; 0 for none.
        sums: Added to.
    """
    size, slate_size = items.shape[1], slates.shape[2]
    user = np.empty(size)
    seen = np.empty(size)  # the user with boring topics at zero
    slate = np.empty(slate_size, np.int64)
    clicked = np.empty(slate_size, np.int64)
    counts = np.zeros(dynamics.num_topics, np.int64)
    sessions = empty_sessions(dynamics, 1)
    for n in range(slates.shape[0]):
        copy_into(user, start)
        forget_session(dynamics, sessions, 0)
        total = 0
        for t in range(slates.shape[1]):
            for s in range(slate_size):
                slate[s] = slates[n, t, s]
                clicked[s] = clicks[n, t, s]
            if t > 0:
                advance_boredom(dynamics, sessions, 0, counts)
            if t > 0 and total >= burn_in:
                for d in range(size):
                    seen[d] = 0.0 if sessions.bored[0, d // dynamics.topic_size] else user[d]
                penalty = penalty_of(dynamics, slate, counts)
                for s in range(slate_size):
                    propensity = dynamics.propensities[s] / penalty
                    _compare(
                        items,
                        curvature,
                        seen,
                        slate[s],
                        clicked[s],
                        propensity,
                        dynamics.slope,
                        doubt,
                        rate,
                        sums,
                        s,
                    )
            log_clicks(dynamics, sessions, 0, t, slate, clicked)
            if t > 0:
                drift(dynamics.omega, dynamics.topic_size, user, items, slate, clicked)
                total += clicked.sum()
