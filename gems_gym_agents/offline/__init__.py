"""Agents that learn from a recorded dataset, through d3rlpy: one module a family, options beside the agents.

- :mod:`~gems_gym_agents.offline.td3`: TD3+BC, ReBRAC, PRDC; :mod:`~gems_gym_agents.offline.sac`: CQL, SAC-N;
  :mod:`~gems_gym_agents.offline.advantage`: IQL, AWAC, CRR; :mod:`~gems_gym_agents.offline.imitation`: BC, BCQ, PLAS,
  BEAR; :mod:`~gems_gym_agents.offline.decision_transformer`; :mod:`~gems_gym_agents.offline.any_algorithm`: whatever
  else d3rlpy has; :mod:`~gems_gym_agents.offline.negative_controls`: TD3, SAC and REINFORCE as they are.
- Learners of our own, in ``…_learner``: :mod:`~gems_gym_agents.offline.flow_q`,
  :mod:`~gems_gym_agents.offline.decision_diffuser`.
- :mod:`~gems_gym_agents.offline.agent`: what they share; :mod:`~gems_gym_agents.offline.loop`: how they are trained;
  :mod:`~gems_gym_agents.offline.replay_buffer`: what from. These policies act otherwise than
  :class:`~gems_gym.policies.actor.Actor`: :mod:`~gems_gym_agents.offline.sequence_policy`,
  :mod:`~gems_gym_agents.offline.candidates`, :mod:`~gems_gym_agents.offline.drawing_policy`,
  :mod:`~gems_gym_agents.offline.diffuser_policy`.

This package imports nothing heavy: agents import d3rlpy when they are fitted, and the one of that name when it is
made. Only :mod:`gems_gym_agents.offline.replay_buffer`, :mod:`gems_gym_agents.offline.reinforce` and the learners
import it at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gems_gym.common.checks import Seed, checked_arguments
from gems_gym.datasets.reader import check_is_dataset
from gems_gym_agents.base import DivergedError
from gems_gym_agents.library_state import import_library
from gems_gym_agents.offline.advantage import AWACAgent, CRRAgent, IQLAgent
from gems_gym_agents.offline.any_algorithm import D3rlpyAgent
from gems_gym_agents.offline.decision_diffuser import DecisionDiffuserAgent
from gems_gym_agents.offline.decision_transformer import DecisionTransformerAgent
from gems_gym_agents.offline.flow_q import FlowQAgent
from gems_gym_agents.offline.imitation import BCAgent, BCQAgent, BEARAgent, PLASAgent
from gems_gym_agents.offline.negative_controls import (
    OfflineReinforceAgent,
    OfflineSACAgent,
    OfflineTD3Agent,
)
from gems_gym_agents.offline.sac import CQLAgent, SACNAgent
from gems_gym_agents.offline.td3 import PRDCAgent, ReBRACAgent, TD3PlusBCAgent

if TYPE_CHECKING:
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

__all__ = [
    "AWACAgent",
    "BCAgent",
    "BCQAgent",
    "BEARAgent",
    "CQLAgent",
    "CRRAgent",
    "D3rlpyAgent",
    "DecisionDiffuserAgent",
    "DecisionTransformerAgent",
    "DivergedError",
    "FlowQAgent",
    "IQLAgent",
    "OfflineReinforceAgent",
    "OfflineSACAgent",
    "OfflineTD3Agent",
    "PLASAgent",
    "PRDCAgent",
    "ReBRACAgent",
    "SACNAgent",
    "TD3PlusBCAgent",
    "load_replay_buffer",
]


@checked_arguments
def load_replay_buffer(source: Any, *, seed: Seed = 0) -> SessionReplayBuffer:
    """Reads a Minari dataset into a replay buffer for any algorithm of d3rlpy.

    Every transition of the dataset is one transition of the buffer, the last of a session included: a session
    that ends by its length is truncated, and its last transition bootstraps from the observation that followed.

    Args:
        source: A ``minari.MinariDataset`` (complete, filtered or split), or the id of a local one. Observations
            must be a one-dimensional ``Box`` (the beliefs of a latent dataset), actions a ``Box`` within [-1, 1].
        seed: Seed of the sampling of mini-batches.

    Returns:
        The replay buffer.

    Raises:
        ValueError: If the spaces are others, a number is NaN, or an action lies outside [-1, 1].
        ImportError: If d3rlpy or Minari is not installed; it names the extra.
        FileNotFoundError: If there is no local dataset of that id.

    Examples:
        >>> buffer = load_replay_buffer("gems-slate/diffuse_topdown/medium-v0", seed=1)  # doctest: +SKIP
        >>> algorithm = d3rlpy.algos.TD3PlusBCConfig(gamma=0.8).create(device="cpu")  # doctest: +SKIP
        >>> algorithm.fit(buffer, n_steps=10_000, n_steps_per_epoch=1_000)  # doctest: +SKIP
    """
    check_is_dataset(source, "source")
    import_library("d3rlpy")
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

    return SessionReplayBuffer.from_minari(source, seed=seed)
