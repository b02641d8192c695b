"""Soft actor-critic (Haarnoja et al., 2018, arXiv 1812.05905) on latent actions, through stable-baselines3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gymnasium.vector import VectorEnv

from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.options import SACOptions

if TYPE_CHECKING:
    from stable_baselines3 import SAC


class SACAgent(OnlineAgent):
    """Learns latent actions online with stable-baselines3's SAC, many users in lockstep.

    What is learned::

        y        = r + gamma·(1 − end)·(min_j Q'_j(s', a') − α·log π(a'|s')),  a' ~ π(s')
        L_critic = ½ Σ_j mean (Q_j(s, a) − y)²
        L_actor  = mean (α·log π(ã|s) − min_j Q_j(s, ã)),  ã ~ π(s)
        L_α      = −log α·mean (log π(ã|s) + target_entropy)

    s is the belief, a the latent, r the clicks times ``reward_scale``, ``end`` 1 where the user has left; a prime marks
    what follows and target networks. The weight of the entropy, α, begins at ``initial_entropy``.

    Args:
        **options: See :class:`SACOptions`.

    Examples:
        >>> agent = SACAgent(net_arch=(64, 64))
        >>> agent.options.gamma
        0.8
        >>> agent.fit(vector_env, steps=200_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
    """

    options_class = SACOptions
    options: SACOptions
    details_file = "sac.json"

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> SAC:
        """Makes SB3's model, perhaps with a policy that it starts from."""
        from gems_gym_agents.online.model import find_guide, make_sac

        start_from = self.options.start_from
        guide = None if start_from is None else find_guide(start_from, env)
        return make_sac(self.options, env, seed=seed, device=device, guide=guide)
