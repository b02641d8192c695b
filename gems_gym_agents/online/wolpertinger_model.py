"""SB3's SAC whose critics choose among the items near to what its actor points at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.noise import ActionNoise
from torch import nn

from gems_gym.rankers import WknnRanker
from gems_gym_agents.actors import network_from_modules
from gems_gym_agents.online.refined_latents import RefinedLatents, refined


class RefiningSAC(SAC):
    """SB3's SAC; the actions that it takes, and learns from, are refined.

    Attributes:
        ranker: Ranker of the environment; set it before learning.
    """

    ranker: WknnRanker

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        latents, _ = super()._sample_action(learning_starts, action_noise, n_envs)
        beliefs = self._last_obs
        assert isinstance(beliefs, np.ndarray)  # of a flat Box
        actions = refined(self.ranker, beliefs, latents, self._least_values)
        return actions, actions  # in Box(-1, 1), where SB3 scales nothing

    @torch.no_grad()
    def _least_values(self, beliefs: np.ndarray, latents: np.ndarray) -> np.ndarray:
        given = (torch.as_tensor(one, device=self.device) for one in (beliefs, latents))
        values: np.ndarray = torch.cat(self.critic(*given), dim=1).min(dim=1).values.cpu().numpy()
        return values


def export_refined(model: RefiningSAC, metadata: dict[str, Any]) -> RefinedLatents:
    """Copies a model's deterministic policy into NumPy.

    Args:
        model: The trained model.
        metadata: JSON-able values to keep with it.
    """
    networks = {
        "actor": network_from_modules([model.actor.latent_pi, model.actor.mu, nn.Tanh()]),
        "first_critic": network_from_modules([model.critic.q_networks[0]]),
        "second_critic": network_from_modules([model.critic.q_networks[1]]),
    }
    return RefinedLatents(networks, model.ranker, metadata)
