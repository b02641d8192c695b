"""Playing sessions: many users in lockstep with one policy. Logging, collection and evaluation all go through here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from gems_gym.policies.base import Policy


@dataclass(frozen=True)
class Moment:
    """What there is to know at one step of the sessions of many users.

    Attributes:
        step: 0 for the opening of the sessions, then 1, 2, ….
        observations: What the users' agent sees now, batched.
        infos: The environment's infos of this step, batched.
        actions: What led here, batched; None at the opening.
        rewards: float32 ``(num_users,)``; None at the opening.
    """

    step: int
    observations: Any
    infos: dict[str, Any]
    actions: NDArray[Any] | None = None
    rewards: NDArray[Any] | None = None


def play_sessions(
    env: VectorEnv[Any, Any, Any], policy: Policy, user_seeds: Sequence[int]
) -> Iterator[Moment]:
    """Play one complete session of every user.

    Args:
        env: A vector environment (wrapped or not) without autoreset: ``autoreset_mode="disabled"``.
        policy: Acts in it.
        user_seeds: The users, as many as the environment steps together.

    Yields:
        The opening, then every step, until all sessions are truncated.

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
    yield Moment(0, observations, infos)
    step, ended = 0, False
    while not ended:
        actions, state = policy.act(state, observations)
        observations, rewards, _, truncated, infos = env.step(actions)
        step, ended = step + 1, bool(truncated.all())
        yield Moment(step, observations, infos, actions, rewards)


def user_batches(user_seeds: Sequence[int], num_envs: int) -> Iterator[tuple[list[int], int]]:
    """Split users over a fixed number of environments.

    Yields:
        ``num_envs`` seeds and how many of them count: the last batch is filled up with its last user.
    """
    for start in range(0, len(user_seeds), num_envs):
        batch = list(user_seeds[start : start + num_envs])
        yield batch + [batch[-1]] * (num_envs - len(batch)), len(batch)
