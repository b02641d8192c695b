"""Worlds whose users are not of the family that the user model assumes."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.envs import SlateVectorEnv

KINDS = ("cascade", "peaked", "satiation", "churn", "jumps", "walk")


class OtherUsers(VectorEnv[Any, Any, Any]):
    """A world of ours with one thing changed.

    Args:
        num_users: Users stepped together; other numbers give other clicks.
        kind: What is changed; ``"family"``: nothing.
            ``"cascade"``: users read from the top and leave at the first click.
            ``"peaked"``: what is liked too well is as irrelevant as what is not liked.
            ``"satiation"``: each click takes some of its topic's appeal, which comes back by and by.
            ``"churn"``: when one topic bores, all do, as with SARDINE's users.
            ``"jumps"``: once in thirty steps a user wants something else.
            ``"walk"``: preferences change by themselves, and not by clicks.
        **world: Of :class:`~gems_gym.envs.SlateVectorEnv`.
    """

    def __init__(self, num_users: int, kind: str, **world: Any) -> None:
        if kind == "satiation":
            world["boredom_threshold"] = 99
        if kind == "walk":
            world["omega"] = 1.0
        self._env = SlateVectorEnv(num_users, **world, autoreset_mode="disabled")
        self._kind, self.num_envs = kind, num_users
        self.metadata = self._env.metadata
        self.single_action_space, self.action_space = self._env.single_action_space, self._env.action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self._rng = np.random.default_rng(seed)
        observations, _ = self._env.reset(seed=seed)
        self._appeal = np.ones((self.num_envs, self._env.config.num_topics))
        return observations, {}

    def step(self, actions: Any) -> Any:
        clicks = self._clicks(actions)
        uniforms = np.where(clicks, 0.0, 2.0).astype(np.float32)[:, None]
        shown = self._env.simulator.step(actions, uniforms)
        self._change(actions, clicks)
        over = self._env.simulator.truncated
        return {"slate": shown.slates, "clicks": shown.clicks}, shown.rewards, np.zeros_like(over), over, {}

    def _clicks(self, slates: NDArray[np.int64]) -> NDArray[np.bool_]:
        dynamics, users = self._env.simulator.dynamics, self._env.simulator.users
        appeal = np.repeat(np.where(self._bored(), 0.0, self._appeal), dynamics.topic_size, axis=1)
        scores = np.einsum("usd,ud->us", dynamics.items[slates], users.preference * appeal)
        above = scores / dynamics.max_score - dynamics.relevance_offset
        relevance = 1.0 / (1.0 + np.exp(-dynamics.relevance_slope * above))
        if self._kind == "peaked":
            relevance = np.exp(-((above / 0.1) ** 2))
        clicks: NDArray[np.bool_] = self._rng.random(slates.shape) < relevance * dynamics.propensities
        if self._kind == "cascade":
            clicks &= clicks.cumsum(axis=1) <= 1
        return clicks

    def _bored(self) -> NDArray[np.bool_]:
        """Who will be bored by which topics while looking at the next slate, ``(num_users, num_topics)``."""
        dynamics, users = self._env.simulator.dynamics, self._env.simulator.users
        remembered = np.arange(users.recent_topics.shape[1]) < users.num_recent_topics[:, None]
        clicks = (users.recent_topics[:, :, None] == np.arange(dynamics.num_topics)) & remembered[:, :, None]
        still = users.bored & (users.bored_timeout > 1)
        bored: NDArray[np.bool_] = still | (clicks.sum(axis=1) >= dynamics.boredom_threshold)
        if self._kind == "churn":
            bored[:] = np.any(bored, axis=1, keepdims=True)
        return bored

    def _change(self, slates: NDArray[np.int64], clicks: NDArray[np.bool_]) -> None:
        dynamics, users = self._env.simulator.dynamics, self._env.simulator.users
        if self._kind == "satiation":
            clicked = np.zeros_like(self._appeal)
            np.add.at(clicked, (np.nonzero(clicks)[0], dynamics.item_topics[slates[clicks]]), 1.0)
            self._appeal = 1.0 - 0.9 * (1.0 - self._appeal * 0.85**clicked)
        if self._kind == "jumps":
            jumping = self._rng.random(self.num_envs) < 1 / 30
            users.preference[jumping] = np.roll(
                users.preference[jumping],
                self._rng.integers(1, dynamics.num_topics) * dynamics.topic_size,
                axis=1,
            )
        if self._kind == "walk":
            noise = self._rng.normal(0.0, 0.3, self._appeal.shape)
            users.preference[:] *= np.repeat(np.exp(noise), dynamics.topic_size, axis=1)
            blocks = users.preference.reshape(*self._appeal.shape, -1)
            blocks /= np.linalg.norm(blocks, axis=2).sum(axis=1)[:, None, None]
