"""The learned user model: what is assumed of users, the numbers that clicks give it, and its file.

What is assumed, which makes it a grey box, is the form that the family of simulators has (Deffayet, Thonet, Renders, de
Rijke, *Generative Slate Recommendation with Reinforcement Learning*, WSDM 2023, arXiv 2301.08632):

* Items and users are vectors without negative values, in blocks of ``topic_size`` numbers, one block a topic. The norms
  of a user's blocks add up to 1.
* A click on an item has the probability relevance · propensity of the position. Relevance is logistic in the product
  of the user's vector and the item's.
* After a click the user is ω · user + (1 − ω) · item, normalised.
* A topic with ``threshold`` clicks among the last ``memory``, each at most ``window`` steps old, is boring for
  ``timeout`` steps: its block counts as zero. Clicks on the first slate, which the agent did not choose, may have no
  date, and then leave the memory only when others push them out.
* In a slate with ``diversity_threshold`` items of one topic all click probabilities are divided by
  ``diversity_penalty``.

Every number comes from clicks.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.common.checks import Checked, Count, Positive, Probability, check_fields
from gems_gym_agents.user_model.dynamics import Dynamics
from gems_gym_agents.user_model.misfit import Misfit

KIND = "user_model/blocks"
NEVER = 99
"""A threshold that no slate and no memory reaches."""


@dataclass(frozen=True)
class Rules(Checked):
    """When topics bore a user, and when a slate is monotonous.

    Attributes:
        boredom_threshold: Clicks on a topic in memory from which on it is boring, ≥ 1; :data:`NEVER` for no boredom.
        memory: Clicks remembered, ≥ 1.
        window: Steps that a click is remembered, ≥ 1.
        timeout: Steps that a topic is boring, ≥ 1.
        diversity_threshold: Items of a topic from which on a slate is monotonous, ≥ 1.
        diversity_penalty: Divides the click probabilities of a monotonous slate, ≥ 1; 1 for no penalty.
        first_clicks_dated: Whether clicks on the first slate, which the agent did not choose, grow old like all others.
    """

    boredom_threshold: Count = NEVER
    memory: Count = 10
    window: Count = 8
    timeout: Count = 3
    diversity_threshold: Count = NEVER
    diversity_penalty: Annotated[float, Ge(1)] = 1.0
    first_clicks_dated: bool = False

    @property
    def bores(self) -> bool:
        """Whether a topic can bore at all."""
        return self.boredom_threshold <= self.memory

    def items_per_topic(self, slate_size: int) -> int:
        """How many items of a topic a slate should have at most: as many as neither bore nor make it monotonous."""
        most = slate_size
        if self.bores:
            most = self.boredom_threshold - 1
        if self.diversity_penalty > 1.2:
            most = min(most, self.diversity_threshold - 1)
        return min(max(most, 1), slate_size)


@dataclass(frozen=True, eq=False)
class UserModel:
    """What clicks say of the users of a world. A grey box: see :mod:`gems_gym_agents.user_model.model`.

    Attributes:
        items: Item vectors, float64 ``(num_items, num_topics · topic_size)``, ≥ 0 but for noise.
        topics: Topic of each item, int64 ``(num_items,)``: the number of its block.
        topic_size: Numbers in a block.
        propensities: Probability that a relevant item is clicked at each position, float64 ``(slate_size,)`` in (0, 1].
        slope: Steepness of the logistic relevance, > 0.
        omega: Inertia of users' preferences, in [0, 1].
        rules: Boredom and monotonous slates.
        prior: New users' vectors, each as likely as the other, float64 ``(num_atoms, num_topics · topic_size)``.
        metadata: JSON values to keep in the file: how it was made, and from how many clicks.

    Raises:
        ValueError: Arrays that do not fit each other, or a number out of range.
    """

    items: NDArray[np.float64]
    topics: NDArray[np.int64]
    topic_size: Count
    propensities: NDArray[np.float64]
    slope: Positive
    omega: Probability
    rules: Rules
    prior: NDArray[np.float64]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self)
        for name, dimensions in _ARRAYS.items():
            array = getattr(self, name)
            kind = np.int64 if name == "topics" else np.float64
            if array.ndim != dimensions or not array.size or not np.isfinite(array).all():
                raise ValueError(
                    f"{name} must hold finite numbers in {dimensions} dimension(s), got shape {array.shape}"
                )
            object.__setattr__(self, name, np.ascontiguousarray(array, dtype=kind))
        size = self.items.shape[1]
        if size % self.topic_size:
            raise ValueError(f"items has {size} numbers an item, no multiple of topic_size={self.topic_size}")
        if (
            self.topics.shape != (self.num_items,)
            or not 0 <= self.topics.min() <= self.topics.max() < self.num_topics
        ):
            raise ValueError(
                f"topics must hold a topic in [0, {self.num_topics}) for each of {self.num_items} items"
            )
        if self.prior.shape[1] != size:
            raise ValueError(f"prior has {self.prior.shape[1]} numbers a user, but items {size} an item")
        if not (0 < self.propensities.min() <= self.propensities.max() <= 1):
            raise ValueError(f"propensities must be in (0, 1], got {self.propensities}")

    @property
    def num_items(self) -> int:
        """Items in the catalogue."""
        return len(self.items)

    @property
    def num_topics(self) -> int:
        """Blocks of a vector."""
        return int(self.items.shape[1]) // self.topic_size

    @property
    def slate_size(self) -> int:
        """Positions of a slate."""
        return len(self.propensities)

    @cached_property
    def dynamics(self) -> Dynamics:
        """The numbers as the kernels read them."""
        return Dynamics(
            self.topics,
            self.num_topics,
            self.topic_size,
            self.propensities,
            self.slope,
            self.omega,
            *(getattr(self.rules, one.name) for one in fields(self.rules)),
        )

    @property
    def misfit(self) -> Misfit | None:
        """What the model misses of held-out sessions' clicks; None where it was never checked."""
        kept = self.metadata.get("misfit")
        return None if kept is None else Misfit(**kept)

    def with_misfit(self, misfit: Misfit) -> "UserModel":
        """The same model, with what it misses."""
        return replace(self, metadata=self.metadata | {"misfit": asdict(misfit)})

    def with_prior(self, prior: NDArray[np.float64]) -> "UserModel":
        """The same model with another prior."""
        return replace(self, prior=prior)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the model's file."""
        return {name: getattr(self, name) for name in _ARRAYS}

    def header(self) -> dict[str, Any]:
        """All else in the model's file, JSON types only."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return {**numbers, "rules": asdict(self.rules), "metadata": self.metadata, "grey_box": _GREY_BOX}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> "UserModel":
        """Read a model out of what a file holds, whatever else that is.

        Raises:
            KeyError: Something is missing.
            ValueError: Something does not fit.
            TypeError: Something is of another type.
        """
        arrays: dict[str, Any] = {name: tensors[name] for name in _ARRAYS}
        numbers = {name: header[name] for name in _NUMBERS}
        return cls(**arrays, **numbers, rules=Rules(**header["rules"]), metadata=dict(header["metadata"]))

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write the model as one safetensors file; returns its sha256 as hex."""
        return save_artifact(path, KIND, self.tensors(), self.header())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "UserModel":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            ArtifactError: The file is damaged, or holds no user model.
        """
        artifact = load_artifact(path, KIND)
        try:
            return cls.from_parts(artifact.tensors, artifact.header)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{artifact.path} holds no readable user model: {error}") from error


_ARRAYS = {"items": 2, "topics": 1, "propensities": 1, "prior": 2}
"""Arrays of a model -> their dimensions."""
_NUMBERS = ("topic_size", "slope", "omega")
_GREY_BOX = "every number comes from clicks; the form of the equations is that of the family of simulators"
