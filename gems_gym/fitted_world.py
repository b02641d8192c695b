"""Worlds fitted to logged sessions: a recurrent click model that acts as users do, by the simulator's own step.

Who a user is comes out of the clicks: all users of a world begin in one learned state, a click is drawn as the model
predicts it from the state, and what was shown and clicked moves the state. So users come to differ as those of the log
did, as far as the log's clicks told.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts import Artifact, ArtifactError, save_artifact
from gems_gym.beliefs import GruBelief
from gems_gym.common.checks import Count, Threads
from gems_gym.common.networks import FeedForward, tanh
from gems_gym.fitted_config import FittedConfig
from gems_gym.simulator.catalog import Catalog
from gems_gym.simulator.simulator import SlateSimulator
from gems_gym.simulator.state import Shown
from gems_gym.simulator.users import Openings

TOWER = [["linear"], ["relu"], ["linear"]]
"""Layers that turn a user's state into a preference."""

LEAVING = [["linear"]]
"""That of the log-odds to leave."""

STEPS = np.array([2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96])
"""Numbers of slates from which on users have another inclination to leave."""


@dataclass(frozen=True)
class FittedWorld:
    """What a world's file holds.

    Attributes:
        belief: What moves a user's state, by slates and clicks.
        tower: Turns a state into a preference for each number of the items but the last, which is 1.
        leaving: The log-odds to leave, from state, clicks on the slate and number of slates; None where nobody leaves.
        items: float32 ``(num_items, D)``: an item's score is its product with the user's preference, the log-odds that
            a user who looks at the item clicks it. The last number is 1, for what holds for all items.
        propensities: float32 ``(slate_size,)``: how likely users look at each position.
        openings: int32 ``(n, slate_size)``: slates that sessions of the log opened with.
        header: What else the file records.
    """

    belief: GruBelief
    tower: FeedForward
    leaving: FeedForward | None
    items: NDArray[np.float32]
    propensities: NDArray[np.float32]
    openings: NDArray[np.int32]
    header: dict[str, Any] = field(default_factory=dict)

    def start(self, num_users: int) -> NDArray[np.float32]:
        """The state before the first slate, ``(num_users, size)``: a slate that shows nothing begins each session."""
        nothing = np.zeros((num_users, self.belief.slate_size), np.int64)
        return self.belief.update(self.belief.initial(num_users), nothing - 1, nothing)

    def preferences(self, states: NDArray[np.float32]) -> NDArray[np.float64]:
        """What users in these states prefer, ``(num_users, D)``."""
        found = self.tower(states)
        features, rest = found[:, :-1], found[:, -1:]
        return np.concatenate([features, np.ones_like(rest), rest], axis=1).astype(np.float64)

    def stay_probabilities(
        self, states: NDArray[np.float32], clicks: NDArray[np.floating[Any]], slates: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """How likely users stay for another slate.

        Args:
            states: After the slate, ``(num_users, size)``.
            clicks: On the slate, ``(num_users,)``.
            slates: Shown in the session so far, the first one included, ``(num_users,)``.

        Returns:
            ``(num_users,)``; 1 where nobody leaves.
        """
        if self.leaving is None:
            return np.ones(len(states))
        odds = self.leaving(leaving_inputs(states, clicks, slates))
        found: NDArray[np.float64] = 0.5 - 0.5 * tanh(odds / 2)[:, 0].astype(np.float64)
        return found

    def click_probabilities(
        self, states: NDArray[np.float32], slates: NDArray[np.integer[Any]]
    ) -> NDArray[np.float64]:
        """How likely users click each item.

        Args:
            states: Before the slate, ``(num_users, size)``.
            slates: ``(num_users, slate_size)``; what is returned of a slot that shows nothing, −1, means nothing.

        Returns:
            ``(num_users, slate_size)``.
        """
        preferences = self.preferences(states)
        found = np.empty(slates.shape)
        # all positions at once would take a preference's memory for each slot
        for position, items in enumerate(slates.T):
            scores = (preferences * self.items[items]).sum(axis=1)
            found[:, position] = self.propensities[position] / (1 + np.exp(-scores))
        return found

    def save(self, path: str | os.PathLike[str]) -> str:
        """Write an artefact ``world/fitted``; returns its sha256."""
        tensors = {f"belief.{name}": tensor for name, tensor in self.belief.tensors.items()}
        tensors |= self.tower.to_tensors("tower")
        if self.leaving is not None:
            tensors |= self.leaving.to_tensors("leaving")
        tensors |= {"items": self.items, "propensities": self.propensities, "openings": self.openings}
        header = {**self.header, "catalog_hash": self.belief.catalog_hash}
        return save_artifact(path, "world/fitted", tensors, header)

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> FittedWorld:
        """Make the world from a loaded file.

        Raises:
            ArtifactError: Tensors that are missing, or do not fit together.
        """
        header = dict(artifact.header)
        try:
            catalog_hash, tensors = header.pop("catalog_hash"), artifact.tensors
            leave = "leaving.0.weight" in tensors
            world = cls(
                belief=GruBelief(_under("belief", tensors), catalog_hash),
                tower=FeedForward.from_tensors(tensors, "tower", TOWER),
                leaving=FeedForward.from_tensors(tensors, "leaving", LEAVING) if leave else None,
                items=tensors["items"],
                propensities=tensors["propensities"],
                openings=tensors["openings"],
                header=header,
            )
            world._check()
        except (KeyError, ValueError, TypeError) as error:
            raise ArtifactError(f"{artifact.path} is not a usable world/fitted: {error}") from error
        return world

    def _check(self) -> None:
        belief = self.belief
        sizes = {
            "items": (self.items.shape, (belief.num_items, self.tower.output_size + 1)),
            "propensities": (self.propensities.shape, (belief.slate_size,)),
            "openings": (self.openings.shape, (len(self.openings), belief.slate_size)),
            "tower": (self.tower.input_size, belief.size),
        }
        if self.leaving is not None:
            layer = (self.leaving.input_size, self.leaving.output_size)
            sizes["leaving"] = (layer, (belief.size + 3 + len(STEPS), 1))
        for name, (found, expected) in sizes.items():
            if found != expected:
                raise ValueError(f"{name} has the shape {found}; {expected} would fit")
        if not len(self.openings) or not 0 <= self.openings.min() <= self.openings.max() < belief.num_items:
            raise ValueError("openings must hold slates of known items")
        if (
            not np.isfinite(self.items).all()
            or not ((self.propensities >= 0) & (self.propensities <= 1)).all()
        ):
            raise ValueError("items must be finite, and propensities in [0, 1]")


def leaving_inputs(
    states: NDArray[np.float32], clicks: NDArray[np.floating[Any]], slates: NDArray[np.int64]
) -> NDArray[np.float32]:
    """What the log-odds to leave are a sum of; arguments as of :meth:`FittedWorld.stay_probabilities`."""
    spell = np.searchsorted(STEPS, slates, side="right")[:, None] == np.arange(len(STEPS) + 1)
    clicks = clicks[:, None]
    return np.concatenate([states, clicks, clicks > 0, spell], axis=1, dtype=np.float32)


def _under(part: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    start = f"{part}."
    return {name[len(start) :]: array for name, array in tensors.items() if name.startswith(start)}


class FittedSimulator(SlateSimulator):
    """Users of a fitted world; see :class:`SlateSimulator`.

    Scores are log-odds, and a user's preference is made of the state.

    Args:
        config: The world.
        catalog: Its items.
        num_users: Users simulated together, ≥ 1.
        num_threads: Threads that share the users of a step, ≥ 1; results are the same bits.
    """

    config_class = FittedConfig
    _compile_first: ClassVar[bool] = True
    config: FittedConfig

    def __init__(
        self, config: FittedConfig, catalog: Catalog, num_users: Count, num_threads: Threads = 1
    ) -> None:
        super().__init__(config, catalog, num_users, num_threads)
        self.dynamics = self.dynamics._replace(max_score=1.0)
        self._world = FittedWorld.from_artifact(config.artifact)
        self._states = np.zeros((num_users, self._world.belief.size), np.float32)

    def open_sessions(
        self,
        rngs: Sequence[np.random.Generator],
        which: NDArray[np.int64] | None = None,
        preferences: NDArray[np.float64] | None = None,
        first_slates: NDArray[np.int64] | None = None,
    ) -> Shown:
        """Start new sessions with new users, drawn from their generators; see :class:`SlateSimulator`.

        Raises:
            ValueError: A preference is given: those of a fitted world come out of what its users saw and clicked.
        """
        if preferences is not None:
            raise ValueError(
                "options['user'] can't be given in a fitted world: what users prefer comes out of their clicks"
            )
        return super().open_sessions(rngs, which, None, first_slates)

    def draw_openings(self, rngs: Sequence[np.random.Generator]) -> Openings:
        """Draw what new sessions open with, each from its own generator; see :class:`SlateSimulator`."""
        count, openings = len(rngs), self._world.openings
        chosen = np.empty(count, np.int64)
        clicks = np.empty((count, 1, self.config.slate_size), np.float32)
        for row, rng in enumerate(rngs):
            chosen[row] = rng.integers(len(openings))
            rng.random(dtype=np.float32, out=clicks[row])
        preferences = self._world.preferences(self._world.start(count))
        return Openings(preferences, clicks, np.zeros(count, np.int64), openings[chosen].astype(np.int64))

    def _open_rows(self, rows: NDArray[np.int64], opening: Openings, shown: Shown) -> None:
        super()._open_rows(rows, opening, shown)
        self._states[rows] = self._world.start(len(rows))
        self._take_in(rows, shown)

    def _step_rows(
        self, rows: NDArray[np.int64], slates: NDArray[np.int64], uniforms: NDArray[np.float32], shown: Shown
    ) -> int:
        unknown = super()._step_rows(rows, slates, uniforms, shown)
        if unknown >= 0:
            return unknown
        self._take_in(rows, shown)
        if self.config.users_leave:
            steps = self.users.step[rows]
            stay = self._world.stay_probabilities(self._states[rows], shown.rewards, steps + 1)
            drawn = uniforms[rows, (steps - 1) % uniforms.shape[1], self.config.slate_size]
            self.users.left[rows] |= drawn >= stay
        return -1

    def _take_in(self, rows: NDArray[np.int64], shown: Shown) -> None:
        """Move the states of some users by what they were shown and clicked."""
        self._states[rows] = self._world.belief.update(self._states[rows], shown.slates, shown.clicks)
        self.users.preference[rows] = self._world.preferences(self._states[rows])
        shown.user_state[:] = self.users.preference[rows]
