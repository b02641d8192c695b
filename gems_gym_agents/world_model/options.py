"""Options of the world-model planner: typed, with the recipe's defaults, checked when they are given."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from gems_gym.common.checks import Count, Units, check_fields
from gems_gym_agents.user_model.options import Sessions


@dataclass(frozen=True, kw_only=True)
class WorldModelOptions:
    """Settings of the world-model planner; the defaults are the project's recipe.

    Attributes:
        embedding_size: Numbers in an item's embedding, and in a user's state.
        random_sessions: Sessions of random slates, for item embeddings.
        random_length: Steps of these.
        exploration_sessions: Sessions with many clicks, for the model.
        exploration_length: Steps of these, fewer where the environment ends sessions earlier.
        grouping_updates: Gradient updates while the network chooses the groups of items.
        updates: Gradient updates with these groups.
        atoms: Possible states of a new user, at most; one is learned from each of as many exploring sessions.
    """

    embedding_size: Units = 20
    random_sessions: Sessions = 507_904
    random_length: Count = 20
    exploration_sessions: Sessions = 20_480
    exploration_length: Annotated[int, Ge(2)] = 100
    grouping_updates: Count = 600
    updates: Count = 800
    atoms: Count = 512

    def __post_init__(self) -> None:
        check_fields(self)
