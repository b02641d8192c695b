"""One evaluator for policies and agents: many users at once, users by seed, intervals, paired differences."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.common.arrays import t_interval
from gems_gym.common.checks import checked_arguments
from gems_gym.common.progress import track
from gems_gym.policies import Policy, make_policy
from gems_gym.rollouts import play_sessions, user_batches

NUM_ENVS = 500
"""Users stepped together in evaluations; results do not depend on it."""


@dataclass(frozen=True)
class Evaluation:
    """What a policy reached on some users, one session each.

    Attributes:
        name: The policy.
        user_seeds: The users, in order.
        returns: Clicks of every user's session, float64 ``(num_users,)``.
        clicks_per_step: Mean clicks at every step of the session, float64 ``(steps of the longest,)``; users who have
            left click nothing.
        lengths: Steps of every user's session, int64 ``(num_users,)``.
        seconds: How long it took.
    """

    name: str
    user_seeds: tuple[int, ...] = field(repr=False)
    returns: NDArray[np.float64]  # (num_users,)
    clicks_per_step: NDArray[np.float64]  # (steps of the longest session,)
    lengths: NDArray[np.int64]  # (num_users,)
    seconds: float

    @property
    def mean_return(self) -> float:
        """Mean clicks a session."""
        return float(self.returns.mean())

    @property
    def mean_length(self) -> float:
        """Mean steps a session."""
        return float(self.lengths.mean())

    @property
    def ci95(self) -> float:
        """Half-width of the 95 % t-interval of the mean over users; infinite for one user."""
        return t_interval(self.returns)


@dataclass(frozen=True)
class References:
    """What 0 and 100 of the normalised score stand for: two policies on the evaluated users themselves.

    Attributes:
        random: Mean return of random slates: 0.
        boredom_aware_oracle: Mean return of the privileged planner: 100.
    """

    random: float
    boredom_aware_oracle: float

    def normalized_score(self, mean_return: float) -> float:
        """Where a return stands between random slates (0) and the boredom-aware oracle (100)."""
        return 100.0 * (mean_return - self.random) / (self.boredom_aware_oracle - self.random)


@checked_arguments
def evaluate(
    policy: Policy,
    env: VectorEnv[Any, Any, Any],
    user_seeds: Sequence[int],
    *,
    name: str = "policy",
    progress: bool = False,
) -> Evaluation:
    """Play one session with every user and count clicks.

    Args:
        policy: Acts in ``env``.
        env: A vector environment without autoreset, wrapped as the policy needs it.
        user_seeds: The users (see :func:`gems_gym.user_splits.user_seeds`); any number of them.
        name: What to call the policy.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ValueError: No users, or an environment with autoreset.
    """
    if len(user_seeds) == 0:
        raise ValueError("user_seeds must hold at least one user")
    start = time.perf_counter()
    rewards_by_user: list[NDArray[np.float64]] = []  # (batch, steps of its longest session) each
    lengths_by_user: list[NDArray[np.int64]] = []  # (batch,) each
    with track(f"evaluating {name}", len(user_seeds), progress) as advance:
        for seeds, count in user_batches(user_seeds, env.num_envs):
            rewards, lengths = [], np.zeros(count, np.int64)
            for moment in play_sessions(env, policy, seeds):
                if moment.rewards is not None:
                    rewards.append(moment.rewards[:count])
                    lengths += moment.playing[:count]
            rewards_by_user.append(np.stack(rewards, axis=1).astype(np.float64))
            lengths_by_user.append(lengths)
            advance(count)
    total = np.zeros(max(clicks.shape[1] for clicks in rewards_by_user))  # clicks at each step
    for clicks in rewards_by_user:
        total[: clicks.shape[1]] += clicks.sum(axis=0)
    return Evaluation(
        name,
        tuple(user_seeds),
        returns=np.concatenate([clicks.sum(axis=1) for clicks in rewards_by_user]),
        clicks_per_step=total / len(user_seeds),
        lengths=np.concatenate(lengths_by_user),
        seconds=time.perf_counter() - start,
    )


@checked_arguments
def measure_references(env: VectorEnv[Any, Any, Any], user_seeds: Sequence[int]) -> References:
    """Play the two policies that the normalised score is between, on the users that are evaluated.

    Args:
        env: A slate environment (not wrapped) without autoreset.
        user_seeds: The users.
    """
    random, planner = (
        evaluate(make_policy(name, env), env, user_seeds, name=name).mean_return
        for name in ("random", "boredom_aware_oracle")
    )
    return References(random, planner)


def paired_difference(first: Evaluation, second: Evaluation) -> tuple[float, float]:
    """How much better the first policy is than the second on the same users.

    Returns:
        Mean difference of the returns, and the half-width of its 95 % t-interval.

    Raises:
        ValueError: Evaluations of different users.
    """
    if first.user_seeds != second.user_seeds:
        raise ValueError(
            f"{first.name!r} and {second.name!r} were evaluated on different users; evaluate both on the same"
        )
    difference = first.returns - second.returns
    return float(difference.mean()), t_interval(difference)


class ValidationScore:
    """Scores an agent in training by its mean return on some users.

    Args:
        make_env: Makes the environment, wrapped for the agent and without autoreset, for a number of users; where
            an agent has a belief of its own, that is a second argument.
        user_seeds: Users to score on, from the validation split.

    Attributes:
        user_seeds: As given; an interrupted training resumes only with the same.
    """

    def __init__(self, make_env: Callable[..., VectorEnv[Any, Any, Any]], user_seeds: Sequence[int]) -> None:
        self.user_seeds = list(user_seeds)
        self._make_env = make_env
        self._count = min(len(user_seeds), NUM_ENVS)
        self._env = make_env(self._count)

    def __call__(self, policy: Policy, belief: BeliefEncoder | None = None) -> float:
        """Mean clicks a session of a policy, one session with each user.

        Args:
            policy: Acts in the environment.
            belief: The policy's own belief; None where it acts on the environment's.
        """
        env = self._env if belief is None else self._make_env(self._count, belief)
        return evaluate(policy, env, self.user_seeds).mean_return
