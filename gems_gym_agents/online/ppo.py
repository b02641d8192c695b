"""PPO (Schulman et al., 2017, arXiv 1707.06347) on latent actions, through stable-baselines3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym.policies.actor import Actor
from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.options import OnPolicyOptions

if TYPE_CHECKING:
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm


@dataclass(frozen=True, kw_only=True)
class PPOOptions(OnPolicyOptions):
    """Settings of PPO: those of every agent that learns on policy."""

    agent: ClassVar[str] = "ppo"


class PPOAgent(OnlineAgent):
    """Learns a Gaussian policy of latent actions online, cut to the box, from rollouts of all users.

    What is learned::

        L   = −mean min(ρ·Â, clip(ρ, 1 − clip_range, 1 + clip_range)·Â)
              + ½ mean (V(s) − R)² − entropy_weight·mean H(π(s))
        ρ   = π(a|s) / π_old(a|s),  R = A + V_old(s),  Â = (A − mean A) / deviation of A
        A_t = Σ_k (gamma·gae_lambda)^k·δ_{t+k},  δ_t = r_t + gamma·V_old(s_{t+1}) − V_old(s_t)

    s is the belief, a the latent before it is cut, r the clicks, H the entropy; mean and deviation are those of a
    mini-batch, and "old" marks the networks that played the rollout. What would follow where a user has left counts as
    0.

    Args:
        **options: See :class:`PPOOptions`.
    """

    options_class: ClassVar[type[OnPolicyOptions]] = PPOOptions
    options: OnPolicyOptions

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> OnPolicyAlgorithm:
        """Makes SB3's model."""
        from stable_baselines3 import PPO

        from gems_gym_agents.online.settings import on_policy_settings

        return PPO("MlpPolicy", **on_policy_settings(self.options, env, seed=seed, device=device))

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> Actor:
        """Copies the mean of the Gaussian, cut to the box as SB3 cuts it."""
        from torch import nn

        from gems_gym_agents.actors import actor_from_modules

        return actor_from_modules(
            [model.policy.mlp_extractor.policy_net, model.policy.action_net, nn.Hardtanh()], metadata
        )
