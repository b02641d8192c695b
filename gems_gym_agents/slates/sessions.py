"""Sessions that an agent plays to learn from them, the same however many users are served together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from gems_gym.policies.base import Shown, policy_rng
from gems_gym.rollouts import user_batches

Chooser: TypeAlias = Callable[[NDArray[np.float32], Sequence[np.random.Generator]], NDArray[Any]]
"""Beliefs ``(num_users, belief_size)`` and a generator for each user -> actions, explored ones."""


@dataclass(frozen=True)
class Sessions:
    """Complete sessions; those that ended before the longest are filled up with steps that do not count.

    Attributes:
        beliefs: float32 ``(num_sessions, length + 1, belief_size)``: before each action, and after the last one.
        actions: ``(num_sessions, length + 1, …)``: int64 slates or float32 latents; the last one was chosen, not shown.
        clicks: int8 ``(num_sessions, length, slate_size)``: on what each action showed. Their number is the reward.
        playing: bool ``(num_sessions, length)``: which steps count.
        left: bool ``(num_sessions,)``: whose user left, so that nothing follows the last step.
    """

    beliefs: NDArray[np.float32]
    actions: NDArray[Any]
    clicks: NDArray[np.int8]
    playing: NDArray[np.bool_]
    left: NDArray[np.bool_]

    @property
    def interactions(self) -> int:
        """Steps that count."""
        return int(self.playing.sum())

    @property
    def rewards(self) -> NDArray[np.float32]:
        """Clicks of each step that counts, float32 ``(num_sessions, length)``."""
        clicks: NDArray[np.float32] = (self.clicks.sum(axis=2) * self.playing).astype(np.float32)
        return clicks

    @property
    def continues(self) -> NDArray[np.bool_]:
        """Whether something follows a step, bool ``(num_sessions, length)``; sessions that are only cut continue."""
        last = self.playing.sum(axis=1) - 1
        continues = np.ones_like(self.playing)
        continues[np.flatnonzero(self.left), last[self.left]] = False
        return continues

    def returns(self, gamma: float, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Discounted rewards from each step on, float32 ``(num_sessions, length)``; undefined where none counts.

        Args:
            gamma: Discount factor.
            values: What is expected after each belief, float32 ``(num_sessions, length + 1)``: the last one counts for
                what was cut off.
        """
        rewards, continues = self.rewards, self.continues
        returns = np.empty_like(rewards)
        following = values[:, -1]
        for step in reversed(range(rewards.shape[1])):
            cut = step + 1 < rewards.shape[1] and ~self.playing[:, step + 1]
            following = np.where(cut, values[:, step + 1], following)
            following = rewards[:, step] + np.float32(gamma) * continues[:, step] * following
            returns[:, step] = following
        return returns


def play(env: VectorEnv[Any, Any, Any], choose: Chooser, seeds: Sequence[int]) -> Sessions:
    """Play a session with each of some users.

    Args:
        env: Environment of beliefs, see :func:`check_users`.
        choose: Chooses the actions.
        seeds: The users. Sessions depend on neither how many of them the environment serves together nor whom.
    """
    batches = [_batch(env, choose, batch, count) for batch, count in user_batches(seeds, env.num_envs)]
    length = max(one.playing.shape[1] for one in batches)
    arrays = {
        name: np.concatenate([_filled_up(vars(one)[name], length - one.playing.shape[1]) for one in batches])
        for name in vars(batches[0])
    }
    return Sessions(**arrays)


