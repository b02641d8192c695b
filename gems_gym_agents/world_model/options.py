"""Options of the world-model planner: typed, with the recipe's defaults, checked when they are given."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from gems_gym.common.checks import Count, Units
from gems_gym_agents.user_model.options import LogOptions


@dataclass(frozen=True, kw_only=True)
class WorldModelOptions(LogOptions):
    """Settings of the world-model planner; the defaults are the project's recipe.

    Attributes:
        embedding_size: Numbers in an item's embedding, and in a user's state.
        grouping_updates: Gradient updates while the network chooses the groups of items.
        updates: Gradient updates with these groups.
        atoms: Possible states of a new user, at most; one is learned from each of as many exploring sessions.
    """

    embedding_size: Units = 20
    grouping_updates: Count = 600
    updates: Count = 800
    atoms: Annotated[int, Ge(2)] = 512
