"""Options of the planner: typed, with the recipe's defaults, checked when they are given."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Interval

from gems_gym.common.checks import Checked, Count
from gems_gym.user_splits import USERS_PER_SEED

HELD_OUT = 1024
"""Exploring sessions that the model is checked by, beside those that it learns from."""
Sessions = Annotated[int, Interval(ge=1, le=USERS_PER_SEED // 2 - HELD_OUT)]
"""Sessions of a log: the random and the exploring ones share a block of users."""

SEARCH_STEPS = 6_336_000
"""Interactions of the search for a plan in the recipe."""


@dataclass(frozen=True, kw_only=True)
class LogOptions(Checked):
    """What an agent learns its model of users from.

    Attributes:
        random_sessions: Sessions of random slates, for item embeddings.
        random_length: Steps of these: later in a session boredom and drift blur what somebody likes.
        exploration_sessions: Sessions with many clicks, for the model; :data:`HELD_OUT` more are played to check it.
        exploration_length: Steps of these, fewer where the environment ends sessions earlier.
    """

    random_sessions: Sessions = 507_904
    random_length: Count = 20
    exploration_sessions: Sessions = 20_480
    exploration_length: Annotated[int, Ge(2)] = 100

    @property
    def logged_interactions(self) -> int:
        """Slates of both logs, where no session ends earlier."""
        exploring = (self.exploration_sessions + HELD_OUT) * self.exploration_length
        return self.random_sessions * self.random_length + exploring


@dataclass(frozen=True, kw_only=True)
class PlannerOptions(LogOptions):
    """Settings of the planner; the defaults are the project's recipe.

    Attributes:
        atoms: Vectors of the prior over users.
    """

    atoms: Count = 512
