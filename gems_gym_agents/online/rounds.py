"""How a training is cut into rounds, and how many starts are trained in each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium.vector import VectorEnv

from gems_gym.user_splits import USERS_PER_SEED


@dataclass(frozen=True, kw_only=True)
class Round:
    """A stretch of training, after which policies are validated and from which an interrupted run resumes.

    Attributes:
        number: from 0.
        first: interactions of a start before it.
        end: interactions of a start after it.
        starts: how many starts are trained in it.
        left: how many of them are trained on.
    """

    number: int
    first: int
    end: int
    starts: int
    left: int

    @property
    def dropped(self) -> int:
        """Interactions in it of all starts but one."""
        return (self.starts - 1) * (self.end - self.first)


def plan_rounds(env: VectorEnv, *, validate_every: int, steps: int, starts: int) -> list[Round]:
    """Rounds of ``validate_every`` interactions, rounded up to complete sessions of all users.

    Args:
        env: what is learned in.
        validate_every: interactions.
        steps: interactions of a start that is not dropped, rounded up to complete vector steps.
        starts: how many starts begin.

    Raises:
        ValueError: more rounds than the users of a seed suffice for.
    """
    length = getattr(getattr(env.unwrapped, "config", None), "episode_length", 1)
    sessions = env.num_envs * length  # one of each user
    every = -(-validate_every // sessions) * sessions
    last = -(-steps // env.num_envs) * env.num_envs
    count = -(-last // every)
    if count * env.num_envs > USERS_PER_SEED:
        raise ValueError(
            f"validate_every={validate_every}: {count} rounds, each with {env.num_envs} new users, need more than "
            f"the {USERS_PER_SEED} users of a seed; validate less often"
        )
    ends = [*range(every, last, every), last]
    counts = [*starts_in_rounds(starts, len(ends)), 1]
    return [
        Round(number=number, first=first, end=end, starts=counts[number], left=counts[number + 1])
        for number, (first, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]


def starts_in_rounds(starts: int, rounds: int) -> list[int]:
    """How many starts are trained in each round: half of them, rounded up, after 1, 2, 4, ... rounds.

    Successive halving (Jamieson & Talwalkar, 2016, arXiv 1502.07943), with rounds for a budget.

    Examples:
        >>> starts_in_rounds(8, 6)
        [8, 4, 2, 2, 1, 1]
    """
    return [-(-starts // 2 ** done.bit_length()) for done in range(rounds)]


def start_seeds(seed: int, starts: int) -> Sequence[int]:
    """The first start has the run's own seed; the others' are made of it, 20 bits each, as ``user_seeds`` wants."""
    return [seed, *(np.random.SeedSequence(seed).generate_state(starts - 1) >> 12).tolist()]
