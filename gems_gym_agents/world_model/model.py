"""What is learned of users, as arrays in one file: the world model, for acting without torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLACK_BOX = "a network learned from slates and clicks; nothing of the simulators' equations is in it"


@dataclass(frozen=True, eq=False)
class WorldModel:
    """A recurrent model of a user who clicks on slates.

    With ``h`` the user's state, ``e`` an item's embedding, ``g`` its group, and both vectors with a 1 behind them where
    a matrix is between them::

        P(click at position s) = examination[s] · exp(-Σ_g crowding[items of g in the slate]) · σ(logit)
        logit = (h Q - Σ_g (1 - exp(-tired[g])) h Q_g) · e - tired[group of the item]
        h ← (1 - gate) h + gate · input                       for each clicked item, in the order of positions
        tired[g] = Σ_ago Σ_c span[c, ago] σ(detection[c] + Σ_n patterns[n, age, c])

    where the last sum is over the n-th newest clicks on items of g, ``ago`` steps before, and ``age`` says how many
    steps old each was then.

    Attributes:
        items: Embeddings, float64 ``(num_items, size)``.
        groups: int64 ``(num_items,)``.
        inputs: What a click moves the state towards, ``(num_items, size)``.
        gates: How far, in (0, 1), ``(num_items,)``.
        query: Q, ``(size + 1, size + 1)``.
        tired_query: Q_g, ``(num_groups, size + 1, size + 1)``.
        examination: How likely each position is looked at, ``(slate_size,)``.
        crowding: ≥ 0, ``(slate_size + 1,)``.
        patterns: ``(num_recent, num_ages, num_detectors)``; clicks before these are forgotten, greater ages count as
            the last.
        detection: ``(num_detectors,)``.
        span: ≥ 0, ``(num_detectors, num_steps)``, num_steps ≥ 2.
        atoms: Possible states of a new user, equally likely, ``(num_atoms, size)``.
        metadata: How it was learned; JSON types only.

    Raises:
        ValueError: An array of the wrong shape, or with numbers that are not finite or out of range.
    """

    items: NDArray[np.float64]
    groups: NDArray[np.int64]
    inputs: NDArray[np.float64]
    gates: NDArray[np.float64]
    query: NDArray[np.float64]
    tired_query: NDArray[np.float64]
    examination: NDArray[np.float64]
    crowding: NDArray[np.float64]
    patterns: NDArray[np.float64]
    detection: NDArray[np.float64]
    span: NDArray[np.float64]
    atoms: NDArray[np.float64]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, dimensions in _DIMENSIONS.items():
            array = getattr(self, name)
            if np.ndim(array) != dimensions or not array.size or not np.isfinite(array).all():
                raise ValueError(
                    f"{name} must hold finite numbers in {dimensions} dimension(s), got shape {np.shape(array)}"
                )
            kind = np.int64 if name == "groups" else np.float64
            object.__setattr__(self, name, np.ascontiguousarray(array, dtype=kind))
        num_items, size = self.items.shape
        num_groups, detectors = len(self.tired_query), len(self.detection)
        shapes = {
            "groups": (num_items,),
            "inputs": (num_items, size),
            "gates": (num_items,),
            "query": (size + 1, size + 1),
            "tired_query": (num_groups, size + 1, size + 1),
            "crowding": (self.slate_size + 1,),
            "patterns": (*self.patterns.shape[:2], detectors),
            "span": (detectors, self.span.shape[1]),
            "atoms": (len(self.atoms), size),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {getattr(self, name).shape}")
        if self.slate_size > num_items or self.span.shape[1] < 2:
            raise ValueError(
                f"there must be no more positions than items, and span must have two columns or more; got "
                f"{self.slate_size} positions, {num_items} items and {self.span.shape[1]} columns"
            )
        if not 0 <= self.groups.min() <= self.groups.max() < num_groups:
            raise ValueError(f"groups must hold numbers in [0, {num_groups})")
        for name, least, most in (("gates", 0, 1), ("examination", 0, 1), ("crowding", 0, np.inf)):
            array = getattr(self, name)
            if array.min() < least or array.max() > most:
                raise ValueError(f"{name} must hold numbers in [{least}, {most}]")

    @property
    def num_items(self) -> int:
        """Items in the catalogue."""
        return len(self.items)

    @property
    def num_groups(self) -> int:
        """Groups of items that tire users together."""
        return len(self.tired_query)

    @property
    def slate_size(self) -> int:
        """Positions of a slate."""
        return len(self.examination)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays of the model's file."""
        return {name: getattr(self, name) for name in _DIMENSIONS}

    def header(self) -> dict[str, Any]:
        """All else in the model's file, JSON types only."""
        return {"metadata": self.metadata, "black_box": _BLACK_BOX}

    @classmethod
    def from_parts(cls, tensors: Mapping[str, np.ndarray], header: Mapping[str, Any]) -> "WorldModel":
        """Read a model out of what a file holds, whatever else that is.

        Raises:
            KeyError: Something is missing.
            ValueError: Something does not fit.
            TypeError: Something is of another type.
        """
        arrays: dict[str, Any] = {name: tensors[name] for name in _DIMENSIONS}
        return cls(**arrays, metadata=dict(header["metadata"]))


_DIMENSIONS = {
    "items": 2, "groups": 1, "inputs": 2, "gates": 1, "query": 2, "tired_query": 3, "examination": 1, "crowding": 1,
    "patterns": 3, "detection": 1, "span": 2, "atoms": 2,
}  # fmt: skip
"""Arrays of a model -> their dimensions."""
