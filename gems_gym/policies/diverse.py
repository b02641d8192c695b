"""Slates across topics: a logging policy that shows what greedy ones never do."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.policies.random_base import DrawingPolicy


class DiverseRandom(DrawingPolicy):
    """Slates that spread over the topics: topics in random order, each by a random item of its own.

    With more positions than topics the topics repeat; an item may then repeat too. Knows the items' topics, which
    makes it privileged.

    Args:
        env: A slate environment, single or vector.
    """

    privileged = True

    def __init__(self, env: gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]) -> None:
        super().__init__(env)
        topics = self.simulator.catalog.item_topics
        self._items_by_topic = [np.flatnonzero(topics == topic) for topic in np.unique(topics)]

    def draw(self, rng: np.random.Generator, steps: int) -> NDArray[np.int64]:
        """Draw slates, int64 ``(steps, slate_size)``."""
        slate_size = self.simulator.config.slate_size
        order = rng.permuted(np.tile(np.arange(len(self._items_by_topic)), (steps, 1)), axis=1)
        topics = np.take(order, np.arange(slate_size) % order.shape[1], axis=1)  # (steps, slate_size)
        uniforms = rng.random((steps, slate_size))
        sizes = np.array([len(items) for items in self._items_by_topic])
        starts = np.cumsum(sizes) - sizes
        places = starts[topics] + (uniforms * sizes[topics]).astype(np.int64)
        found: NDArray[np.int64] = np.concatenate(self._items_by_topic)[places]
        return found
