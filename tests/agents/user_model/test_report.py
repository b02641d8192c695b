"""What a model has learned, in words, numbers and a picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gems_gym_agents.user_model.model import Rules, UserModel
from gems_gym_agents.user_model.picture import draw_model
from gems_gym_agents.user_model.report import (
    boredom_in_words,
    confusion,
    describe,
    diversity_in_words,
    in_order_of,
    kept_per_click,
)
from tests.agents.user_model.small_world import true_model

ORDER = [3, 0, 4, 1, 2]


def renumbered(model: UserModel, order: list[int]) -> UserModel:
    """The same model with its topics in another order."""
    components = np.arange(model.items.shape[1]).reshape(len(order), -1)[order].ravel()
    return replace(
        model,
        items=model.items[:, components],
        topics=np.argsort(order)[model.topics],
        prior=model.prior[:, components],
    )


def test_topics_are_numbered_as_the_true_ones() -> None:
    truth = true_model()
    learned = renumbered(truth, ORDER)
    assert np.trace(confusion(learned, truth)) < truth.num_items
    found = in_order_of(learned, truth)
    for name in ("items", "topics", "prior"):
        np.testing.assert_array_equal(getattr(found, name), getattr(truth, name))
    assert describe(learned, truth) == describe(truth, truth)
    assert describe(learned, truth)["topics_right"] == describe(learned, truth)["likeness"] == 1.0
    assert "topics_right" not in describe(learned)


def test_topics_beyond_the_true_ones_come_last() -> None:
    truth = true_model()
    none = np.zeros((truth.num_items, 2))
    more = replace(
        truth,
        items=np.hstack([none, truth.items]),
        topics=truth.topics + 1,
        prior=np.hstack([np.zeros((len(truth.prior), 2)), truth.prior]),
    )
    found = in_order_of(more, truth)
    np.testing.assert_array_equal(found.topics, truth.topics)
    np.testing.assert_array_equal(found.items, np.hstack([truth.items, none]))
    # and where there are fewer, all have a partner
    fewer = replace(
        truth, items=truth.items[:, :8], topics=np.minimum(truth.topics, 3), prior=truth.prior[:, :8]
    )
    assert (in_order_of(fewer, truth).topics == truth.topics).mean() > 0.7


def test_a_topic_that_was_not_found_leaves_its_place_empty() -> None:
    truth = true_model()
    learned = replace(
        truth, items=truth.items[:, 2:], topics=np.maximum(truth.topics - 1, 0), prior=truth.prior[:, 2:]
    )
    others = truth.topics > 0
    assert describe(learned, truth)["topics_right"] == pytest.approx(others.mean())
    found = in_order_of(learned, truth)
    np.testing.assert_array_equal(found.topics[others], truth.topics[others])
    np.testing.assert_array_equal(found.items[:, 2:], truth.items[:, 2:])


def test_other_items_have_no_common_order() -> None:
    truth = true_model()
    fewer = replace(truth, items=truth.items[:50], topics=truth.topics[:50])
    with pytest.raises(ValueError, match="model has 50 items, but truth has 100"):
        in_order_of(fewer, truth)


def test_rules_in_words() -> None:
    rules = Rules(boredom_threshold=5, memory=10, window=4, timeout=3)
    assert boredom_in_words(rules) == (
        "a topic bores for 3 steps once 5 of the last 10 clicks were on it, none older than 4 steps"
    )
    assert boredom_in_words(Rules()) == "no topic ever bores"
    assert diversity_in_words(rules, 10) == "monotonous slates are clicked as others are"
    monotonous = replace(rules, diversity_threshold=4, diversity_penalty=3.0)
    assert diversity_in_words(monotonous, 10) == "with 4 items of a topic a slate is clicked 3 × less"
    assert diversity_in_words(monotonous, 3) == "monotonous slates are clicked as others are"


def test_drift_does_not_depend_on_the_unit_of_items() -> None:
    truth = true_model()
    longer = replace(truth, items=2 * truth.items, omega=2 * 0.9 / (2 * 0.9 + 0.1))
    assert kept_per_click(longer) == pytest.approx(kept_per_click(truth))


@pytest.mark.parametrize("known", [True, False])
def test_a_picture_is_drawn_with_the_truth_and_without(known: bool, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    truth = true_model()
    draw_model(renumbered(truth, ORDER), tmp_path / "model.png", truth if known else None, "a world")
    assert (tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
