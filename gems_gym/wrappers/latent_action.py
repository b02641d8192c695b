"""Continuous latent actions that a ranker turns into slates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorActionWrapper, VectorEnv
from gymnasium.vector.utils import batch_space

from gems_gym.rankers.base import Ranker, SamplingRanker, load_ranker
from gems_gym.wrappers._checks import fitting_part, users_started

_STREAM = 0x51A7E
"""Tells this stream apart from others that are seeded with the same number."""


class LatentAction(gym.ActionWrapper, RecordConstructorArgs):
    """Takes latent actions in ``[-1, 1]^n`` and shows the slates that a ranker makes of them.

    The wrapper is what turns a slate environment into one of ordinary continuous control (Deffayet et al., WSDM 2023):
    the agent picks a point in the ranker's latent space, whose bounds live in the ranker's file. Rewards, observations
    and infos are those of the wrapped environment.

    A vector version exists: :class:`VectorLatentAction`; both show the same slates, bit for bit.

    Action space:
        ``Box(-1, 1, (ranker.action_size,), float32)``. A latent that is not finite, out of the box or of another
        shape or dtype is a ``ValueError``: agents that explore past the box have to clip by themselves.

    Example:
        >>> import gymnasium as gym
        >>> import gems_gym
        >>> from gems_gym.rankers import load_ranker
        >>> from gems_gym.wrappers import LatentAction
        >>> env = gym.make("GemsSlate-diffuse_topdown-v0")
        >>> env = LatentAction(env, load_ranker("ranker.safetensors"))  # doctest: +SKIP
        >>> env.action_space  # doctest: +SKIP
        Box(-1.0, 1.0, (32,), float32)

    Change logs:
     * v0.1.0 - Added
    """

    def __init__(self, env: gym.Env, ranker: Ranker | str | os.PathLike[str]) -> None:
        """Puts a ranker before an environment.

        Args:
            env: A slate environment (its actions are slates), bare or wrapped.
            ranker: A ranker, or the name or file of one (only a string keeps ``env.spec`` fit for JSON).

        Raises:
            TypeError: ``ranker`` is not a ranker (a belief encoder, for example), or ``env`` shows no slates.
            ValueError: The ranker belongs to another catalogue or slate size.
        """
        # No deep copy: a ranker is never changed, and may be large.
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, ranker=ranker)
        gym.ActionWrapper.__init__(self, env)
        self.ranker: Ranker = fitting_part(ranker, "ranker", load_ranker, env)
        _check_takes_slates(env.action_space)
        self.action_space = latent_box(self.ranker)
        self._draws = SlateDraws(self.ranker, 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts a session; a seed is that of the slates of a ranker that draws, too."""
        result = self.env.reset(seed=seed, options=options)
        self._draws.reset([seed])
        return result

    def action(self, action: np.ndarray) -> np.ndarray:
        """The slate for a latent: ``(n,)`` floats in [-1, 1] to ``(slate_size,)`` int64 item ids."""
        latents = check_latents(action, (self.ranker.action_size,))
        found: np.ndarray = self._draws.rank(latents[None])[0]
        return found


