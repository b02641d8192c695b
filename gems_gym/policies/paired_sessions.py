"""The same users with the same randomness under one constant slate after another: what a search compares."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gems_gym.simulator import Catalog, make_simulator
from gems_gym.simulator.users import Openings, draw_session_uniforms
from gems_gym.world_config import WorldConfig


class PairedSessions:
    """Sessions of the same users, played again and again with slates that never change.

    A user meets the randomness that ``reset(seed=...)`` of an environment would give, so clicks are those of
    :class:`~gems_gym.policies.constant_slate.ConstantSlate` there, click by click. Users are drawn once.

    Args:
        config: The world.
        catalog: Its items.
        seeds: The users, one seed each (see :mod:`gems_gym.user_splits`).
        num_slates: Slates that are tried together.
        shared: Whether all slates are tried on all these users; if not, the users are split among the slates in
            their order.

    Attributes:
        num_users: Users that each slate is tried on.
        num_slates: Slates that are tried together.
    """

    def __init__(
        self,
        config: WorldConfig,
        catalog: Catalog,
        seeds: Sequence[int],
        num_slates: int = 1,
        *,
        shared: bool = True,
    ) -> None:
        if not shared and len(seeds) % num_slates:
            raise ValueError(
                f"seeds holds {len(seeds)} users, which can't be split among num_slates={num_slates}"
            )
        copies = num_slates if shared else 1
        self.num_users, self.num_slates = copies * len(seeds) // num_slates, num_slates
        self._steps = config.episode_length
        self._simulator = make_simulator(config, catalog, copies * len(seeds))
        rngs = [np.random.default_rng(seed) for seed in seeds]
        drawn = self._simulator.draw_openings(rngs)
        uniforms = [draw_session_uniforms(config, rng) for rng in rngs]
        self._openings = Openings(*(np.concatenate([array] * copies) for array in drawn))
        self._uniforms = np.tile(np.stack(uniforms), (copies, 1, 1))

    def clicks_by_position(self, slates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Show every user one slate at every step of a session.

        Args:
            slates: Item ids, int64 ``(num_slates, slate_size)``.

        Returns:
            Clicks of each session on each position, float64 ``(num_slates, num_users, slate_size)``.
        """
        shown = np.repeat(slates, self.num_users, axis=0)
        self._simulator.open_given_sessions(**self._openings._asdict())
        total = np.zeros(shown.shape)
        for _ in range(self._steps):
            staying = ~self._simulator.users.left[:, None]
            total += self._simulator.step(shown, self._uniforms).clicks * staying
        return total.reshape(self.num_slates, self.num_users, -1)

    def clicks(self, slates: NDArray[np.int64]) -> NDArray[np.float64]:
        """Clicks of each session, float64 ``(num_slates, num_users)``, of slates as above."""
        found: NDArray[np.float64] = self.clicks_by_position(slates).sum(axis=2)
        return found
