"""A vector environment that SAC solves in seconds: copy part of the observation into the action."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space


class TargetVectorEnv(VectorEnv):
    """Observation (target_0, target_1, clock); reward 1 - mean |action - target|; a new target at every step.

    Sessions of ``length`` steps: user i's first session is ``i`` steps shorter if ``staggered``. ``terminate`` ends
    them by termination instead of truncation. Each user draws from its own generator.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}

    def __init__(
        self, num_envs: int = 8, length: int = 5, *, staggered: bool = False, terminate: bool = False
    ) -> None:
        self.num_envs = num_envs
        self.length = length
        self.staggered = staggered
        self.terminate = terminate
        self.single_observation_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.single_action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.seeds: list[int] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        if seed is None:
            seed = np.random.SeedSequence().generate_state(self.num_envs).tolist()
        self.seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        self.generators = [np.random.default_rng(value) for value in self.seeds]
        self.clock = np.arange(self.num_envs) if self.staggered else np.zeros(self.num_envs, dtype=np.int64)
        self._draw()
        return self._observe(), {"seed": np.array(self.seeds)}

    def _draw(self) -> None:
        self.targets = np.array([rng.uniform(-0.8, 0.8, 2) for rng in self.generators], dtype=np.float32)

    def _observe(self) -> np.ndarray:
        return np.column_stack([self.targets, self.clock / self.length]).astype(np.float32)

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        assert actions.shape == (self.num_envs, 2)
        rewards = (1.0 - np.abs(actions - self.targets).mean(axis=1)).astype(np.float32)
        self.clock = self.clock + 1
        self._draw()
        ended = self.clock >= self.length
        infos: dict[str, Any] = {}
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            last = self._observe()
            for user in np.flatnonzero(ended):
                final[user] = last[user]
                self.targets[user] = self.generators[user].uniform(-0.8, 0.8, 2)
            self.clock = np.where(ended, 0, self.clock)
            infos = {"final_obs": final, "_final_obs": ended, "final_info": {}, "_final_info": ended}
        none = np.zeros(self.num_envs, dtype=bool)
        terminations, truncations = (ended, none) if self.terminate else (none, ended)
        return self._observe(), rewards, terminations, truncations, infos