class VectorLatentAction(VectorActionWrapper, RecordConstructorArgs):
    """The vector twin of :class:`LatentAction`: one latent per user, all ranked in one call.

    Works in every autoreset mode: a latent for a session that is about to be reset is ranked and then ignored, as
    vector environments do with such actions.

    Example:
        >>> import gymnasium as gym
        >>> import gems_gym
        >>> from gems_gym.rankers import load_ranker
        >>> from gems_gym.wrappers import VectorLatentAction
        >>> envs = gym.make_vec("GemsSlate-diffuse_topdown-v0", num_envs=64)
        >>> envs = VectorLatentAction(envs, load_ranker("ranker.safetensors"))  # doctest: +SKIP
        >>> envs.action_space.shape  # doctest: +SKIP
        (64, 32)

    Change logs:
     * v0.1.0 - Added
    """

    def __init__(self, env: VectorEnv, ranker: Ranker | str | os.PathLike[str]) -> None:
        """Puts a ranker before a vector environment; arguments and errors as in :class:`LatentAction`."""
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, ranker=ranker)
        super().__init__(env)
        self.ranker: Ranker = fitting_part(ranker, "ranker", load_ranker, env)
        _check_takes_slates(env.single_action_space)
        self.single_action_space = latent_box(self.ranker)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._draws = SlateDraws(self.ranker, self.num_envs)
        self._next_step = env.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)  # (num_envs,), in the last step

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts sessions; a user's seed is that of the user's slates, too, where the ranker draws."""
        started = users_started(options, self.num_envs)
        result = self.env.reset(seed=cast(int | None, seed), options=options)  # lists too
        if seed is None or isinstance(seed, int | np.integer):
            seeds = [None if seed is None else int(seed) + user for user in range(self.num_envs)]
        else:
            seeds = list(seed)
        self._draws.reset([one if new else None for one, new in zip(seeds, started, strict=True)])
        self._ended &= ~started
        return result

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Shows the slates for latents, see :meth:`actions`."""
        result = super().step(actions)
        self._ended = np.logical_or(result[2], result[3])
        return result

    def actions(self, actions: np.ndarray) -> np.ndarray:
        """The slates for latents: ``(num_envs, n)`` floats in [-1, 1] to ``(num_envs, slate_size)`` int64 item ids."""
        latents = check_latents(actions, (self.num_envs, self.ranker.action_size))
        return self._draws.rank(latents, idle=self._ended if self._next_step else None)


class SlateDraws:
    """Ranks for a fixed number of users, each with a random stream of its own if the ranker draws.

    A user's stream starts anew where a reset gives the user a seed, and continues where it gives none, as environments'
    own random numbers do. So a user's slates do not depend on how many others are stepped together.

    Args:
        ranker: Any ranker.
        num_users: Rows of the latents that it will be given.

    Attributes:
        random: Whether the ranker draws.
    """

    def __init__(self, ranker: Ranker, num_users: int) -> None:
        self._ranker = ranker
        self.random = isinstance(ranker, SamplingRanker) and ranker.sample
        self._generators = [np.random.default_rng() for _ in range(num_users if self.random else 0)]

    def reset(self, seeds: Sequence[int | None]) -> None:
        """Starts the streams of the users that have a seed; one entry a user."""
        for user, seed in enumerate(seeds):
            if self.random and seed is not None:
                self._generators[user] = np.random.default_rng([_STREAM, seed])

    def rank(self, latents: np.ndarray, idle: np.ndarray | None = None) -> np.ndarray:
        """Slates for latents ``(num_users, action_size)``; users in the mask ``idle`` leave their stream alone."""
        if not self.random:
            return self._ranker.rank(latents)
        generators = list(self._generators)
        if idle is not None:
            for user in np.flatnonzero(idle):
                generators[user] = np.random.default_rng(_STREAM)  # the slate is not shown
        return cast(SamplingRanker, self._ranker).rank(latents, generators)


def latent_box(ranker: Ranker) -> gym.spaces.Box:
    """The action space of a ranker: ``Box(-1, 1, (action_size,), float32)``."""
    return gym.spaces.Box(-1.0, 1.0, (ranker.action_size,), dtype=np.float32)


def check_latents(latents: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns latents as float32 of the given shape.

    Raises:
        ValueError: Another shape, a dtype that is not floating, a number that is not finite or outside [-1, 1].
    """
    latents = np.asarray(latents)
    if latents.shape != shape:
        raise ValueError(f"action has shape {latents.shape}; latents of shape {shape} were expected")
    if latents.dtype.kind != "f":
        raise ValueError(f"action has dtype {latents.dtype}; latents are floating point (float32)")
    latents = latents.astype(np.float32, copy=False)
    if not (np.abs(latents) <= 1.0).all():  # false for NaN too
        where = tuple(int(index) for index in np.argwhere(~(np.abs(latents) <= 1.0))[0])
        raise ValueError(
            f"action{list(where)} = {latents[where]}; latents are finite and in [-1, 1] (clip them first)"
        )
    return cast(np.ndarray, latents)


def _check_takes_slates(space: gym.Space[Any]) -> None:
    if not isinstance(space, gym.spaces.MultiDiscrete):
        raise TypeError(
            f"the environment's action space is {space}; slates, a MultiDiscrete, were expected. Is it inside a "
            f"latent-action wrapper already?"
        )
