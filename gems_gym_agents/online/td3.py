"""TD3 (Fujimoto et al., 2018, arXiv 1802.09477) on latent actions, through stable-baselines3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium.spaces import flatdim
from gymnasium.vector import VectorEnv

from gems_gym.common.checks import Count, NonNegative
from gems_gym.policies.actor import Actor
from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.options import TargetOptions

if TYPE_CHECKING:
    from stable_baselines3 import TD3


@dataclass(frozen=True, kw_only=True)
class TD3Options(TargetOptions):
    """Settings of TD3.

    Attributes:
        exploration_noise: Standard deviation of the noise on actions in training, in every latent dimension, ≥ 0.
        target_noise: Standard deviation of the noise on the target policy's actions, ≥ 0.
        target_noise_clip: What that noise is cut to, ≥ 0.
        policy_delay: Critics' updates for each of the actor, ≥ 1.
    """

    agent: ClassVar[str] = "td3"

    exploration_noise: NonNegative = 0.3
    target_noise: NonNegative = 0.2
    target_noise_clip: NonNegative = 0.5
    policy_delay: Count = 2


class TD3Agent(OnlineAgent):
    """Learns a deterministic policy of latent actions online, by critics that learn from the lower of their two values.

    What is learned::

        y        = r + gamma·(1 − end)·min_j Q'_j(s', clip(π'(s') + ε))
        ε        = clip(N(0, target_noise²), ±target_noise_clip)
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        L_actor  = −mean Q_1(s, π(s)),  once in policy_delay updates

    s is the belief, a the latent, r the clicks times ``reward_scale``, ``end`` 1 where the user has left; a prime marks
    what follows and target networks.

    Args:
        **options: See :class:`TD3Options`.
    """

    options_class = TD3Options
    options: TD3Options

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> TD3:
        """Makes SB3's model, exploring with Gaussian noise."""
        from stable_baselines3 import TD3
        from stable_baselines3.common.noise import NormalActionNoise
        from stable_baselines3.td3.policies import TD3Policy

        from gems_gym_agents.online.settings import target_settings

        size = flatdim(env.single_action_space)
        return TD3(
            action_noise=NormalActionNoise(np.zeros(size), np.full(size, self.options.exploration_noise)),
            policy_delay=self.options.policy_delay,
            target_policy_noise=self.options.target_noise,
            target_noise_clip=self.options.target_noise_clip,
            **target_settings(self.options, env, TD3Policy, "mu", seed=seed, device=device),
        )

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> Actor:
        """Copies the actor without its noise."""
        from gems_gym_agents.actors import actor_from_modules

        return actor_from_modules([model.actor.mu], metadata)
