"""A small world for tests of the user model: its environments, what is true of it, and logs."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.envs import SlateVectorEnv
from gems_gym_agents.user_model.logs import Log, SlateUsers, exploration_log
from gems_gym_agents.user_model.model import Rules, UserModel

WORLD: dict[str, Any] = {"preset": "focused_mix", "num_items": 100, "num_topics": 5, "episode_length": 30}
RULES = Rules(boredom_threshold=5, memory=10, window=5, timeout=5)


def make_users(num_users: int) -> SlateVectorEnv:
    """The world for a number of users."""
    return SlateVectorEnv(num_users, **WORLD, autoreset_mode="disabled")


class OnlySlates(VectorEnv[Any, Any, Any]):
    """The world, its items in another order, with nothing to see but slates and clicks."""

    def __init__(self, num_users: int, order: NDArray[np.int64] | None = None) -> None:
        self._env = make_users(num_users)
        self._order = np.arange(WORLD["num_items"]) if order is None else order
        self._back = np.argsort(self._order)
        self.num_envs, self.metadata = num_users, {"autoreset_mode": self._env.autoreset_mode}
        self.single_action_space = self._env.single_action_space
        self.action_space = self._env.action_space

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        return self._seen(self._env.reset(seed=seed)[0])

    def step(self, actions: Any) -> Any:
        observations, *rest, _ = self._env.step(self._order[actions])
        observations, infos = self._seen(observations)
        return observations, *rest, infos

    def _seen(self, observations: Any) -> tuple[Any, dict[str, Any]]:
        seen = {"slate": self._back[observations["slate"]], "clicks": observations["clicks"]}
        return seen, dict(seen)


@cache
def truth() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Items, their topics and the positions' propensities: what only tests look at."""
    dynamics = make_users(1).simulator.dynamics
    return dynamics.items, dynamics.item_topics, dynamics.propensities


@cache
def true_model() -> UserModel:
    """A model that holds what is true."""
    items, topics, propensities = truth()
    env = make_users(512)
    env.reset(seed=0)
    prior = env.simulator.users.preference.copy()
    return UserModel(items, topics, 2, propensities, 100.0, 0.9, RULES, prior)


@cache
def log() -> Log:
    """Exploring sessions; neighbours are those of the true items."""
    users = SlateUsers(make_users(1024))
    return exploration_log(users, np.random.SeedSequence(0), 0, 6144, 30, truth()[0], progress=False)
