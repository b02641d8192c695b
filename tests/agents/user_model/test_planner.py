from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError
from gems_gym.user_splits import user_seeds
from gems_gym_agents.user_model.belief import ParticleBelief
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.search import play
from tests.agents.user_model.small_world import OnlySlates, make_users, true_model, truth


def returns(policy: Any, num_users: int = 200, make: Callable[[int], Any] = make_users) -> np.ndarray:
    return play(SlateUsers(make(num_users)), policy, user_seeds("validation", 0, num_users))


def greedy(plan: np.ndarray) -> np.ndarray:
    """A plan that counts the clicks of the next slate only."""
    plan = plan.copy()
    plan[:4] = 0.0
    return plan


def test_planning_beats_not_planning() -> None:
    """The same belief, the same model; only boredom costs nothing in the second."""
    model, plan = true_model(), PlannerPolicy.search_start(true_model())[0]
    planned, not_planned = returns(PlannerPolicy(model, plan)), returns(PlannerPolicy(model, greedy(plan)))
    difference = planned - not_planned
    assert difference.mean() > 3 * difference.std() / len(difference) ** 0.5


def test_the_belief_finds_the_user() -> None:
    model = true_model()
    env = make_users(100)
    users = SlateUsers(env)
    policy = PlannerPolicy(model, PlannerPolicy.search_start(model)[0])
    seeds = user_seeds("validation", 0, 100)
    shown, state = users.open(seeds), policy.open(seeds)
    errors = []
    for _ in range(20):
        slates, state = policy.act(state, shown)
        belief = state.belief
        weights = np.exp(belief.log_weights)
        mean = np.einsum("up,upd->ud", weights, belief.particles) / weights.sum(axis=1, keepdims=True)
        errors.append(np.linalg.norm(mean - env.simulator.users.preference, axis=1).mean())
        np.testing.assert_array_equal(
            belief.sessions.num_recent, env.simulator.users.num_recent_topics, err_msg="clicks remembered"
        )
        shown, _, _ = users.show(slates)
        np.testing.assert_array_equal(belief.sessions.bored, env.simulator.users.bored)
    assert errors[-1] < 0.25 * errors[0]


def test_until_the_first_click_a_user_is_one_of_the_priors() -> None:
    """Weighed by all that was not clicked, however long that takes; the weights are those of the plain formula."""
    model = true_model()
    belief = ParticleBelief(model, ((0, 8), (30, 2)), np.random.default_rng(0))
    state, rng = belief.initial(3), np.random.default_rng(1)
    expected = np.zeros((3, len(state.of_prior[0])))
    atoms = belief._prior  # the model's vectors, and none more as 16 · 8 < 512
    np.testing.assert_array_equal(atoms, model.prior)
    for _ in range(25):
        slates, clicks = rng.integers(100, size=(3, 10)), np.zeros((3, 10), np.int64)
        state = belief.update(state, slates, clicks)
        relevance = 0.02 + 0.96 / (1 + np.exp(-(model.items[slates] @ atoms.T - 0.28) * model.slope))
        expected += np.log(1 - relevance * model.propensities[:, None]).sum(axis=1)
    np.testing.assert_allclose(state.of_prior, expected - expected.max(axis=1, keepdims=True), atol=1e-9)
    liked = np.argsort(-model.items @ atoms[7], kind="stable")[:10]
    slates = np.tile(liked, (3, 1))
    state = belief.update(state, slates, np.array([[1] * 10, [1] + [0] * 9, [0] * 10]))
    assert state.counts.tolist() == [2, 8, 8]  # evidence 35, 26, 25
    assert state.of_prior.shape == (1, 512)
    scores = state.particles[0, :2] @ model.items[liked].T
    assert (scores > 0.25).all()


