"""Beliefs in the place of the last slate and its clicks."""

from __future__ import annotations

import os
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from gems_gym.beliefs.base import BeliefEncoder, State, load_belief, rows_chosen, rows_of
from gems_gym.wrappers._checks import fitting_part, users_started


class BeliefObservation(gym.Wrapper, RecordConstructorArgs):
    """Observes what a belief encoder makes of the session so far: a summary in place of the last slate and its clicks.

    A slate environment shows only the last slate; what the user likes and is bored of has to be gathered from all of
    them. At reset the belief starts from nothing and takes in the first slate; every step takes in the slate that was
    shown and the clicks on it. Infos are untouched, so the raw slate and clicks stay in sight.

    A vector version exists: :class:`VectorBeliefObservation`; both give the same beliefs, bit for bit.

    Observation space:
        ``Box(-1, 1, (encoder.size,), float32)``

    Example:
        >>> import gymnasium as gym
        >>> import gems_gym
        >>> from gems_gym.beliefs import GruBelief
        >>> from gems_gym.wrappers import BeliefObservation
        >>> env = gym.make("GemsSlate-diffuse_topdown-v0")
        >>> catalog_hash = env.unwrapped.catalog.hash
        >>> encoder = GruBelief.random(num_items=1000, slate_size=10, catalog_hash=catalog_hash, seed=0)
        >>> env = BeliefObservation(env, encoder)
        >>> observation, info = env.reset(seed=1)
        >>> observation.shape, info["slate"].shape
        ((20,), (10,))

    Change logs:
     * v0.1.0 - Added
    """

    def __init__(self, env: gym.Env, encoder: BeliefEncoder | str | os.PathLike[str]) -> None:
        """Puts a belief encoder behind an environment.

        Args:
            env: A slate environment (observations are a dict of slate and clicks), bare or wrapped.
            encoder: A belief encoder, or the file of one (only a string keeps ``env.spec`` fit for JSON).

        Raises:
            TypeError: ``encoder`` is not a belief encoder (a ranker, for example), or ``env`` shows no slates.
            ValueError: The encoder belongs to another catalogue or slate size.
        """
        # No deep copy: an encoder is never changed, and may be large.
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, encoder=encoder)
        gym.Wrapper.__init__(self, env)
        self.encoder: BeliefEncoder = fitting_part(encoder, "encoder", load_belief, env)
        _check_shows_slates(env.observation_space)
        self.observation_space = belief_box(self.encoder)
        self._state: State | None = None  # of one user

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts a session: the belief after the first slate, ``(size,)`` float32, and the environment's info."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._fold(self.encoder.initial(1), observation), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """Steps the environment; the belief takes in the slate just shown and its clicks."""
        if self._state is None:
            raise gym.error.ResetNeeded(
                "step() was called before the first reset(); call env.reset(seed=...) first"
            )
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._fold(self._state, observation), reward, terminated, truncated, info

    def _fold(self, state: State, observation: dict[str, np.ndarray]) -> np.ndarray:
        self._state = self.encoder.update(state, observation["slate"][None], observation["clicks"][None])
        found: np.ndarray = self.encoder.read(self._state)[0].copy()  # the caller may write into its own
        return found


