"""What the parameters of all kinds of worlds have in common: :class:`WorldConfig`, the base of each kind's record."""

import abc
import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from gems_gym.click_models import check_click_model
from gems_gym.common.checks import check_fields
from gems_gym.common.machine import check_fits_memory
from gems_gym.errors import unknown_name

SMALLEST = float(np.finfo(np.float64).tiny)
"""The least that a penalty may divide by."""


class WorldConfig(abc.ABC):
    """Every parameter of one simulated world; immutable, checked when made.

    A kind of world is a frozen dataclass of this base: its fields are the parameters, and what it has no parameter for
    is as stated here.
    """

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    dynamics: str
    dynamics_version: int
    num_items: int
    slate_size: int
    num_topics: int
    catalog_seed: int
    episode_length: int
    click_model: str
    alpha: float
    relevance_offset: float
    relevance_slope: float
    rel_threshold: float | None
    diversity_threshold: int
    diversity_penalty: float
    omega: float
    boredom_threshold: int
    boredom_moving_window: int
    boredom_timeout: int
    recent_items_maxlen: int

    topic_size: int = 1
    short_term_boost: float = 1.0
    click_only_once: bool = False
    leave_probability: float = 0.0
    leave_after: int | None = None

    shows_history: ClassVar[bool] = False
    """Whether agents see how near each topic is to boring the user."""

    def __post_init__(self) -> None:
        """Normalise numpy scalars to Python's and check every value."""
        check_fields(self)
        check_click_model(self.click_model)
        if self.slate_size > self.num_items:
            raise ValueError(
                f"slate_size={self.slate_size} is larger than the catalogue, num_items={self.num_items}; "
                "a slate needs at most as many items as there are"
            )
        sizes = ("num_items", "slate_size", "num_topics", "topic_size", "recent_items_maxlen")
        world = ", ".join(f"{name}={getattr(self, name)}" for name in sizes)
        check_fits_memory(f"a world with {world}", self.bytes_needed(num_users=1))
        self._check_probabilities()

    def _check_probabilities(self) -> None:
        # relevance reaches 1, so this is the largest click probability that the world can produce
        largest = self.alpha * float(self.position_propensities().max()) / min(1.0, self.diversity_penalty)
        if largest > 1.0 + 1e-9:
            raise ValueError(
                f"alpha={self.alpha} with the largest propensity {self.position_propensities().max():.4g} and "
                f"diversity_penalty={self.diversity_penalty} gives click probabilities up to {largest:.4g}; "
                "alpha · propensity / min(1, diversity_penalty) must not exceed 1"
            )

    def bytes_needed(self, num_users: int) -> int:
        """Memory that the catalogue and the state of users take, roughly, known before any of it is made.

        Args:
            num_users: Users simulated together.
        """
        catalog = self.num_items * (64 * self.embedding_size + 24 * self.num_topics)  # while it is drawn
        steps_ahead = min(self.episode_length, 128)
        user = (
            8 * (3 * self.embedding_size + 4 * self.num_topics + 2 * self.recent_items_maxlen)
            + (32 + 4 * steps_ahead) * self.slate_size
            + self.click_only_once * self.num_items
        )
        return catalog + num_users * user

    @property
    def embedding_size(self) -> int:
        """D = num_topics · topic_size, the length of item and user embeddings."""
        return self.num_topics * self.topic_size

    @property
    def state_size(self) -> int:
        """Numbers in ``info["user_state"]``; the first D are the user's preference."""
        return self.embedding_size

    @property
    def unit_size(self) -> int:
        """Numbers of a preference whose Euclidean norms, one for each so many, add up to 1."""
        return self.topic_size

    @property
    def uniforms_per_step(self) -> int:
        """Random numbers that a user's step takes: one for each position and, where users may leave, one more."""
        return self.slate_size + (self.leave_probability > 0.0)

    @property
    def users_leave(self) -> bool:
        """Whether sessions may end terminated: their user has left."""
        return self.leave_probability > 0.0

    @abc.abstractmethod
    def position_propensities(self) -> NDArray[np.float64]:
        """Probability that a user looks at each position of the slate.

        Returns:
            float64 array of shape ``(slate_size,)``, values in [0, 1]
            (position-based click models, Section 5.1 of arXiv 2301.08632).
        """

    def without_leaving(self) -> Self:
        """The same world with users who stay until their session's last step."""
        return self.replace(leave_probability=0.0) if self.leave_probability > 0.0 else self

    def replace(self, **overrides: Any) -> Self:
        """A copy with some fields changed, checked like a new one.

        Raises:
            TypeError: An override that is no field; the message names the nearest field.
        """
        known = self.parameters()
        for name in overrides:
            if name not in known:
                # in Python's words at first: TorchRL's GymEnv tries `frameskip`, and does without it by these words
                unknown = unknown_name(f"{type(self).__name__} parameter", name, known)
                raise TypeError(f"unexpected keyword argument {name!r}: {unknown}")
        return dataclasses.replace(self, **overrides)

    @classmethod
    def parameters(cls) -> list[str]:
        """The names of the parameters, in their order."""
        return [field.name for field in dataclasses.fields(cls)]
