"""Doubly robust estimators: a model's prediction, and weights for what it gets wrong.

Arrays are ``(rows, C)``: columns are the steps of a session, or the slots of an impression. For sessions
``expected_here`` is what the model expects of what was logged in this step, from its reward to the last one's,
``expected_target`` what it expects of the target policy from here on, given what was logged before. The estimate is
unbiased whatever the model is, if it has not learned from these rows.
"""

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.ope.terms import LARGEST_WEIGHT, Terms, products

Array = NDArray[np.float64]


def doubly_robust(
    rewards: Array,
    ratios: Array,
    expected_here: Array,
    expected_target: Array,
    clip: float = LARGEST_WEIGHT,
) -> Terms:
    """DR of sessions.

    The recursive DR estimator of Jiang and Li, "Doubly Robust Off-policy Value Evaluation for Reinforcement Learning",
    ICML 2016 (arXiv 1511.03722), unrolled.
    """
    weights, before = _weights(ratios, clip)
    terms = weights * (rewards - expected_here) + before * expected_target
    return Terms(terms.sum(axis=1, keepdims=True), None, weights)


def cascade_doubly_robust(
    clicks: Array,
    ratios: Array,
    expected_here: Array,
    expected_target: Array,
    clip: float = LARGEST_WEIGHT,
) -> Terms:
    """Cascade DR of impressions, whose clicks depend on the items above them and their own.

    Section 3.1 of Kiyohara et al., "Doubly Robust Off-Policy Evaluation for Ranking Policies under the Cascade Behavior
    Model", WSDM 2022 (arXiv 2202.01562), for a model that expects of a slot what depends on its item alone: what is
    expected of the slots below then cancels out, whatever the policies show there.

    Args:
        clicks: ``(impressions, slate_size)``.
        ratios: Target over logging probability of each item given those above it.
        expected_here: Clicks that the model expects of the item that was logged in each slot.
        expected_target: Likewise of the item that the target shows there.
        clip: Weights are cut here.
    """
    weights = products(ratios, clip)
    terms = weights * (clicks - expected_here) + expected_target
    return Terms(terms.sum(axis=1, keepdims=True), None, weights)


def weighted_doubly_robust(
    rewards: Array,
    ratios: Array,
    expected_here: Array,
    expected_target: Array,
    clip: float = LARGEST_WEIGHT,
) -> Terms:
    """DR with the weights of each step divided by their mean: slightly biased, of less variance.

    The WDR estimator of Thomas and Brunskill, "Data-Efficient Off-Policy Policy Evaluation for Reinforcement
    Learning", ICML 2016 (arXiv 1604.00923).
    """
    weights, before = _weights(ratios, clip)
    numerators = np.concatenate([weights * (rewards - expected_here), before * expected_target], axis=1)
    return Terms(numerators, np.concatenate([weights, before], axis=1), weights)


def _weights(ratios: Array, clip: float) -> tuple[Array, Array]:
    """Those up to each column, and those up to the one before."""
    weights = products(ratios, clip)
    return weights, np.concatenate([np.ones_like(weights[:, :1]), weights[:, :-1]], axis=1)
