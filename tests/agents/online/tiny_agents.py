"""Online agents of a small size, which learn in the tiny environment within seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gems_gym_agents.online import CrossQAgent, PPOAgent, TD3Agent, TQCAgent
from gems_gym_agents.online.agent import OnlineAgent
from tests.agents.tiny_env import TargetVectorEnv

OFF_POLICY = {"net_arch": (32, 32), "batch_size": 64, "learning_starts": 64, "buffer_size": 5_000}
ON_POLICY = {"net_arch": (32, 32), "rollout_steps": 5, "minibatches": 2, "epochs": 4}
AGENTS: dict[str, tuple[type[OnlineAgent], dict[str, Any]]] = {
    "td3": (TD3Agent, OFF_POLICY),
    "tqc": (TQCAgent, OFF_POLICY),
    "crossq": (CrossQAgent, OFF_POLICY),
    "ppo": (PPOAgent, ON_POLICY),
}
"""Those that learn on any observation; ``recurrent_ppo`` needs slates."""


def small(name: str, **options: Any) -> OnlineAgent:
    kind, usual = AGENTS[name]
    return kind(**usual | options)


def fitted(
    name: str,
    env: TargetVectorEnv | None = None,
    folder: Path | None = None,
    evaluate: Any = None,
    steps: int = 160,
    **options: Any,
) -> OnlineAgent:
    agent = small(name, **options)
    agent.fit(
        env or TargetVectorEnv(8), steps=steps, seed=0, directory=folder, evaluate=evaluate, progress=False
    )
    return agent
