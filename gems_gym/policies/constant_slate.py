"""The best slate that never changes: what an agent must beat to show that it reacts to its users."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import gymnasium
import numpy as np
from annotated_types import Interval
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.check_messages import LARGEST
from gems_gym.common.checks import checked_arguments
from gems_gym.common.progress import track
from gems_gym.policies.base import SlatePolicy
from gems_gym.policies.paired_sessions import PairedSessions
from gems_gym.simulator import Catalog, check_slates
from gems_gym.user_splits import UserSeed, user_seeds
from gems_gym.world_config import WorldConfig

# Users that every candidate of a stage is tried on, and the share of all sessions that the stage may use. Few users
# find the way fast; many are needed in the end, since the search learns the very clicks of the users it sees.
_STAGES = ((32, 0.4), (128, 0.35), (512, 0.25))
_SWAP, _REPLACE_TWO = 0.2, 0.15  # else one item is replaced


Sessions = Annotated[int, Interval(ge=1_000, le=LARGEST)]
"""Sessions that a search plays."""


class ConstantSlate(SlatePolicy):
    """Shows one slate to every user at every step.

    Args:
        env: A slate environment, single or vector.
        slate: Item ids, ``(slate_size,)``; None searches for the best one on training users.
        sessions: Sessions that the search may play.
        seed: Seed of the search and of its training users.
        progress: Whether the search shows a progress bar on stderr.

    Attributes:
        slate: int64 ``(slate_size,)``.
    """

    privileged: ClassVar[bool] = False
    searches: ClassVar[bool] = True

    @checked_arguments
    def __init__(
        self,
        env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any],
        slate: Sequence[int] | NDArray[np.int64] | None = None,
        sessions: Sessions = 200_000,
        seed: UserSeed = 0,
        progress: bool = True,
    ) -> None:
        super().__init__(env)
        config, catalog = self.simulator.config, self.simulator.catalog
        if slate is None:
            slate = find_constant_slate(config, catalog, sessions=sessions, seed=seed, progress=progress)
        self.slate = check_slates(slate, (config.slate_size,), config.num_items, "slate").copy()

    def slates(self, state: None, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        return np.repeat(self.slate[None], self.simulator.num_users, axis=0)


@checked_arguments
def find_constant_slate(
    config: WorldConfig,
    catalog: Catalog,
    *,
    sessions: Sessions = 200_000,
    seed: UserSeed = 0,
    progress: bool = True,
) -> NDArray[np.int64]:
    """Search for the constant slate with the most clicks, by hill climbing on training users.

    A candidate replaces one or two items of the best slate so far by random ones, or swaps two positions, and is
    kept if the same users, with the same randomness, click more.

    Args:
        config: The world.
        catalog: Its items.
        sessions: Sessions to play in all, ≥ 1,000.
        seed: Seed of the search and block of training users.
        progress: Whether to show a progress bar on stderr.

    Returns:
        int64 ``(slate_size,)``.

    Raises:
        ValueError: Too few sessions.
    """
    rng = np.random.default_rng(seed)
    best = rng.choice(config.num_items, config.slate_size, replace=False)
    with track("best constant slate", sessions, progress) as advance:
        for num_users, share in _STAGES:
            users = PairedSessions(config, catalog, user_seeds("training", seed, num_users))
            best_clicks = users.clicks(best[None]).mean()
            for _ in range(int(share * sessions) // num_users):
                candidate = _changed(best, config.num_items, rng)
                clicks = users.clicks(candidate[None]).mean()
                if clicks > best_clicks:
                    best, best_clicks = candidate, clicks
                advance(num_users, note=f"{best_clicks:.1f} clicks")
    return best


def _changed(slate: NDArray[np.int64], num_items: int, rng: np.random.Generator) -> NDArray[np.int64]:
    changed = slate.copy()
    kind = rng.random()
    if kind < _SWAP and len(slate) > 1:
        i, j = rng.choice(len(slate), 2, replace=False)
        changed[i], changed[j] = slate[j], slate[i]
    else:
        count = 2 if kind < _SWAP + _REPLACE_TWO and len(slate) > 1 else 1
        for position in rng.choice(len(slate), count, replace=False):
            changed[position] = rng.integers(num_items)
    return changed