def test_where_silence_leaves_few_vectors_others_are_made() -> None:
    """They are weighed by all that was shown, and explain it better than any of the prior's."""
    model = true_model()
    belief = ParticleBelief(model, ((0, 64),), np.random.default_rng(0))
    state, rng = belief.initial(1), np.random.default_rng(1)
    for _ in range(30):
        state = belief.update(state, rng.permutation(90)[None, :10], np.zeros((1, 10), np.int64))

    def likelihood(vectors: np.ndarray) -> np.ndarray:
        relevance = 0.02 + 0.96 / (1 + np.exp(-(vectors @ model.items.T - 0.28) * model.slope))
        return np.log(1 - relevance[:, state.unclicked[0]] * model.propensities).sum(axis=(1, 2))

    weights = np.exp(state.of_prior[0])
    assert weights.sum() ** 2 / (weights**2).sum() < 3
    assert np.median(likelihood(state.particles[0])) > likelihood(belief._prior).max() + 1
    assert len(np.unique(state.particles[0].round(1), axis=0)) > 10
    state = belief.update(state, np.arange(90, 100)[None], np.ones((1, 10), np.int64))
    assert state.unclicked.shape == (0, 31, 10)


def test_the_prior_is_filled_up_with_copies() -> None:
    belief = ParticleBelief(true_model(), PlannerPolicy.acting, np.random.default_rng(0))
    assert belief.initial(1).of_prior.shape == (1, 4096)
    np.testing.assert_array_equal(belief._prior[:512], true_model().prior)
    np.testing.assert_allclose(np.linalg.norm(belief._prior.reshape(4096, 5, 2), axis=2).sum(axis=1), 1.0)


