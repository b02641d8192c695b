"""A feed so small that its best slates are known by enumeration, as a vector environment of beliefs.

Items 0 … 4; position k is looked at with probability ``PROPENSITIES[k]``, and item i is then clicked with probability
``INTEREST[i]``, ``SPOILED`` times that while the user is in a bad mood. Item 0 is clicked most, but spoils the mood for
the next step. The belief says the mood: (1, 0) or (0, 1).
"""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

PROPENSITIES = np.array([0.6, 0.9])
INTEREST = np.array([0.8, 0.6, 0.5, 0.3, 0.2])
SPOILED = 0.2
MOODS = np.eye(2, dtype=np.float32)
"""Beliefs of a good mood and of a bad one."""
SLATES = [np.array(slate) for slate in permutations(range(len(INTEREST)), len(PROPENSITIES))]


def chances(slates: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Probabilities of clicks, ``(…, slate_size)``."""
    return PROPENSITIES * INTEREST[slates] * np.where(bad, SPOILED, 1.0)[..., None]


def values(gamma: float, policy: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """What follows the two moods, ``(2,)``, under the best of all slates, or of those for each mood."""
    slates = [SLATES if policy is None else np.atleast_2d(policy[mood]) for mood in range(2)]
    found = np.zeros(2)
    for _ in range(200):
        found = np.array([
            max(slate_value(found, gamma, mood, slate) for slate in slates[mood])
            for mood in range(2)
        ])  # fmt: skip
    return found


def slate_value(following: np.ndarray, gamma: float, mood: int, slate: np.ndarray) -> float:
    """Of a slate in a mood, if the moods after it are worth so much."""
    clicks = chances(slate, np.bool_(mood))
    spoiled = float(clicks[slate == 0].sum())
    return float(clicks.sum() + gamma * ((1 - spoiled) * following[0] + spoiled * following[1]))


class TinyFeed(VectorEnv):
    """The feed, in sessions of 10 steps.

    Acted on in slates, or, if ``latents``, in two numbers of [-1, 1], which are clicked as they are close to 0.5 and
    -0.5; moods stay good then.
    """

    length = 10

    def __init__(self, num_envs: int = 8, *, latents: bool = False) -> None:
        self.num_envs, self.latents = num_envs, latents
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.single_action_space = (
            spaces.Box(-1.0, 1.0, (2,), np.float32) if latents else spaces.MultiDiscrete([len(INTEREST)] * 2)
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.generators = [np.random.default_rng(one) for one in seed]
        self.bad, self.step_number = np.zeros(self.num_envs, np.bool_), 0
        return MOODS[self.bad.astype(int)], {}

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        assert self.action_space.contains(actions)
        uniforms = np.stack([rng.random(2) for rng in self.generators])
        if self.latents:
            clicks = uniforms < 1.0 - np.abs(actions - [0.5, -0.5]) / 1.5
        else:
            clicks = uniforms < chances(actions, self.bad)
            self.bad = (clicks & (actions == 0)).any(axis=1)
        self.step_number += 1
        ended = np.full(self.num_envs, self.step_number == self.length)
        seen, infos = MOODS[self.bad.astype(int)], {"clicks": clicks.astype(np.int8)}
        if ended.all():
            final = np.empty(self.num_envs, object)
            final[:] = list(seen)
            infos = {"clicks": np.zeros_like(infos["clicks"]), "final_obs": final, "final_info": infos}
            self.bad, self.step_number = np.zeros(self.num_envs, np.bool_), 0
            seen = MOODS[self.bad.astype(int)]
        return seen, clicks.sum(axis=1).astype(np.float32), np.zeros_like(ended), ended, infos
