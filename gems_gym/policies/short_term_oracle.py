"""The greedy oracle: what the user likes most now."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gems_gym.policies.base import SlatePolicy


class ShortTermOracle(SlatePolicy):
    """The items with the highest scores under the user's present preference and boredom, best first.

    Greedy and privileged: the "short-term oracle" of arXiv 2301.08632, Section 5.
    """

    privileged: ClassVar[bool] = True

    def slates(self, state: None, observations: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Every user's slate, int64 ``(num_users, slate_size)``."""
        return self.simulator.short_term_oracle_slates()
