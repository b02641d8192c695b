"""What a user model has learned, in numbers and words, beside the truth where that is known."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from gems_gym_agents.user_model.axes import block_norms
from gems_gym_agents.user_model.model import Rules, UserModel


def confusion(model: UserModel, truth: UserModel) -> NDArray[np.int64]:
    """How many items of each topic of ``truth`` the model takes for each of its own: ``(true, learned)`` topics."""
    counts = np.zeros((truth.num_topics, model.num_topics), np.int64)
    np.add.at(counts, (truth.topics, model.topics), 1)
    return counts


def in_order_of(model: UserModel, truth: UserModel) -> UserModel:
    """The model with its topics numbered as those of the truth that share most items with them.

    Learned topics come in no order. Those that the truth has no partner for, as they are more, come last.

    Args:
        model: Learned.
        truth: True model of the same items.

    Raises:
        ValueError: Another number of items.
    """
    if model.num_items != truth.num_items:
        raise ValueError(f"model has {model.num_items} items, but truth has {truth.num_items}")
    counts = confusion(model, truth)
    missing = max(truth.num_topics - model.num_topics, 0)
    if missing:  # topics without an item take the places of those that were not found
        zeros = np.zeros((model.num_items, missing * model.topic_size))
        unknown = np.zeros((len(model.prior), missing * model.topic_size))
        items, prior = np.hstack([model.items, zeros]), np.hstack([model.prior, unknown])
        model = replace(model, items=items, prior=prior)
        counts = np.hstack([counts, np.zeros((len(counts), missing), np.int64)])
    _, partners = linear_sum_assignment(-counts)
    order = [*partners.tolist(), *(topic for topic in range(model.num_topics) if topic not in partners)]
    components = np.arange(model.items.shape[1]).reshape(model.num_topics, -1)[order].ravel()
    return replace(
        model,
        items=model.items[:, components],
        topics=np.argsort(order)[model.topics],
        prior=model.prior[:, components],
    )


def likeness(model: UserModel, truth: UserModel) -> float:
    """Correlation of the items' block norms in the model and in the truth, topics being in the same order."""
    topics = min(model.num_topics, truth.num_topics)
    learned, true = (block_norms(one.items, one.topic_size)[:, :topics].ravel() for one in (model, truth))
    return float(np.corrcoef(learned, true)[0, 1])


def kept_per_click(model: UserModel) -> float:
    """Share of a user's preference that is left after a click on an item of the usual length."""
    length = block_norms(model.items, model.topic_size).sum(axis=1).mean()
    return float(model.omega / (model.omega + (1.0 - model.omega) * length))


def boredom_in_words(rules: Rules) -> str:
    """The boredom rule as a sentence."""
    if not rules.bores:
        return "no topic ever bores"
    return (
        f"a topic bores for {rules.timeout} steps once {rules.boredom_threshold} of the last {rules.memory} clicks "
        f"were on it, none older than {rules.window} steps"
    )


def diversity_in_words(rules: Rules, slate_size: int) -> str:
    """The rule of monotonous slates as a sentence."""
    if rules.diversity_penalty == 1.0 or rules.diversity_threshold > slate_size:
        return "monotonous slates are clicked as others are"
    return f"with {rules.diversity_threshold} items of a topic a slate is clicked {rules.diversity_penalty:.2g} × less"


def describe(model: UserModel, truth: UserModel | None = None) -> dict[str, Any]:
    """The numbers of a model that say most of it; JSON types.

    Args:
        model: Learned, or the truth itself.
        truth: True model of the same items, for what can be compared.

    Raises:
        ValueError: The truth has another number of items.
    """
    norms = block_norms(model.prior, model.topic_size)
    numbers: dict[str, Any] = {
        "boredom": boredom_in_words(model.rules),
        "diversity": diversity_in_words(model.rules, model.slate_size),
        "propensities": [round(float(one), 3) for one in model.propensities],
        "slope": round(model.slope, 1),
        "omega": round(model.omega, 3),
        "kept_per_click": round(kept_per_click(model), 3),
        "favourite_topic": round(float(norms.max(axis=1).mean()), 3),
    }
    if truth is not None:
        ordered = in_order_of(model, truth)
        right = float((ordered.topics == truth.topics).mean())
        numbers |= {"topics_right": round(right, 3), "likeness": round(likeness(ordered, truth), 3)}
    return numbers