def test_a_users_slates_are_the_same_whoever_is_served() -> None:
    policy = PlannerPolicy(true_model(), PlannerPolicy.search_start(true_model())[0])
    seeds = user_seeds("validation", 0, 7)

    def session(rows: list[int]) -> np.ndarray:
        users = SlateUsers(make_users(len(rows)))
        chosen = [seeds[row] for row in rows]
        shown, state, slates = users.open(chosen), policy.open(chosen), []
        for _ in range(30):
            actions, state = policy.act(state, shown)
            slates.append(actions)
            shown, _, _ = users.show(actions)
        return np.stack(slates, axis=1)

    together = session([0, 1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(session([4, 2]), together[[4, 2]])
    np.testing.assert_array_equal(session([6]), together[[6]])


def test_an_old_state_is_left_alone() -> None:
    policy = PlannerPolicy(true_model(), PlannerPolicy.search_start(true_model())[0])
    users, seeds = SlateUsers(make_users(5)), user_seeds("validation", 0, 5)
    shown, state = users.open(seeds), policy.open(seeds)
    for _ in range(3):
        slates, state = policy.act(state, shown)
        shown, _, _ = users.show(slates)
    first, _ = policy.act(state, shown)
    second, _ = policy.act(state, shown)
    np.testing.assert_array_equal(first, second)


def test_slates_hold_no_item_twice_and_few_of_a_topic() -> None:
    model = true_model()
    policy = PlannerPolicy(model, PlannerPolicy.search_start(model)[0])
    users, seeds = SlateUsers(make_users(20)), user_seeds("validation", 0, 20)
    shown, state = users.open(seeds), policy.open(seeds)
    for _ in range(10):
        slates, state = policy.act(state, shown)
        for slate in slates:
            assert len(set(slate.tolist())) == 10
            assert np.bincount(model.topics[slate]).max() <= 4  # of boredom_threshold 5
        shown, _, _ = users.show(slates)


@pytest.mark.parametrize("topics", [np.zeros(100, np.int64), np.arange(100) // 98])
def test_slates_are_filled_where_few_topics_have_items(topics: np.ndarray) -> None:
    model = replace(true_model(), topics=topics)
    policy = PlannerPolicy(model, PlannerPolicy.search_start(model)[0])
    users, seeds = SlateUsers(make_users(3)), user_seeds("validation", 0, 3)
    slates, _ = policy.act(policy.open(seeds), users.open(seeds))
    assert all(len(set(slate.tolist())) == 10 for slate in slates)


def test_nothing_is_read_but_slates_and_clicks() -> None:
    """Other names for the items and no infos: the same clicks, user by user."""
    items, topics, _ = truth()
    order = np.random.default_rng(0).permutation(len(items))
    model = true_model()
    renamed = replace(model, items=items[order], topics=topics[order])
    plan = PlannerPolicy.search_start(model)[0]
    plan[5:] = np.random.default_rng(1).normal(
        0, 0.2, 10
    )  # or else many items are equally good, and ids decide
    hidden = partial(OnlySlates, order=order)
    np.testing.assert_array_equal(
        returns(PlannerPolicy(renamed, plan), 50, hidden), returns(PlannerPolicy(model, plan), 50)
    )


def test_what_no_slate_environment_shows_is_refused() -> None:
    model = true_model()
    policy = PlannerPolicy(model, PlannerPolicy.search_start(model)[0])
    slates, clicks = np.tile(np.arange(10), (2, 1)), np.zeros((2, 10), np.int8)
    for seen, message in (
        ({"slate": slates + len(model.items), "clicks": clicks}, "item"),
        ({"slate": slates, "clicks": clicks + 2}, "click"),
        ({"slate": slates[:, :9], "clicks": clicks[:, :9]}, "shape"),
        ({"slate": slates[:1], "clicks": clicks[:1]}, "observations hold 1 users, and the state 2"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.act(policy.open([0, 1]), seen)


def test_each_user_has_a_plan_and_batches_do_not_matter() -> None:
    model, plan = true_model(), PlannerPolicy.search_start(true_model())[0]
    both, which = PlannerPolicy(model, np.stack([plan, greedy(plan)])), np.arange(30) % 2
    seeds = user_seeds("validation", 0, 30)
    users = SlateUsers(make_users(30))
    clicks = play(users, both, seeds, which)
    alone = [play(users, PlannerPolicy(model, one), seeds) for one in (plan, greedy(plan))]
    np.testing.assert_array_equal(clicks, np.where(which == 0, *alone))
    np.testing.assert_array_equal(clicks, play(SlateUsers(make_users(7)), both, seeds, which))
    assert (alone[0] != alone[1]).any()


def test_a_file_holds_the_whole_policy(tmp_path: Path) -> None:
    policy = PlannerPolicy(true_model(), PlannerPolicy.search_start(true_model())[0])
    sha256 = policy.save(tmp_path / "policy.safetensors")
    read = PlannerPolicy.load(tmp_path / "policy.safetensors")
    assert read.sha256 == policy.sha256 == sha256
    np.testing.assert_array_equal(returns(read, 20), returns(policy, 20))
    with pytest.raises(ValueError, match="plans must hold 15 finite numbers"):
        PlannerPolicy(true_model(), np.zeros(5))
    true_model().save(tmp_path / "model.safetensors")
    with pytest.raises(ArtifactError, match="policy/planner was expected"):
        PlannerPolicy.load(tmp_path / "model.safetensors")


def test_beliefs_without_resampling_only_weigh() -> None:
    model = true_model()
    belief = ParticleBelief(model, None, np.random.default_rng(0))
    users, seeds = SlateUsers(make_users(4)), user_seeds("validation", 0, 4)
    state, shown = belief.initial(4), users.open(seeds)
    state = belief.update(state, shown["slate"], shown["clicks"].astype(np.int64))
    np.testing.assert_array_equal(state.particles, np.tile(model.prior, (4, 1, 1)))
    assert state.log_weights.max(axis=1).tolist() == [0.0] * 4
    resampled = ParticleBelief(model, PlannerPolicy.acting, np.random.default_rng(0))
    state = resampled.update(resampled.initial(4), shown["slate"], shown["clicks"].astype(np.int64))
    assert state.particles.shape == (4, 256, 10)
