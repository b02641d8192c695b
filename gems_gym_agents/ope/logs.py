"""Logged sessions as arrays: who was shown what, what was clicked, and how likely it was to be shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from gems_gym.datasets.reader import (
    dataset_world,
    environment_of,
    is_log,
    open_sessions,
    read_sessions,
)
from gems_gym.datasets.sessions import Sessions, join_sessions
from gems_gym.policies.propensities import SlatePropensities
from gems_gym.registration import slate_spec

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset

_PROPENSITIES = ("propensity", "marginal_propensity")


@dataclass(frozen=True)
class LoggedSessions:
    """Sessions of S users of up to T steps, and their n impressions behind one another.

    Attributes:
        seeds: The users, int64 ``(S,)``.
        lengths: Steps of each session, int64 ``(S,)``.
        seen: What there was to see before each step, and after the last: ``slate``, ``clicks`` and, in an imported log,
            ``mask``, each ``(S, T + 1, slate_size)``.
        num_items: Items in the catalogue.
        world: The slate environment of the sessions; None for a log of another recommender.
        propensities: Of the slates that were shown, float64 ``(n, slate_size)``; None if they are not recorded.
        estimated: Whether they are estimated, see :meth:`with_counted_propensities`.
    """

    seeds: NDArray[np.int64]
    lengths: NDArray[np.int64]
    seen: dict[str, NDArray[Any]]
    num_items: int
    world: EnvSpec | None
    propensities: SlatePropensities | None
    estimated: bool = False

    @classmethod
    def of_dataset(cls, dataset: Dataset, progress: bool = True) -> Self:
        """Read the sessions of a dataset.

        Args:
            dataset: The dataset, or the id of a local one, recorded in a world or imported from a log.
            progress: Whether to show a progress bar on stderr.

        Raises:
            ValueError: There is no such dataset, or it holds fewer than two sessions.
        """
        opened = open_sessions(dataset)
        read = read_sessions(opened, f"reading {opened.id}", progress=progress)
        parts = [_without_privilege(sessions) for sessions in read]
        if is_log(opened):
            return cls.of_sessions(parts, None, int(opened.action_space.nvec[0]))
        return cls.of_sessions(
            parts, slate_spec(environment_of(opened)), dataset_world(opened).config.num_items
        )

    @classmethod
    def of_sessions(cls, parts: Sequence[Sessions], world: EnvSpec | None, num_items: int) -> Self:
        """Take sessions that are in memory; arguments as the attributes.

        Raises:
            ValueError: Fewer than two sessions: nobody knows the spread of one.
        """
        sessions = join_sessions(parts)
        if len(sessions) < 2:
            raise ValueError(f"the log must hold at least two sessions, got {len(sessions)}")
        seen = dict(sessions.shown)
        if isinstance(sessions.observations, dict) and "mask" in sessions.observations:
            seen["mask"] = sessions.observations["mask"]
        log = cls(np.array(sessions.seeds), sessions.lengths, seen, num_items, world, None)
        recorded = [sessions.infos.get(name) for name in _PROPENSITIES]
        if recorded[0] is None:
            return log
        given_above, marginal = (
            None if one is None else log.of_impressions(one).astype(np.float64) for one in recorded
        )
        if world is None:  # a log has one number for each slot, which has to serve for both
            marginal = given_above
        assert given_above is not None
        return replace(log, propensities=SlatePropensities(given_above, marginal))

    def with_counted_propensities(self) -> Self:
        """The same log with propensities that are estimated, position by position, by how often each item was shown.

        They hold if the logging policy looked at nothing: neither at the user, nor at the other slots.
        """
        rows, columns = np.nonzero(self.known)
        items = self.slates[rows, columns]
        shown = np.zeros((self.known.shape[1], self.num_items))
        np.add.at(shown, (columns, items), 1.0)
        found = np.ones(self.known.shape)
        found[rows, columns] = shown[columns, items] / self.known.sum(axis=0)[columns]
        return replace(self, propensities=SlatePropensities(found, found), estimated=True)

    def of_impressions(self, values: NDArray[Any]) -> NDArray[Any]:
        """The rows of an array ``(S, T + 1, …)`` that steps led to, ``(n, …)``."""
        found: NDArray[Any] = values[:, 1:][self.filled]
        return found

    @cached_property
    def filled(self) -> NDArray[np.bool_]:
        """Which steps were taken, bool ``(S, T)``."""
        found: NDArray[np.bool_] = np.arange(self.lengths.max()) < self.lengths[:, None]
        return found

    @cached_property
    def session(self) -> NDArray[np.int64]:
        """The session of each impression, int64 ``(n,)``."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    @cached_property
    def slates(self) -> NDArray[np.integer]:
        """What was shown, ``(n, slate_size)``."""
        return self.of_impressions(self.seen["slate"])

    @cached_property
    def clicks(self) -> NDArray[np.float64]:
        """What was clicked, 0 or 1, float64 ``(n, slate_size)``."""
        return self.of_impressions(self.seen["clicks"]).astype(np.float64)

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """Which slots are known to have shown their item, bool ``(n, slate_size)``."""
        if "mask" in self.seen:
            return self.of_impressions(self.seen["mask"]) > 0
        return np.ones(self.slates.shape, np.bool_)

    def in_sessions(self, values: NDArray[np.float64], behind: float) -> NDArray[np.float64]:
        """Values of impressions ``(n,)`` as ``(S, T)``, with a number where a session has ended."""
        found = np.full(self.filled.shape, behind)
        found[self.filled] = values
        return found


def _without_privilege(sessions: Sessions) -> Sessions:
    """Sessions without what no estimator looks at: the users' states take more room than all else."""
    kept = {name: values for name, values in sessions.infos.items() if name in _PROPENSITIES}
    seen = sessions.observations if isinstance(sessions.observations, dict) else sessions.shown
    return Sessions(sessions.seeds, seen, sessions.actions, sessions.rewards, kept, sessions.left_after)
