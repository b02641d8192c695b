"""Online agents learn in a latent world of short sessions: far beyond the same agent that learns nothing.

``recurrent_ppo`` is not among them: so few interactions teach it nothing that can be measured.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest

pytest.importorskip("sb3_contrib")

from gems_gym import plugins
from gems_gym.latent_world import LatentWorld
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import evaluate

ENV, LENGTH, STEPS = "GemsSlateLatent-focused_topdown-v0", 20, 30_000
OPTIONS: dict[str, dict[str, Any]] = {
    "td3": {"learning_starts": 4_000},
    "tqc": {"learning_starts": 4_000},
    "crossq": {"learning_starts": 4_000},
    "ppo": {},
}


def clicks(name: str, steps: int, **options: Any) -> float:
    """Clicks a session of a trained agent on test users; scored by no other users."""
    world = LatentWorld.of(gymnasium.spec(ENV))
    agent = plugins.load(plugins.AGENTS, name)(**{"validate_every": 10_000, **OPTIONS[name], **options})
    agent.fit(world.users(100, episode_length=LENGTH), steps=steps, seed=0, progress=False)
    env = world.users(100, agent.belief, episode_length=LENGTH, autoreset_mode="disabled")
    return float(evaluate(agent.policy, env, user_seeds("test", 0, 100), progress=False).mean_return)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_learns_in_a_latent_world(name: str) -> None:
    idle = clicks(name, 4_100, learning_rate=1e-12)
    learned = clicks(name, STEPS)
    assert learned > 1.5 * idle, f"{learned:.1f} clicks a session, {idle:.1f} without learning"