def _batch(env: VectorEnv[Any, Any, Any], choose: Chooser, seeds: Sequence[int], count: int) -> Sessions:
    """Sessions of as many users as the environment serves together, the first ``count`` of which are wanted."""
    observations, _ = env.reset(seed=list(seeds))  # type: ignore[arg-type]  # lists too
    # a copy: an environment may write into its arrays again
    observations = np.array(observations, np.float32)
    rngs = [policy_rng(seed) for seed in seeds]
    beliefs, actions = [observations], [choose(observations, rngs)]
    clicks, played, left = [], [], np.zeros(len(seeds), np.bool_)
    playing = np.ones(len(seeds), np.bool_)
    while playing[:count].any():
        observations, _, terminated, truncated, infos = env.step(actions[-1])
        if "clicks" not in infos:
            raise ValueError(
                "source says nothing of clicks in its infos: an environment of gems_gym was expected"
            )
        observations = np.array(observations, np.float32)
        clicked, ended = infos["clicks"], terminated | truncated
        if ended.any():  # the rows of these are the first of their next sessions, which nobody asked for
            clicked = clicked.copy()
            observations[ended] = np.stack(infos["final_obs"][ended])
            clicked[ended] = infos["final_info"]["clicks"][ended]
        clicks.append(clicked.astype(np.int8))
        played.append(playing)
        left |= playing & terminated
        playing = playing & ~ended
        beliefs.append(observations)
        actions.append(choose(observations, rngs))
    steps = {"beliefs": beliefs, "actions": actions, "clicks": clicks, "playing": played}
    arrays = {name: np.stack(rows, axis=1)[:count] for name, rows in steps.items()}
    return Sessions(**arrays, left=left[:count])


def _filled_up(array: NDArray[Any], missing: int) -> NDArray[Any]:
    """An array of sessions with so many more steps, all zero."""
    if array.ndim == 1:  # nothing of steps
        return array
    return np.pad(array, [(0, 0), (0, missing)] + [(0, 0)] * (array.ndim - 2))


def with_random_items(
    slates: NDArray[np.int64], share: float, num_items: int, rngs: Sequence[np.random.Generator]
) -> NDArray[np.int64]:
    """Slates some of whose items are replaced by random ones: ε-greedy exploration, position by position.

    Args:
        slates: int64 ``(num_users, slate_size)``.
        share: Share of positions, in [0, 1].
        num_items: Items to draw from; what is drawn may stand in the slate already.
        rngs: A generator for each user.
    """
    slate_size = slates.shape[1]
    drawn = [(rng.random(slate_size), rng.integers(num_items, size=slate_size)) for rng in rngs]
    chances, items = (np.stack(one) for one in zip(*drawn, strict=True))
    return np.where(chances < share, items, slates)


def check_users(env: VectorEnv[Any, Any, Any], chosen: Shown) -> None:
    """Raise a clear error unless an agent can learn from an environment.

    Args:
        env: What was given as ``source``.
        chosen: What the agent chooses.

    Raises:
        TypeError: No vector environment.
        ValueError: Observations that are no beliefs, other actions, slates that are longer than the catalogue, or
            another autoreset mode than SAME_STEP.
    """
    if not isinstance(env, VectorEnv):
        raise TypeError(
            f"source={env!r} is a {type(env).__name__}; a gymnasium.vector.VectorEnv was expected"
        )
    seen, action = env.single_observation_space, env.single_action_space
    if not (isinstance(seen, spaces.Box) and len(seen.shape) == 1):
        raise ValueError(
            f"source has the observation space {seen}; beliefs were expected: wrap it in VectorBeliefObservation"
        )
    if chosen == "latents":
        in_unit_box = (
            isinstance(action, spaces.Box) and np.all(action.low == -1.0) and np.all(action.high == 1.0)
        )
        if not in_unit_box or len(action.shape or ()) != 1:
            raise ValueError(
                f"source has the action space {action}; Box(-1, 1, (n,)) was expected: wrap it in VectorLatentAction"
            )
    elif not (isinstance(action, spaces.MultiDiscrete) and len(set(action.nvec.tolist())) == 1):
        raise ValueError(f"source has the action space {action}; slates, a MultiDiscrete, were expected")
    elif action.nvec[0] < len(action.nvec):
        raise ValueError(
            f"source has slates of {len(action.nvec)} and {action.nvec[0]} items: too few to fill one"
        )
    if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
        raise ValueError(
            f"source has the autoreset mode {env.metadata.get('autoreset_mode')}; SAME_STEP was expected"
        )
