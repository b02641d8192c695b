"""Playing sessions: many users in lockstep with one policy. Logging, collection and evaluation all go through here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from gems_gym.policies.base import Policy, tell_rewards


@dataclass(frozen=True)
class Moment:
    """What there is to know at one step of the sessions of many users.

    Attributes:
        step: 0 for the opening of the sessions, then 1, 2, ….
        observations: What the users' agent sees now, batched.
        infos: The environment's infos of this step, batched.
        actions: What led here, batched; None at the opening.
        rewards: float32 ``(num_users,)``, 0 where the session had ended before; None at the opening.
        playing: bool ``(num_users,)``: whose session this step is part of. The other rows are of sessions that nobody
            asked for.
        left: bool ``(num_users,)``: whose session ends here since the user left.
    """

    step: int
    observations: Any
    infos: dict[str, Any]
    actions: NDArray[Any] | None
    rewards: NDArray[Any] | None
    playing: NDArray[np.bool_]
    left: NDArray[np.bool_]


def play_sessions(
    env: VectorEnv[Any, Any, Any], policy: Policy, user_seeds: Sequence[int]
) -> Iterator[Moment]:
    """Play one complete session of every user.

    A user whose session ends before the others' is followed by another one, whom nobody looks at: all users of a vector
    environment take the same number of steps.

    Args:
        env: A vector environment (wrapped or not) without autoreset: ``autoreset_mode="disabled"``.
        policy: Acts in it.
        user_seeds: The users, as many as the environment steps together.

    Yields:
        The opening, then every step, until all sessions have ended.

    Raises:
        ValueError: An environment with autoreset, or another number of users.
    """
    if env.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
        raise ValueError(
            "env must have autoreset_mode='disabled' to play complete sessions, got "
            f"{env.metadata.get('autoreset_mode')}"
        )
    if len(user_seeds) != env.num_envs:
        raise ValueError(
            f"user_seeds must hold one seed per user, num_envs={env.num_envs}; got {len(user_seeds)}"
        )
    observations, infos = env.reset(seed=list(user_seeds))  # type: ignore[arg-type]
    state = policy.open(user_seeds)
    playing, nobody = np.ones(env.num_envs, np.bool_), np.zeros(env.num_envs, np.bool_)
    yield Moment(0, observations, infos, None, None, playing, nobody)
    step = 0
    while True:
        actions, state = policy.act(state, observations)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        step += 1
        rewards = rewards if playing.all() else np.where(playing, rewards, 0)
        state = tell_rewards(policy, state, rewards)
        yield Moment(step, observations, infos, actions, rewards, playing, playing & terminated)
        ended = terminated | truncated
        playing = playing & ~ended
        if not playing.any():
            return
        if ended.any():
            observations, _ = env.reset(options={"reset_mask": ended})


def user_batches(user_seeds: Sequence[int], num_envs: int) -> Iterator[tuple[list[int], int]]:
    """Split users over a fixed number of environments.

    Yields:
        ``num_envs`` seeds and how many of them count: the last batch is filled up with its last user.
    """
    for start in range(0, len(user_seeds), num_envs):
        batch = list(user_seeds[start : start + num_envs])
        yield batch + [batch[-1]] * (num_envs - len(batch)), len(batch)
