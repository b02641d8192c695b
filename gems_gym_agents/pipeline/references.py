"""What every agent of a world stands beside: policies that need no training, on the same test users, and a bound."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from scipy.special import expit

from gems_gym import plugins
from gems_gym.commands.output import note
from gems_gym.config import modules_of_world
from gems_gym.policies import Policy, make_policy
from gems_gym.sardine_config import SardineConfig
from gems_gym.simulator import Catalog
from gems_gym.user_splits import user_seeds
from gems_gym.world_config import WorldConfig
from gems_gym_agents.evaluation import NUM_ENVS, evaluate
from gems_gym_agents.pipeline.stages import Stage
from gems_gym_agents.pipeline.study import Study, World
from gems_gym_agents.user_model.logs import SlateUsers
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.search import SearchState, search_plan
from gems_gym_agents.user_model.truth import UserKnowingPlanner, other_forms, true_user_model

REFERENCE_FILE = "references.json"

REFERENCES = ("random", "short_term_oracle", "constant_slate", "boredom_aware_oracle")
"""Policies in the order of the table; the first and the last are 0 and 100 of the normalised score."""


def references_stage(study: Study, world: World, out: Path) -> Stage:
    """The measurement of a world's references, whose record is ``references.json`` in the world's folder."""
    settings = {
        "world": world.settings,
        "test_users": study.test_users,
        "constant_slate_sessions": study.constant_slate_sessions,
        "plan_steps": study.plan_steps,
    }
    modules = {__name__, *(plugins.module_of(plugins.POLICIES, name) for name in REFERENCES)}
    modules |= modules_of_world(world.parameters[0])
    return Stage(f"{world.name} references", out / world.name, settings, modules, record_name=REFERENCE_FILE)


def measure_references(study: Study, world: World, out: Path) -> str:
    """Play the policies that need no training, unless that is done.

    After :data:`REFERENCES` come two planners (:mod:`gems_gym_agents.user_model`), both privileged, if the world has
    the form of their model: ``planner_true_model`` has the world's true numbers, and a plan searched on training users;
    ``planner_true_users`` reads each user's vector as well. The last is no policy: ``upper_bound``, see
    :func:`upper_bound`.

    The record's ``policies`` hold, by name, what :meth:`~gems_gym_agents.evaluation.Evaluation.describe` says,
    ``privileged``, and ``cpu_seconds`` and ``interactions`` of the search before the test, if there is one; of the best
    constant slate also its ``slate``. The bound has a ``mean_return`` only.

    Returns:
        A line for people.
    """
    stage = references_stage(study, world, out)
    with stage.locked():
        found = stage.kept() or stage.make(lambda: {"world": world.name, "policies": _measured(study, world)})
    return ", ".join(f"{name} {one['mean_return']:.1f}" for name, one in found["policies"].items())


def upper_bound(config: WorldConfig, catalog: Catalog) -> float:
    """Clicks of a session that no policy expects more of, whatever it knows.

    A click's probability is α · relevance · propensity, divided by the penalty of a monotonous slate. A user's block
    norms add up to at most 1, so by Cauchy and Schwarz no score exceeds the largest block norm of any item, which
    bounds relevance. All slates are monotonous where there are too few topics for another one. Boredom and drift,
    which can only take more, are left out.

    Args:
        config: The world.
        catalog: Its items.
    """
    of_items = float(catalog.block_norms.max()) / catalog.max_score
    # SARDINE's users have length 1: a score can be the largest of all
    if isinstance(config, SardineConfig):
        of_items = 1.0
    largest = of_items * max(config.short_term_boost, 1.0)
    if config.rel_threshold is not None:
        relevance = float(largest > config.rel_threshold)
    else:
        scores = np.array([-largest, largest])
        relevance = float(expit((scores - config.relevance_offset) * config.relevance_slope).max())
    all_monotonous = config.num_topics * (config.diversity_threshold - 1) < config.slate_size
    penalty = config.diversity_penalty if all_monotonous else min(config.diversity_penalty, 1.0)
    slate = config.alpha * float(config.position_propensities().sum()) * relevance / penalty
    return config.episode_length * slate


def _measured(study: Study, world: World) -> dict[str, dict[str, Any]]:
    config, catalog = world.parameters
    users = user_seeds("test", 0, study.test_users)
    env: Any = gymnasium.make_vec(world.spec, num_envs=min(len(users), NUM_ENVS), autoreset_mode="disabled")
    policies: dict[str, dict[str, Any]] = {}

    def play(name: str, policy: Policy, privileged: bool, cpu_seconds: float, interactions: int) -> None:
        found = evaluate(policy, env, users, name=name, progress=True)
        policies[name] = {
            **found.describe(),
            "privileged": privileged,
            "cpu_seconds": cpu_seconds,
            "interactions": interactions,
        }

    for name in REFERENCES:
        start, searched = time.process_time(), name == "constant_slate"
        options = {"sessions": study.constant_slate_sessions} if searched else {}
        policy: Any = make_policy(name, env, **options)
        took = time.process_time() - start
        privileged = bool(plugins.load(plugins.POLICIES, name).privileged)
        play(name, policy, privileged, took, options.get("sessions", 0) * config.episode_length)
        if searched:
            policies[name]["slate"] = policy.slate
    if reasons := other_forms(config):
        note(f"{world.name}: no planner with the truth, as the world has another form: {', '.join(reasons)}")
    else:
        start = time.process_time()
        planner = _planner(study, world)
        play("planner_true_model", planner, True, time.process_time() - start, study.plan_steps)
        knowing = UserKnowingPlanner(planner.model, planner.plans, env.unwrapped.simulator)
        play("planner_true_users", knowing, True, 0.0, 0)
    policies["upper_bound"] = {
        "mean_return": upper_bound(config, catalog),
        "privileged": False,
        "cpu_seconds": 0.0,
        "interactions": 0,
    }
    return policies


def _planner(study: Study, world: World) -> PlannerPolicy:
    """A planner with the world's true numbers and the plan that earns most of training users."""
    config, catalog = world.parameters
    model = true_user_model(config, catalog)
    users = SlateUsers(gymnasium.make_vec(world.spec, num_envs=NUM_ENVS))
    start = SearchState.start(*PlannerPolicy.search_start(model), np.random.default_rng(0))
    return PlannerPolicy(
        model, search_plan(PlannerPolicy, model, users, seed=0, steps=study.plan_steps, state=start)
    )
