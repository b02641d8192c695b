"""A logging policy that needs no oracle: slates that were searched by their clicks, with random items mixed in."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import gymnasium
import numpy as np
from annotated_types import Interval
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.check_messages import LARGEST
from gems_gym.common.checks import Probability, checked_arguments
from gems_gym.common.progress import track
from gems_gym.policies.paired_sessions import PairedSessions
from gems_gym.policies.random_base import DrawingPolicy, Drawn
from gems_gym.policies.slate_search import SlateSearch
from gems_gym.user_splits import UserSeed, user_seeds

_NUM_SLATES, _USERS_PER_SLATE = 256, 2
"""Few users for each slate, so that the slates suit different users; what suits all comes from their number."""


class SearchedSlates(DrawingPolicy):
    """Shows every user one of many searched slates, each position replaced by a random item with probability ε.

    The slates are found by :class:`~gems_gym.policies.slate_search.SlateSearch`, from clicks alone: each is climbed
    on two training users of its own, so they differ as users' tastes do. It is what rankers learn from: good slates
    of many kinds, and their neighbourhoods.

    Args:
        env: A slate environment, single or vector.
        epsilon: Probability of a random item, in [0, 1].
        sessions: Sessions that the search plays, ≥ 1,024.
        seed: Seed of the search, and block of its training users.
        progress: Whether the search shows a progress bar on stderr.

    Attributes:
        searched: The slates, int64 ``(256, slate_size)``.

    Raises:
        ValueError: Too few sessions, or an ε that is no probability.
    """

    privileged: ClassVar[bool] = False
    searches: ClassVar[bool] = True

    @checked_arguments
    def __init__(
        self,
        env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
        epsilon: Probability = 0.3,
        sessions: Annotated[int, Interval(ge=1_024, le=LARGEST)] = 400_000,
        seed: UserSeed = 0,
        progress: bool = True,
    ) -> None:
        super().__init__(env)
        together = _NUM_SLATES * _USERS_PER_SLATE
        self.epsilon = epsilon
        config, catalog = self.simulator.config, self.simulator.catalog
        search = SlateSearch(config.num_items, config.slate_size, _NUM_SLATES, np.random.default_rng(seed))
        users = PairedSessions(
            config, catalog, user_seeds("training", seed, together), _NUM_SLATES, shared=False
        )
        with track("searching slates", sessions, progress) as advance:
            search.climb(users, sessions // together - 1, advance)
        self.searched = search.slates

    def start(self, rngs: Sequence[np.random.Generator]) -> tuple[NDArray[np.int64], Drawn]:
        """Begin drawing from one generator a user; its first number chooses the user's slate."""
        chosen = self.searched[[rng.integers(_NUM_SLATES) for rng in rngs]]  # (num_users, slate_size)
        return chosen, super().start(rngs)

    def slates(self, state: tuple[NDArray[np.int64], Drawn], observations: Any) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        chosen, drawn = state
        slates = chosen.copy()
        for position, items in enumerate(self.next_drawn(drawn).T):
            # A slate that holds the item already keeps its own there: no item twice.
            new = (items >= 0) & (slates != items[:, None]).all(axis=1)
            slates[new, position] = items[new]
        return slates

    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.int64]:
        """Draw random items, and −1 for positions that stay the searched slate's, int64 ``(steps, slate_size)``."""
        config = self.simulator.config
        shape = (steps, config.slate_size)
        items = rng.integers(config.num_items, size=shape)
        return np.where(rng.random(shape, dtype=np.float32) < self.epsilon, items, -1)
