"""A world's true numbers as a user model."""

from typing import Any

import numpy as np
import pytest

from gems_gym.envs import SlateVectorEnv
from gems_gym.simulator import resolve_world
from gems_gym.user_splits import user_seeds
from gems_gym_agents.user_model.belief import ParticleBelief
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.search import play
from gems_gym_agents.user_model.truth import UserKnowingPlanner, true_user_model

SMALL: dict[str, Any] = {"num_items": 60, "num_topics": 4, "slate_size": 5}


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"omega": 0.6, "relevance_offset": 0.2, "relevance_slope": 20.0},
        {"boredom_threshold": 3, "boredom_moving_window": 8, "boredom_timeout": 2, "recent_items_maxlen": 6},
        {"diversity_penalty": 3.0, "diversity_threshold": 2, "alpha": 0.8, "click_propensity": 0.6},
    ],
)
@pytest.mark.parametrize("own_items", [False, True])
def test_a_true_users_clicks_are_those_that_the_model_expects(
    overrides: dict[str, Any], own_items: bool
) -> None:
    items = np.random.default_rng(1).random((60, 8)) ** 3 * 7 if own_items else None  # norms differ
    config, catalog = resolve_world("focused_mix", items, SMALL | overrides)
    env = SlateVectorEnv(1, config, catalog.item_embeddings)
    model = true_user_model(config, catalog, atoms=1)
    observations, _ = env.reset(seed=user_seeds("test", 0, 1))
    belief = ParticleBelief(
        model.with_prior(env.simulator.users.preference.copy()), None, np.random.default_rng(0)
    )
    state = belief.initial(1)
    rng, clicked = np.random.default_rng(2), []
    for _ in range(60):
        slate, clicks = (observations[name].astype(np.int64) for name in ("slate", "clicks"))
        clicked += slate[0, clicks[0] == 1].tolist()
        state = belief.update(state, slate, clicks)
        slates = rng.integers(60, size=(1, 5))
        slates[0, :3] = rng.choice(clicked or 60, 3)
        vector = state.particles[0, 0] * ~np.repeat(state.sessions.bored[0], 2)
        relevance = 1 / (1 + np.exp(-(model.items[slates[0]] @ vector - 0.28) * model.slope))
        monotonous = np.bincount(model.topics[slates[0]]).max() >= model.rules.diversity_threshold
        expected = relevance * model.propensities / (model.rules.diversity_penalty if monotonous else 1)
        observations, *_ = env.step(slates)
        assert env.shown is not None
        np.testing.assert_allclose(env.shown.click_probabilities[0], expected, rtol=1e-4, atol=1e-6)
    assert len(clicked) > 10 and env.simulator.users.step[0] == 60


def test_the_prior_is_of_training_users_and_their_number_is_chosen() -> None:
    config, catalog = resolve_world("focused_mix", None, SMALL)
    model = true_user_model(config, catalog, seed=1, atoms=7)
    env = SlateVectorEnv(1, config)
    env.reset(seed=[2**20 + 2**19 + 6])
    assert model.prior.shape == (7, 8)
    np.testing.assert_array_equal(model.prior[6], env.simulator.users.preference[0])


def test_clicks_are_remembered_a_step_less_in_the_other_version() -> None:
    config, catalog = resolve_world("focused_mix", None, SMALL)
    assert true_user_model(config, catalog, atoms=1).rules.window == 5
    assert true_user_model(config.replace(dynamics_version=1), catalog, atoms=1).rules.window == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("relevance_offset", 0.0),
        ("rel_threshold", 0.3),
        ("short_term_boost", 2.0),
        ("click_only_once", True),
        ("boredom_moving_window", 0),
    ],
)
def test_a_world_of_another_form_is_refused(name: str, value: Any) -> None:
    config, catalog = resolve_world("focused_mix", None, SMALL | {name: value})
    with pytest.raises(ValueError, match=f"does not have the form of this world: {name}={value}"):
        true_user_model(config, catalog)


def test_a_planner_that_knows_its_users_earns_more() -> None:
    config, catalog = resolve_world("focused_mix", None, SMALL | {"episode_length": 20})
    env = SlateVectorEnv(200, config, catalog.item_embeddings, autoreset_mode="disabled")
    model, seeds = true_user_model(config, catalog, atoms=64), user_seeds("validation", 0, 200)
    plan = PlannerPolicy.search_start(model)[0]
    guessing = play(SlateUsers(env), PlannerPolicy(model, plan), seeds)
    knowing = play(SlateUsers(env), UserKnowingPlanner(model, plan, env.simulator), seeds)
    gained = knowing - guessing
    assert gained.mean() > 3 * gained.std() / len(gained) ** 0.5
