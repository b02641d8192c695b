"""What every agent of a world stands beside: policies that need no training, on the same test users."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from gems_gym import plugins
from gems_gym.policies import make_policy
from gems_gym.user_splits import user_seeds
from gems_gym_agents.comparison.runs import OpenWorld, read_result, write_result
from gems_gym_agents.comparison.study import Study, World
from gems_gym_agents.evaluation import NUM_ENVS, evaluate

REFERENCE_FILE = "references.json"

REFERENCES = ("random", "short_term_oracle", "constant_slate", "boredom_aware_oracle")
"""Policies in the order of the table; the first and the last are 0 and 100 of the normalised score."""


def reference_settings(study: Study, world: World) -> dict[str, Any]:
    """What a world's references depend on."""
    return {
        "world": OpenWorld(world).settings,
        "test_users": study.test_users,
        "constant_slate_sessions": study.constant_slate_sessions,
    }


def read_references(study: Study, world: World, out: Path) -> dict[str, Any] | None:
    """A world's references, None if they are not measured yet; see :func:`measure_references`."""
    return read_result(out / world.name / REFERENCE_FILE, lambda: reference_settings(study, world))


def measure_references(study: Study, world: World, out: Path) -> str:
    """Play the policies that need no training, and write ``references.json`` in the world's folder.

    Its ``policies`` hold, by name, ``mean_return``, ``ci95`` (over users), ``privileged``, and ``cpu_seconds`` and
    ``interactions`` before the test, which only the search for the best constant slate needs; and its ``slate``.

    Returns:
        A line for people.
    """
    place = OpenWorld(world)
    users = user_seeds("test", 0, study.test_users)
    env = place.slates(min(len(users), NUM_ENVS))
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
            "privileged": bool(plugins.load(plugins.POLICIES, name).privileged),
            "cpu_seconds": cpu_seconds,
            "interactions": options.get("sessions", 0) * place.config.episode_length,
            **({"slate": policy.slate} if searched else {}),
        }
    write_result(
        out / world.name / REFERENCE_FILE,
        reference_settings(study, world),
        {"world": world.name, "policies": policies},
        [__name__, *(plugins.module_of(plugins.POLICIES, name) for name in REFERENCES)],
    )
    return ", ".join(f"{name} {one['mean_return']:.1f}" for name, one in policies.items())