class VectorBeliefObservation(VectorWrapper, RecordConstructorArgs):
    """The vector twin of :class:`BeliefObservation`: one belief per user, all updated in one call.

    Every belief follows its own session in each of Gymnasium's autoreset modes:

    * same-step: where a session ended, the observation returned is the belief of the *new* session after its first
      slate, and ``infos["final_obs"][i]`` is the ended session's last belief, ``(size,)`` float32;
    * next-step: the step after the end returns the new session's first belief;
    * disabled: beliefs start anew at ``reset``, only those of ``options["reset_mask"]`` where it is given.

    Infos are otherwise those of the wrapped environment.

    Example:
        >>> import gymnasium as gym
        >>> import gems_gym
        >>> from gems_gym.beliefs import GruBelief
        >>> from gems_gym.wrappers import VectorBeliefObservation
        >>> envs = gym.make_vec("GemsSlate-diffuse_topdown-v0", num_envs=64)
        >>> catalog_hash = envs.unwrapped.catalog.hash
        >>> encoder = GruBelief.random(num_items=1000, slate_size=10, catalog_hash=catalog_hash, seed=0)
        >>> envs = VectorBeliefObservation(envs, encoder)
        >>> observations, infos = envs.reset(seed=1)
        >>> observations.shape
        (64, 20)

    Change logs:
     * v0.1.0 - Added
    """

    def __init__(self, env: VectorEnv, encoder: BeliefEncoder | str | os.PathLike[str]) -> None:
        """Puts a belief encoder behind a vector environment; arguments and errors as in :class:`BeliefObservation`.

        Raises:
            ValueError: As there, or ``env.metadata`` names no ``autoreset_mode``: without it it is unknown which
                observation belongs to which session.
        """
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, encoder=encoder)
        super().__init__(env)
        self.encoder: BeliefEncoder = fitting_part(encoder, "encoder", load_belief, env)
        _check_shows_slates(env.single_observation_space)
        mode = env.metadata.get("autoreset_mode")
        if not isinstance(mode, AutoresetMode):
            raise ValueError(
                f"env.metadata['autoreset_mode'] is {mode!r}; one of {list(AutoresetMode)} was expected"
            )
        self._mode = mode
        self.single_observation_space = belief_box(self.encoder)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._states: State | None = None  # of all users
        self._ended = np.zeros(self.num_envs, dtype=np.bool_)  # (num_envs,), in the last step

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts sessions, all or those of ``options["reset_mask"]``, a bool ``(num_envs,)``, and their beliefs."""
        started = users_started(options, self.num_envs)
        observations, infos = self.env.reset(seed=cast(int | None, seed), options=options)  # lists too
        previous = self.encoder.initial(self.num_envs) if self._states is None else self._states
        first = self._update(self.encoder.initial(self.num_envs), observations)
        self._states = rows_chosen(started, first, previous)
        self._ended &= ~started
        return self.encoder.read(self._states).copy(), infos

    def step(self, actions: Any) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """Steps every environment; each belief takes in the slate just shown to its user and the clicks on it."""
        if self._states is None:
            raise gym.error.ResetNeeded(
                "step() was called before the first reset(); call envs.reset(seed=...) first"
            )
        observations, rewards, terminations, truncations, infos = self.env.step(actions)
        ended = np.logical_or(terminations, truncations)
        # Rows of `observations` that are the first of a new session start from nothing.
        starts = {AutoresetMode.SAME_STEP: ended, AutoresetMode.NEXT_STEP: self._ended}.get(self._mode)
        before = previous = self._states
        if starts is not None and starts.any():
            before = rows_chosen(starts, self.encoder.initial(self.num_envs), previous)
        self._states = self._update(before, observations)
        self._ended = ended
        if "final_obs" in infos:
            infos = {**infos, "final_obs": self._final_beliefs(previous, infos)}
        return self.encoder.read(self._states).copy(), rewards, terminations, truncations, infos

    def _final_beliefs(self, previous: State, infos: dict[str, Any]) -> np.ndarray:
        """The last beliefs of the sessions that ended: an object array of ``(size,)`` float32 or None."""
        rows = np.flatnonzero(infos["_final_obs"])
        final = [infos["final_obs"][row] for row in rows]
        stacked = {key: np.stack([observation[key] for observation in final]) for key in ("slate", "clicks")}
        beliefs = np.full(self.num_envs, None, dtype=object)
        last = self.encoder.read(self._update(rows_of(previous, rows), stacked))
        for row, belief in zip(rows, last, strict=True):
            beliefs[row] = belief
        return beliefs

    def _update(self, states: State, observations: dict[str, np.ndarray]) -> State:
        return self.encoder.update(states, observations["slate"], observations["clicks"])


def belief_box(encoder: BeliefEncoder) -> gym.spaces.Box:
    """The observation space of a belief encoder: ``Box(-1, 1, (size,), float32)``."""
    return gym.spaces.Box(-1.0, 1.0, (encoder.size,), dtype=np.float32)


def _check_shows_slates(space: gym.Space[Any]) -> None:
    if not (isinstance(space, gym.spaces.Dict) and {"slate", "clicks"} <= set(space.spaces)):
        raise TypeError(
            f"the environment's observation space is {space}; a Dict of 'slate' and 'clicks' was expected. "
            f"Is it inside a belief wrapper already?"
        )
