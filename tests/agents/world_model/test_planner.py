from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError
from gems_gym.policies import Policy, make_policy
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.search import play
from gems_gym_agents.world_model.planner import WorldModelPolicy
from tests.agents.user_model.small_world import make_users, true_model
from tests.agents.world_model.small_model import small_model


def first() -> np.ndarray:
    return WorldModelPolicy.search_start(small_model())[0]


def returns(policy: WorldModelPolicy) -> np.ndarray:
    return play(SlateUsers(make_users(200)), policy, user_seeds("validation", 0, 200))


@pytest.mark.slow
def test_planning_beats_not_planning_and_random_slates() -> None:
    """The same belief, the same model; only tiredness costs nothing in the second."""
    plan = first()
    greedy = np.concatenate([np.zeros(4), plan[4:]])
    planned, not_planned = (returns(WorldModelPolicy(small_model(), one)) for one in (plan, greedy))
    difference = planned - not_planned
    assert difference.mean() > 3 * difference.std() / len(difference) ** 0.5
    env = make_users(200)
    random = evaluate(make_policy("random", env), env, user_seeds("validation", 0, 200)).mean_return
    assert planned.mean() > 1.5 * random


@pytest.mark.slow
def test_a_users_slates_are_the_same_whoever_is_served() -> None:
    policy = WorldModelPolicy(small_model(), first())
    assert isinstance(policy, Policy)
    seeds = user_seeds("validation", 0, 10)
    users, state = SlateUsers(make_users(10)), policy.open(seeds)
    alone = policy.open(seeds[3:4])
    shown = users.open(seeds)
    for _ in range(8):
        one = {name: array[3:4] for name, array in shown.items()}
        slates, state = policy.act(state, shown)
        slate, alone = policy.act(alone, one)
        np.testing.assert_array_equal(slate[0], slates[3])
        assert all(len(set(slate)) == 10 for slate in slates.tolist())
        shown, _, _ = users.show(slates)


def test_crowded_slates_are_avoided_if_they_cost_clicks() -> None:
    """With a model in which a second item of a group makes all clicks unlikely, and ten groups."""
    model = small_model()
    groups = np.arange(model.num_items) % 10
    crowded = replace(
        model,
        groups=groups,
        tired_query=np.zeros((10, *model.query.shape)),
        crowding=np.array([0.0, 0.0] + [20.0] * 9),
    )
    policy = WorldModelPolicy(crowded, first())
    seeds = user_seeds("validation", 0, 5)
    slates, _ = policy.act(policy.open(seeds), SlateUsers(make_users(5)).open(seeds))
    assert all(len(set(groups[slate])) == 10 for slate in slates)


def test_what_was_saved_acts_the_same(tmp_path: Path) -> None:
    policy = WorldModelPolicy(small_model(), first())
    digest = policy.save(tmp_path / "policy.safetensors")
    read = WorldModelPolicy.load(tmp_path / "policy.safetensors")
    assert read.sha256 == digest
    np.testing.assert_array_equal(returns(read), returns(policy))


def test_what_is_no_planner_of_this_kind_is_refused(tmp_path: Path) -> None:
    model = true_model()
    PlannerPolicy(model, np.zeros(5 + model.items.shape[1])).save(tmp_path / "other.safetensors")
    with pytest.raises(ArtifactError, match="world_model_planner"):
        WorldModelPolicy.load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="plans must hold 15 finite numbers each"):
        WorldModelPolicy(small_model(), np.zeros(14))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"gates": np.full(100, 1.5)}, r"gates must hold numbers in \[0, 1\]"),
        ({"groups": np.full(100, 99)}, "groups must hold numbers in"),
        ({"query": np.zeros((3, 3))}, r"query must have shape \(11, 11\)"),
        ({"atoms": np.full((4, 10), np.nan)}, "atoms must hold finite numbers in 2 dimension"),
        (
            {"span": np.ones((4, 1))},
            "span must have two columns or more; got 10 positions, 100 items and 1 columns",
        ),
        ({"examination": np.ones(101), "crowding": np.ones(102)}, "no more positions than items"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(small_model(), **changed)
