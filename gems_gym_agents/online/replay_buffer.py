"""SB3's replay buffer with the reward scale inside, so that environments and reports stay in raw clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from gems_gym.common.machine import check_fits_memory


class ScaledReplayBuffer(ReplayBuffer):
    """A ``ReplayBuffer`` that stores rewards times ``reward_scale``.

    Args:
        buffer_size: transitions it holds at most, over all users; its memory is taken at once.
        observation_space: of one user.
        action_space: of one user.
        device: where sampled batches go.
        n_envs: number of users stepped together.
        optimize_memory_usage: as in SB3.
        handle_timeout_termination: as in SB3: a truncated session is no terminal.
        reward_scale: factor on every reward, > 0.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
        reward_scale: float = 1.0,
    ) -> None:
        numbers = 2 * spaces.flatdim(observation_space) + spaces.flatdim(action_space) + 3
        check_fits_memory(f"buffer_size={buffer_size}", 4 * numbers * buffer_size)
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs=n_envs,
            optimize_memory_usage=optimize_memory_usage,
            handle_timeout_termination=handle_timeout_termination,
        )
        self.reward_scale = reward_scale

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Stores one step of all users; ``reward`` (num_users,) comes unscaled."""
        super().add(obs, next_obs, action, reward * self.reward_scale, done, infos)
