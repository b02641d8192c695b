"""What policies have in common that show the slates of highest value under a learned model and a plan."""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from gems_gym.policies.base import Observed, Shown
from gems_gym.policies.saved import SavedPolicy
from gems_gym.rankers.stored import checked_sessions
from gems_gym_agents.user_model.particles import Schedule

NUM_COSTS = 4
"""How many numbers of a plan, its first ones, are costs. The next is a shift of relevance, the others are w."""


class Model(Protocol):
    """A model of users that is kept in a file."""

    @property
    def items(self) -> NDArray[np.float64]:
        """Item vectors, ``(num_items, size)``."""
        ...

    @property
    def num_items(self) -> int:
        """Items in the catalogue."""
        ...

    @property
    def slate_size(self) -> int:
        """Items in a slate."""
        ...

    @property
    def metadata(self) -> dict[str, Any]:
        """How it was made; JSON types only."""
        ...

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the model's file."""
        ...

    def header(self) -> dict[str, Any]:
        """All else in it, JSON types only."""
        ...

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> Self:
        """Read a model out of what a file holds."""
        ...


class Belief(Protocol):
    """Follows users by slates and clicks."""

    def initial(self, num_users: int) -> Any:
        """What is thought of users before the first slate."""
        ...

    def update(self, state: Any, slates: NDArray[np.int64], clicks: NDArray[np.int64]) -> Any:
        """What is thought after one more slate."""
        ...


AModel = TypeVar("AModel", bound=Model)


class PlannerState(NamedTuple):
    """What a planner remembers of its sessions, one row per user."""

    belief: Any
    plans: NDArray[np.int64]  # (num_users,), which plan serves each user


class PlansPolicy(SavedPolicy, Generic[AModel]):
    """Shows each user the slate of highest value under a learned model, with one plan or several.

    It is deterministic: a slate depends only on the slates and clicks before it.

    Args:
        model: A learned model.
        plans: One plan, float64 ``(5 + size,)``, for item vectors of ``size`` numbers: four costs, of which negative
            ones count as 0, a shift of relevance, and w. Or several, ``(num_plans, 5 + size)``, which can serve
            different users at the same time.
        schedule: How many particles the belief has, fewer the more is known; :attr:`acting` if None.

    Attributes:
        model_class: Class of the model.
        acting: How many particles the belief has, fewer the more is known.
        searching: The same during the search for a plan: fewer, which is faster.
        first_costs: Costs and shift that a search starts from; w starts at 0.
        first_spread: How far it looks around them; the last number is that of w.
        actions: "slates".
        observes: "slates".
        draws: False: the slates follow from what was seen.
        model: What was given.
        plans: float64 ``(num_plans, 5 + size)``.
        num_items: Items in the catalogue.
        slate_size: Items in a slate.

    Raises:
        ValueError: A plan has another length than the model requires, or a number that is not finite; or the model's
            slates are larger than its catalogue.
    """

    model_class: ClassVar[type[Any]]
    acting: ClassVar[Schedule]
    searching: ClassVar[Schedule]
    first_costs: ClassVar[tuple[float, ...]]
    first_spread: ClassVar[tuple[float, ...]]
    actions: Shown = "slates"
    observes: Observed = "slates"
    draws: ClassVar[bool] = False

    def __init__(self, model: AModel, plans: NDArray[np.float64], schedule: Schedule | None = None) -> None:
        self.model = model
        self.plans = np.atleast_2d(np.asarray(plans, np.float64))
        size = NUM_COSTS + 1 + model.items.shape[1]
        if self.plans.ndim != 2 or self.plans.shape[1] != size or not np.isfinite(self.plans).all():
            raise ValueError(f"plans must hold {size} finite numbers each, got shape {np.shape(plans)}")
        self.num_items, self.slate_size = model.num_items, model.slate_size
        if self.slate_size > self.num_items:
            raise ValueError(
                f"slate_size must be at most num_items={self.num_items}, as no item is shown twice on a slate; got "
                f"{self.slate_size}"
            )
        self._belief: Belief = self._follows(model, schedule or self.acting)

    @staticmethod
    @abc.abstractmethod
    def _follows(model: Any, schedule: Schedule) -> Any:
        """The belief that follows users by the model."""

    @classmethod
    def search_start(cls, model: AModel) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The plan that a search starts from, and how far it looks around: ``(5 + size,)`` each."""
        size = model.items.shape[1]
        *around, of_w = cls.first_spread
        return np.array([*cls.first_costs, *[0.0] * size]), np.array([*around, *[of_w] * size])

    @property
    def verdict(self) -> str | None:
        """What a check of the model says, for people; None if there was none."""
        return None

    def open(self, seeds: Sequence[int], plans: NDArray[np.int64] | None = None) -> PlannerState:
        """Begin new sessions.

        Args:
            seeds: One per user; only their number matters, as the policy draws nothing.
            plans: Which of the plans serves each user; the first one for all if None.
        """
        chosen = np.zeros(len(seeds), np.int64) if plans is None else plans
        return PlannerState(self._belief.initial(len(seeds)), chosen)

    def act(
        self, state: PlannerState, observations: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.int64], PlannerState]:
        """Choose every user's slate.

        Args:
            state: From :meth:`open` or the last call; it is used once.
            observations: ``slate`` and ``clicks``, each ``(num_users, slate_size)``: what was shown last; of a log also
                ``mask``, 0 where nothing is known to have been shown.

        Returns:
            Slates, int64 ``(num_users, slate_size)``, and the next state.

        Raises:
            ValueError: A wrong shape or dtype, another number of users than the state's, an unknown item id, or a click
                that is neither 0 nor 1.
        """
        slates, clicks = observations["slate"], observations["clicks"]
        if "mask" in observations:
            slates = np.where(observations["mask"], slates, -1)
        slates, clicks = checked_sessions(slates, clicks, self.slate_size, self.num_items, lowest=-1)
        if len(slates) != len(state.plans):
            raise ValueError(f"observations hold {len(slates)} users, and the state {len(state.plans)}")
        slates, clicks = slates.astype(np.int64), clicks.astype(np.int64)
        belief = self._belief.update(state.belief, slates, clicks)
        chosen = np.empty_like(slates)
        self._fill(belief, state.plans, chosen)
        return chosen, PlannerState(belief, state.plans)

    @abc.abstractmethod
    def _fill(self, belief: Any, plans: NDArray[np.int64], slates: NDArray[np.int64]) -> None:
        """Write the slate of every user, ``(num_users, slate_size)``."""

    def to_parts(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What the file holds: model and plans; see :class:`~gems_gym.policies.saved.SavedPolicy`."""
        return self.model.tensors() | {"plans": self.plans}, self.model.header()

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> Self:
        """The reverse of :meth:`to_parts`."""
        return cls(cls.model_class.from_parts(tensors, header), tensors["plans"])
