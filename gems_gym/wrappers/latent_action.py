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

from gems_gym.rankers.base import Ranker, load_ranker
from gems_gym.wrappers._checks import check_fits
from gems_gym.wrappers._draws import SlateDraws


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
            env: a slate environment (its actions are slates), bare or wrapped.
            ranker: a ranker, or the name or file of one (only a string keeps ``env.spec`` fit for JSON).

        Raises:
            TypeError: ``ranker`` is not a ranker (a belief encoder, for example), or ``env`` shows no slates.
            ValueError: the ranker belongs to another catalogue or slate size.
        """
        # No deep copy: a ranker is never changed, and may be large.
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, ranker=ranker)
        gym.ActionWrapper.__init__(self, env)
        self.ranker = _as_ranker(ranker)
        check_fits(self.ranker, "ranker", env)
        _check_takes_slates(env.action_space, gym.spaces.MultiDiscrete)
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
        self.ranker = _as_ranker(ranker)
        check_fits(self.ranker, "ranker", env)
        _check_takes_slates(env.single_action_space, gym.spaces.MultiDiscrete)
        self.single_action_space = latent_box(self.ranker)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._draws = SlateDraws(self.ranker, self.num_envs)
        self._next_step = env.metadata.get("autoreset_mode") is AutoresetMode.NEXT_STEP
        self._ended = np.zeros(
            self.num_envs, dtype=np.bool_
        )  # (num_envs,) sessions that ended in the last step

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Starts sessions; a user's seed is that of the user's slates, too, where the ranker draws."""
        mask = (options or {}).get("reset_mask")
        # Copied before the environment sees it: it may take the mask out of the options, or write into it.
        started = np.ones(self.num_envs, dtype=np.bool_) if mask is None else np.array(mask)
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


def latent_box(ranker: Ranker) -> gym.spaces.Box:
    """The action space of a ranker: ``Box(-1, 1, (action_size,), float32)``."""
    return gym.spaces.Box(-1.0, 1.0, (ranker.action_size,), dtype=np.float32)


def check_latents(latents: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Returns latents as float32 of the given shape.

    Raises:
        ValueError: another shape, a dtype that is not floating, a number that is not finite or outside [-1, 1].
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


def _as_ranker(ranker: Ranker | str | os.PathLike[str]) -> Ranker:
    if isinstance(ranker, str | os.PathLike):
        return load_ranker(ranker)
    if not callable(getattr(ranker, "rank", None)):
        kind = getattr(ranker, "kind", type(ranker).__name__)
        raise TypeError(
            f"ranker={ranker!r} is a {kind}, which has no rank(latents) method; a ranker was expected, for example "
            f"gems_gym.rankers.load_ranker(file)"
        )
    return ranker


def _check_takes_slates(space: gym.Space[Any], expected: type[gym.Space[Any]]) -> None:
    if not isinstance(space, expected):
        raise TypeError(
            f"the environment's action space is {space}; slates, a {expected.__name__}, were expected. "
            f"Is it inside a latent-action wrapper already?"
        )
