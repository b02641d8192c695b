"""Which simulated users serve which purpose: disjoint, documented ranges of seeds.

A user is a seed. Environments seeded by hand (``env.reset(seed=0)``) meet *training* users;
logging, validation and test users have ranges of their own, so that no evaluation can meet a user that an
agent, a ranker or a belief was trained on.
"""

from typing import Annotated, Literal, get_args

from annotated_types import Interval

from gems_gym.common.checks import WholeNumber, checked_arguments

UserSplit = Literal["training", "validation", "test", "logging"]
SPLITS: tuple[UserSplit, ...] = get_args(UserSplit)

_SEEDS_PER_SPLIT = 2**40
USERS_PER_SEED = 2**20
"""Users that one seed of a split stands for; seed s + 1 begins behind the last of them."""

UserSeed = Annotated[int, Interval(ge=0, le=_SEEDS_PER_SPLIT // USERS_PER_SEED - 1)]
"""A seed that stands for a block of users."""
Users = Annotated[int, Interval(ge=1, le=USERS_PER_SEED)]
"""A number of users of one block."""

REPORTS_SEED = 2**19
"""First seed of the logging users that rankers and beliefs are measured on: what is trained has seeds below."""
PIPELINE_SEEDS = 2**18
"""Seeds of whole pipelines are below: their parts log users of blocks that lie further back."""
PipelineSeed = Annotated[int, Interval(ge=0, le=PIPELINE_SEEDS - 1)]
"""A seed of a whole pipeline."""
LowSeed = Annotated[int, Interval(ge=0, le=REPORTS_SEED - 1)]
"""A seed of what is trained, or of a report, whose logging users are as many blocks behind :data:`REPORTS_SEED`."""


@checked_arguments
def user_seeds(split: UserSplit, seed: UserSeed, count: Users, start: WholeNumber = 0) -> list[int]:
    """Seeds of ``count`` users of a split.

    Seed ``s`` of a split is the block of 2^20 users that begins at ``split · 2^40 + s · 2^20`` (splits in the
    order training, validation, test, logging), so blocks of different seeds or splits never share a user.

    Args:
        split: What the users are for.
        seed: Which block of users, in [0, 2^20).
        count: How many users, ≥ 1.
        start: How many users of the block to skip, ≥ 0; ``start + count`` ≤ 2^20.

    Returns:
        ``count`` integers to hand to ``reset(seed=...)``.

    Raises:
        ValueError: An unknown split, or a number out of range.
    """
    if start + count > USERS_PER_SEED:
        raise ValueError(
            f"a seed stands for {USERS_PER_SEED} users: start + count must be at most that, "
            f"got start={start}, count={count}"
        )
    first = SPLITS.index(split) * _SEEDS_PER_SPLIT + seed * USERS_PER_SEED + start
    return list(range(first, first + count))
