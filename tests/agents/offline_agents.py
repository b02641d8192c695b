"""The offline agents by the names of their entry points, for tests that are about all of them."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from gems_gym_agents.offline import (
    AWACAgent,
    BCAgent,
    BCQAgent,
    BEARAgent,
    CQLAgent,
    CRRAgent,
    DecisionDiffuserAgent,
    DecisionTransformerAgent,
    FlowQAgent,
    IQLAgent,
    OfflineReinforceAgent,
    OfflineSACAgent,
    OfflineTD3Agent,
    PLASAgent,
    PRDCAgent,
    ReBRACAgent,
    SACNAgent,
    TD3PlusBCAgent,
)
from gems_gym_agents.offline.agent import OfflineAgent

AGENTS: dict[str, type[OfflineAgent]] = {
    "td3_plus_bc": TD3PlusBCAgent,
    "rebrac": ReBRACAgent,
    "prdc": PRDCAgent,
    "cql": CQLAgent,
    "sac_n": SACNAgent,
    "iql": IQLAgent,
    "awac": AWACAgent,
    "crr": CRRAgent,
    "bc": BCAgent,
    "bcq": BCQAgent,
    "plas": PLASAgent,
    "bear": BEARAgent,
    "decision_transformer": DecisionTransformerAgent,
    "decision_diffuser": DecisionDiffuserAgent,
    "flow_q": FlowQAgent,
    "offline_sac": OfflineSACAgent,
    "offline_td3": OfflineTD3Agent,
    "offline_reinforce": OfflineReinforceAgent,
}

WITHOUT_Q = ("bc", "decision_transformer", "decision_diffuser", "offline_reinforce")


def act_once(policy: Any, beliefs: np.ndarray) -> np.ndarray:
    """The first latents of sessions with these beliefs, whether the policy has a memory or not."""
    actions: np.ndarray = policy.act(policy.open(range(len(beliefs))), beliefs)[0]
    return actions


def warmed_up(kind: type[OfflineAgent], updates: int) -> dict[str, Any]:
    """The option with which an agent that first learns a model of the behaviour does so for so many updates."""
    names = [field.name for field in fields(kind.options_class)]
    return {"warmup_steps": updates} if "warmup_steps" in names else {}
