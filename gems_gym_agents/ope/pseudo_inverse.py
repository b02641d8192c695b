"""The pseudo-inverse estimator of Swaminathan et al."""

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.ope.terms import LARGEST_WEIGHT, Terms


def pseudo_inverse(
    clicks: NDArray[np.float64], marginal_ratios: NDArray[np.float64], clip: float = LARGEST_WEIGHT
) -> Terms:
    """PI: assumes that a slate's reward is a sum of what each item in its slot adds, which may be negative.

    The PI estimator of Swaminathan et al., "Off-policy Evaluation for Slate Recommendation", NeurIPS 2017 (arXiv
    1605.04812), in the form for logging policies that fill their slots independently, where the pseudo-inverse is
    known: a slate's weight is 1 + Σₛ (ratioₛ − 1). Where slates were drawn without duplicates, what it misses is of the
    order of slate_size / num_items.

    Args:
        clicks: ``(impressions, slate_size)``.
        marginal_ratios: Target over logging probability of each item in its slot, likewise.
        clip: Ratios are cut here.
    """
    ratios = np.minimum(marginal_ratios, clip)
    weights = 1.0 + (ratios - 1.0).sum(axis=1, keepdims=True)
    return Terms(weights * clicks.sum(axis=1, keepdims=True), None, weights, ratios)
