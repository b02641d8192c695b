"""Planners on logs, where sessions begin with nothing and slates may be short: empty slots say nothing of a user."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gems_gym.policies.propensities import slate_propensities
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.world_model.planner import WorldModelPolicy
from tests.agents.user_model.small_world import true_model
from tests.agents.world_model.small_model import small_model


def planner() -> PlannerPolicy:
    return PlannerPolicy(true_model(), PlannerPolicy.search_start(true_model())[0])


def black_box() -> WorldModelPolicy:
    return WorldModelPolicy(small_model(), WorldModelPolicy.search_start(small_model())[0])


@pytest.mark.parametrize("make", [planner, black_box])
def test_empty_slots_say_nothing(make: Callable[[], Any]) -> None:
    policy, rng = make(), np.random.default_rng(0)
    shown = rng.integers(policy.num_items, size=(4, 3, policy.slate_size))  # steps, users, slots
    mask = np.ones(shown.shape, np.int8)
    mask[0], mask[2, :, 4:], mask[3, 1] = 0, 0, 0
    clicks = (rng.random(shown.shape) < 0.2) * mask
    clicks[:, 0] = 0  # one user is silent

    def slates(items: np.ndarray, masks: np.ndarray) -> list[np.ndarray]:
        state, found = policy.open([0, 1, 2]), []
        for slate, clicked, known in zip(items, clicks, masks, strict=True):
            chosen, state = policy.act(state, {"slate": slate, "clicks": clicked, "mask": known})
            assert all(len(set(one)) == policy.slate_size for one in chosen.tolist())
            found.append(chosen)
        return found

    others = np.where(mask, shown, rng.integers(policy.num_items, size=shown.shape))
    np.testing.assert_array_equal(slates(shown, mask), slates(others, mask))
    differ = [
        (one != other).any()
        for one, other in zip(slates(shown, mask), slates(others, mask * 0 + 1), strict=True)
    ]
    assert any(differ)  # and said something if they were taken for shown
    state = policy.open([0, 1, 2])
    seen = {"slate": shown[1], "clicks": clicks[1]}
    chosen, state = policy.act(state, seen)
    other = np.where(np.arange(policy.slate_size) == 2, -1, chosen)
    found = slate_propensities(policy, state, seen, other, chosen)
    assert found is not None  # it draws nothing
    np.testing.assert_array_equal(found.given_above, other == chosen)
    first = slates(shown, mask)[0]
    assert (first == first[0]).all()  # nobody is known yet
