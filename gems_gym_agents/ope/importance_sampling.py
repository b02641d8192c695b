"""Estimators that weight what was logged by how much more likely the target policy shows it.

Those of an impression take clicks ``(impressions, slate_size)`` and ratios of the same shape, target over logging
probability of each item (:func:`~gems_gym_agents.ope.terms.importance_ratios`): given the items above it, but for
:func:`independent_ips`, whose ratios are of marginal probabilities. Those of a session take rewards and ratios of whole
slates, ``(sessions, steps)``; behind a session's end rewards are 0 and ratios 1. Weights are cut at ``clip``, which
makes estimates too low, and without which IPS and the per-decision estimators are unbiased where the logging policy
could show all that the target could.
"""

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.ope.terms import LARGEST_WEIGHT, Terms, products

Array = NDArray[np.float64]


def ips(clicks: Array, ratios: Array, clip: float = LARGEST_WEIGHT) -> Terms:
    """Inverse propensity scoring, the weight of a slate being the product over its slots; no assumption on clicks.

    Equation 1 of McInerney et al., "Counterfactual Evaluation of Slate Recommendations with Sequential Reward
    Interactions", KDD 2020 (arXiv 2007.12986); the list estimator of Li et al., "Offline Evaluation of Ranking Policies
    with Click Models", KDD 2018 (arXiv 1804.10488).
    """
    weights = products(ratios, clip)[:, -1:]
    return Terms(weights * clicks.sum(axis=1, keepdims=True), None, weights)


def self_normalised_ips(clicks: Array, ratios: Array, clip: float = LARGEST_WEIGHT) -> Terms:
    """IPS divided by the mean weight: slightly biased, of less variance, and never above the largest reward.

    The estimator of Swaminathan and Joachims, "The Self-Normalized Estimator for Counterfactual Learning", NeurIPS
    2015.
    """
    weighted = ips(clicks, ratios, clip)
    return Terms(weighted.numerators, weighted.weights, weighted.weights)


def independent_ips(clicks: Array, marginal_ratios: Array, clip: float = LARGEST_WEIGHT) -> Terms:
    """Independent IPS: assumes that a click depends on its slot and item alone (item-position model).

    Equation 2 of McInerney et al., KDD 2020; the item-position estimator of Li et al., KDD 2018 (arXiv 1804.10488).
    """
    return _weighted_sum(clicks, np.minimum(marginal_ratios, clip))


def reward_interaction_ips(clicks: Array, ratios: Array, clip: float = LARGEST_WEIGHT) -> Terms:
    """Reward-interaction IPS: assumes that a click depends on the items above and its own (cascade).

    RIPS, Equations 3 and 4 of McInerney et al., KDD 2020 (arXiv 2007.12986), without their normalisation.
    """
    return _weighted_sum(clicks, products(ratios, clip))


def latent_ips(
    clicks: Array, groups: NDArray[np.int64], target_shares: Array, clip: float = LARGEST_WEIGHT
) -> Terms:
    """Latent IPS: assumes that a slate's clicks depend on nothing but the group of slates that it belongs to.

    LIPS of Kiyohara, Nomura and Saito, "Off-Policy Evaluation of Slate Bandit Policies via Optimizing Abstraction",
    WWW 2024 (arXiv 2402.02171), where a slate's group is its abstraction. Here the logging policy's probability of a
    group is its share in the log, so that each group counts by the mean of its clicks.

    Args:
        clicks: ``(impressions, slate_size)``.
        groups: Groups of the slates that were shown, int64 ``(impressions,)``; each number from 0 to the last group at
            least once.
        target_shares: How likely the target policy shows a slate of each group, ``(num_groups,)``.
        clip: See above.
    """
    belongs = (groups[:, None] == np.arange(len(target_shares))).astype(float)  # (impressions, num_groups)
    logged_shares = belongs.mean(axis=0)
    weights = np.minimum(target_shares / logged_shares, clip)  # (num_groups,)
    numerators = belongs * (weights * logged_shares) * clicks.sum(axis=1, keepdims=True)
    return Terms(numerators, belongs, weights[groups, None])


def trajectory_is(rewards: Array, ratios: Array, clip: float = LARGEST_WEIGHT) -> Terms:
    """Importance sampling of whole sessions: no assumption, and hopeless for sessions of more than a few steps.

    The importance-sampling estimator of Precup et al., "Eligibility Traces for Off-Policy Policy Evaluation", ICML
    2000.
    """
    return ips(rewards, ratios, clip)


def per_decision_is(rewards: Array, ratios: Array, clip: float = LARGEST_WEIGHT) -> Terms:
    """Importance sampling of each step by the steps up to it, since later ones can't change its reward.

    The per-decision estimator of Precup et al., ICML 2000.
    """
    return _weighted_sum(rewards, products(ratios, clip))


def weighted_per_decision_is(rewards: Array, ratios: Array, clip: float = LARGEST_WEIGHT) -> Terms:
    """Per-decision importance sampling with each step's weights divided by their mean: slightly biased.

    Of Precup et al., ICML 2000, in the consistent form of Thomas, "Safe Reinforcement Learning", 2015 (CWPDIS).
    """
    weights = products(ratios, clip)
    return Terms(weights * rewards, weights, weights)


def _weighted_sum(rewards: Array, weights: Array) -> Terms:
    return Terms((weights * rewards).sum(axis=1, keepdims=True), None, weights)
