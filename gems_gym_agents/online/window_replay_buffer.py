"""A replay buffer that keeps single moments of sessions and gives windows of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

from gems_gym_agents.online.replay_buffer import ScaledReplayBuffer
from gems_gym_agents.online.session_moments import MomentLayout


class WindowReplayBuffer(ScaledReplayBuffer):
    """Samples have the last ``window`` moments of a session where SB3's have the last one.

    A window holds fewer where its session has just begun or earlier moments are no longer kept; it is filled up with
    rows whose step is negative. The moments of a user lie one after another, so nothing is stored twice for it.

    Args:
        *args: as :class:`ScaledReplayBuffer`.
        window: moments in a window, at least 1.
        layout: of a moment.
        **kwargs: as :class:`ScaledReplayBuffer`.
    """

    def __init__(self, *args: Any, window: int, layout: MomentLayout, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.window = window
        self.layout = layout

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        """Transitions at the given rows, each of a random user; observations ``(batch, window * width)``."""
        users = torch.randint(self.n_envs, (len(batch_inds),)).numpy()
        kept = (
            (batch_inds - self.pos) % self.buffer_size + 1 if self.full else batch_inds + 1
        )  # since the oldest
        steps = self.observations[batch_inds, users, self.layout.step].astype(np.int64)
        known = np.minimum(kept, steps + 1)  # moments of the session up to this one that are there
        arrays = (
            self._windows(self.observations[batch_inds, users], batch_inds, users, known),
            self.actions[batch_inds, users],
            self._windows(self.next_observations[batch_inds, users], batch_inds + 1, users, known + 1),
            (self.dones[batch_inds, users] * (1 - self.timeouts[batch_inds, users]))[:, None],
            self.rewards[batch_inds, users][:, None],
        )
        return ReplayBufferSamples(*map(self.to_torch, arrays))

    def _windows(
        self, last: np.ndarray, rows: np.ndarray, users: np.ndarray, known: np.ndarray
    ) -> np.ndarray:
        """Windows that end with the given moments ``(batch, width)``, which come where ``rows`` are."""
        lengths = np.minimum(known, self.window)  # (batch,)
        places = np.arange(self.window) + (rows - lengths + 1)[:, None]  # (batch, window)
        windows = self.observations[places % self.buffer_size, users[:, None]]  # (batch, window, width)
        windows[np.arange(len(rows)), lengths - 1] = last
        windows[..., self.layout.step][np.arange(self.window) >= lengths[:, None]] = -1.0
        found: np.ndarray = windows.reshape(len(rows), -1)
        return found
