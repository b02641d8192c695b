"""Lets stable-baselines3 train on a Gymnasium vector environment whose users are stepped as one batch.

SB3's own vector environments step one environment after another. Here the batch stays a batch; per-user Python work
is left only where SB3's interface asks for it: a dict for each user, filled when that user's session ends.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvObs, VecEnvStepReturn

from gems_gym_agents.layers import layers_of


class GymnasiumVecEnv(VecEnv):
    """A stable-baselines3 ``VecEnv`` over a ``gymnasium.vector.VectorEnv``.

    At the end of a session ``infos[i]`` holds what SB3 needs: ``terminal_observation`` (the last observation of the
    ended session; the returned one is the first of the next), ``TimeLimit.truncated`` (true where the session was cut
    by its horizon: targets then bootstrap through the end), and ``episode``, the statistics that SB3's ``Monitor``
    gives (``r``: the unscaled return, ``l``: length in steps, ``t``: seconds since construction). At all other steps
    the dicts are empty: read the vector environment's own infos from :attr:`last_infos`.

    Args:
        env: A vector environment in the autoreset mode SAME_STEP. It is not copied; ``close`` closes it.

    Raises:
        TypeError: ``env`` is not a vector environment.
        ValueError: Its autoreset mode is not SAME_STEP.

    Examples:
        >>> from stable_baselines3 import SAC                                                    # doctest: +SKIP
        >>> model = SAC(LayerNormSACPolicy, GymnasiumVecEnv(venv), gamma=0.8, ent_coef="auto_0.05")  # doctest: +SKIP
    """

    last_infos: dict[str, Any]
    """The batched infos of the latest reset or step, as the vector environment gave them."""

    def __init__(self, env: VectorEnv) -> None:
        if not isinstance(env, VectorEnv):
            raise TypeError(
                f"env={env!r} is a {type(env).__name__}; a gymnasium.vector.VectorEnv was expected"
            )
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            shown = mode.name if isinstance(mode, AutoresetMode) else repr(mode)
            raise ValueError(
                f"env has the autoreset mode {shown}; stable-baselines3 expects SAME_STEP: "
                "make the vector environment with autoreset_mode='same_step' "
                "(gymnasium's own: autoreset_mode=AutoresetMode.SAME_STEP)"
            )
        self.env = env
        # Copies: SB3 seeds the spaces it is given, and the caller's spaces should keep their random state.
        spaces = copy.deepcopy((env.single_observation_space, env.single_action_space))
        super().__init__(env.num_envs, *spaces)
        self.last_infos = {}
        self._reset_with: int | list[int] | None = None
        self._actions: np.ndarray | None = None
        self._returns = np.zeros(self.num_envs)  # (num_users,)
        self._lengths = np.zeros(self.num_envs, dtype=np.int64)  # (num_users,)
        self._started = time.perf_counter()

    def seed(self, seed: int | Sequence[int] | None = None) -> list[int | None]:
        """Sets the seeds of the next ``reset``.

        Args:
            seed: User i gets ``seed + i``, or ``seed[i]``; ``None`` leaves the choice to the environment.

        Returns:
            The seed of each user.

        Raises:
            ValueError: A sequence that does not hold one seed per user.
        """
        if seed is None:
            self._reset_with = None
            self._seeds = [None] * self.num_envs
        elif isinstance(seed, int | np.integer):
            self._reset_with = int(seed)
            self._seeds = [int(seed) + user for user in range(self.num_envs)]
        else:
            if len(seed) != self.num_envs:
                raise ValueError(f"seed holds {len(seed)} seeds for {self.num_envs} users: give one each")
            self._reset_with = [int(value) for value in seed]
            self._seeds = list(self._reset_with)
        return self._seeds

    def reset(self) -> VecEnvObs:
        """Starts a session for every user, with the seeds set by :meth:`seed` (used once) and the options set."""
        options = self._options[0] if self._options and self._options[0] else None
        observations, self.last_infos = self.env.reset(seed=self._reset_with, options=options)  # type: ignore[arg-type]
        self._reset_with = None
        self._reset_seeds()
        self._reset_options()
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._returns[:] = 0.0
        self._lengths[:] = 0
        found: VecEnvObs = copy.deepcopy(observations)
        return found

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions (num_users, action_size) that :meth:`step_wait` executes."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all users at once: observations, rewards float32 (num_users,), dones bool (num_users,), infos."""
        if self._actions is None:
            raise RuntimeError("step_wait was called before step_async")
        observations, rewards, terminations, truncations, self.last_infos = self.env.step(self._actions)
        self._actions = None
        rewards = np.asarray(rewards, dtype=np.float32)  # (num_users,)
        dones = np.logical_or(terminations, truncations)  # (num_users,)
        self._returns += rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        if dones.any():
            self._describe_ended(infos, np.flatnonzero(dones), terminations)
        # SB3 keeps the observations until the next step, and the environment may reuse its array.
        return copy.deepcopy(observations), rewards, dones, infos

    def _describe_ended(
        self, infos: list[dict[str, Any]], ended: np.ndarray, terminations: np.ndarray
    ) -> None:
        final_observations = self.last_infos["final_obs"]  # (num_users,) objects
        seconds = round(time.perf_counter() - self._started, 6)
        for user in ended.tolist():
            infos[user] = {
                "terminal_observation": final_observations[user],
                "TimeLimit.truncated": not terminations[user],
                "episode": {"r": float(self._returns[user]), "l": int(self._lengths[user]), "t": seconds},
            }
        self._returns[ended] = 0.0
        self._lengths[ended] = 0

    @property
    def session_steps(self) -> np.ndarray:
        """(num_users,) int64: how many steps of the session each user has seen."""
        return self._lengths.copy()

    def close(self) -> None:
        """Closes the vector environment."""
        self.env.close()

    def get_images(self) -> Sequence[np.ndarray | None]:
        """One picture per user, where the vector environment renders them."""
        frames: Any = self.env.render()
        return [None] * self.num_envs if frames is None else list(frames)

    # The users of one vector environment share one object: an attribute or a method belongs to all of them at once.

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of the vector environment (or of what it wraps), once for each index."""
        value = self._holder(attr_name)
        return [value] * len(self._users(indices))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the innermost vector environment, for all users.

        Raises:
            ValueError: ``indices`` leaves users out.
        """
        if len(set(self._users(indices))) != self.num_envs:
            raise ValueError(
                f"indices={indices!r}: the {self.num_envs} users share one environment object, so that {attr_name!r} "
                "can only be set for all of them (indices=None)"
            )
        setattr(self.env.unwrapped, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: VecEnvIndices = None, **method_kwargs: Any
    ) -> list[Any]:
        """Calls a method of the vector environment once, and returns its result once for each index."""
        result = self._holder(method_name)(*method_args, **method_kwargs)
        return [result] * len(self._users(indices))

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None) -> list[bool]:
        """Says whether a wrapper of this class lies around the vector environment.

        It is true for SB3's ``Monitor``, since the infos hold the same unscaled ``episode`` statistics.
        """
        wrapped = issubclass(wrapper_class, Monitor) or any(
            isinstance(layer, wrapper_class) for layer in layers_of(self.env)
        )
        return [wrapped] * len(self._users(indices))

    def _holder(self, name: str) -> Any:
        for layer in layers_of(self.env):
            if hasattr(layer, name):
                return getattr(layer, name)
        raise AttributeError(f"neither {self.env} nor what it wraps has {name!r}")

    def _users(self, indices: VecEnvIndices) -> list[int]:
        return list(self._get_indices(indices))
