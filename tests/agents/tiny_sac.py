"""SAC of a small size, which learns in the tiny environment within seconds."""

from __future__ import annotations

import numpy as np

from gems_gym_agents.online.sac import SACAgent
from tests.agents.tiny_env import TargetVectorEnv

OBSERVATIONS = np.random.default_rng(0).uniform(-0.8, 0.8, (50, 3)).astype(np.float32)
SMALL = {"net_arch": (32, 32), "batch_size": 64, "learning_starts": 64, "buffer_size": 5_000}


def closeness(act) -> float:
    """What a session of 5 steps returns, with targets as in the environment."""
    return float(5.0 * (1.0 - np.abs(act(OBSERVATIONS) - OBSERVATIONS[:, :2]).mean()))


def fitted(steps: int = 320, seed: int = 0, users: int = 8, **options) -> SACAgent:
    agent = SACAgent(**(SMALL | options))
    agent.fit(TargetVectorEnv(users), steps=steps, seed=seed, progress=False)
    return agent
