"""What every agent of a world stands beside: policies that need no training, on the same test users."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gymnasium

from gems_gym import plugins
from gems_gym.policies import make_policy
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import NUM_ENVS, evaluate
from gems_gym_agents.pipeline.stages import Stage
from gems_gym_agents.pipeline.study import Study, World

REFERENCE_FILE = "references.json"

REFERENCES = ("random", "short_term_oracle", "constant_slate", "boredom_aware_oracle")
"""Policies in the order of the table; the first and the last are 0 and 100 of the normalised score."""


def references_stage(study: Study, world: World, out: Path) -> Stage:
    """The measurement of a world's references, whose record is ``references.json`` in the world's folder."""
    settings = {
        "world": world.settings,
        "test_users": study.test_users,
        "constant_slate_sessions": study.constant_slate_sessions,
    }
    modules = [__name__, *(plugins.module_of(plugins.POLICIES, name) for name in REFERENCES)]
    return Stage(f"{world.name} references", out / world.name, settings, modules, record_name=REFERENCE_FILE)


def measure_references(study: Study, world: World, out: Path) -> str:
    """Play the policies that need no training, unless that is done.

    The record's ``policies`` hold, by name, ``mean_return``, ``ci95`` (over users), ``worst`` (session),
    ``privileged``, and ``cpu_seconds`` and ``interactions`` before the test, which only the search for the best
    constant slate needs; and its ``slate``.

    Returns:
        A line for people.
    """
    stage = references_stage(study, world, out)
    with stage.locked():
        found = stage.kept() or stage.make(lambda: {"world": world.name, "policies": _play(study, world)})
    return ", ".join(f"{name} {one['mean_return']:.1f}" for name, one in found["policies"].items())


def _play(study: Study, world: World) -> dict[str, dict[str, Any]]:
    users = user_seeds("test", 0, study.test_users)
    env = gymnasium.make_vec(world.spec, num_envs=min(len(users), NUM_ENVS), autoreset_mode="disabled")
    policies: dict[str, dict[str, Any]] = {}
    for name in REFERENCES:
        start, searched = time.process_time(), name == "constant_slate"
        options = {"sessions": study.constant_slate_sessions} if searched else {}
        policy: Any = make_policy(name, env, **options)
        cpu_seconds = time.process_time() - start
        found = evaluate(policy, env, users, name=name, progress=True)
        policies[name] = {
            "mean_return": found.mean_return,
            "ci95": found.ci95,
            "worst": float(found.returns.min()),
            "privileged": bool(plugins.load(plugins.POLICIES, name).privileged),
            "cpu_seconds": cpu_seconds,
            "interactions": options.get("sessions", 0) * world.parameters[0].episode_length,
            **({"slate": policy.slate} if searched else {}),
        }
    return policies
