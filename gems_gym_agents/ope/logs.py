"""Logged sessions as arrays: who was shown what, what was clicked, and how likely it was to be shown."""

from __future__ import annotations

from collections.abc import Iterable
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
from gems_gym.datasets.sessions import Sessions
from gems_gym.policies.propensities import SlatePropensities
from gems_gym.registration import slate_spec

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset

_PROPENSITIES = ("propensity", "marginal_propensity")


@dataclass(frozen=True)
class EvaluationLog:
    """S sessions, behind one another without gaps: n impressions in all.

    Attributes:
        seeds: The users, int64 ``(S,)``.
        lengths: Steps of each session, int64 ``(S,)``, ≥ 1.
        seen: What there was to see before each step and after the last: ``slate``, ``clicks`` and, in an imported log,
            ``mask``, each ``(n + S, slate_size)``.
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
        parts = read_sessions(opened, f"reading {opened.id}", progress=progress)
        if is_log(opened):
            return cls.of_sessions(parts, None, int(opened.action_space.nvec[0]))
        num_items = dataset_world(opened).config.num_items
        return cls.of_sessions(parts, slate_spec(environment_of(opened)), num_items)

    @classmethod
    def of_sessions(cls, parts: Iterable[Sessions], world: EnvSpec | None, num_items: int) -> Self:
        """Take sessions, part by part; the other arguments are as the attributes.

        Raises:
            ValueError: Fewer than two sessions: nobody knows the spread of one.
        """
        found: dict[str, list[NDArray[Any]]] = {}
        for sessions in parts:
            rows = np.arange(sessions.rewards.shape[1] + 1) <= sessions.lengths[:, None]
            arrays = {name: values[rows] for name, values in _kept(sessions).items()}
            for name, values in {
                "seeds": np.array(sessions.seeds),
                "lengths": sessions.lengths,
                **arrays,
            }.items():
                found.setdefault(name, []).append(values)
        seen = {name: np.concatenate(values) for name, values in found.items()}
        seeds, lengths = seen.pop("seeds"), seen.pop("lengths")
        if len(lengths) < 2:
            raise ValueError(f"the log must hold at least two sessions, got {len(lengths)}")
        recorded = [seen.pop(name, None) for name in _PROPENSITIES]
        log = cls(seeds, lengths, seen, num_items, world, None)
        if recorded[0] is None:
            return log
        if world is None:  # a log has one number for each slot, which has to serve for both
            recorded[1] = recorded[0]
        given_above, marginal = (
            None if one is None else log.of_impressions(one).astype(np.float64) for one in recorded
        )
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

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """The row of :attr:`seen` that each session begins with, int64 ``(S,)``."""
        return np.cumsum(self.lengths + 1) - (self.lengths + 1)

    def of_impressions(self, values: NDArray[Any]) -> NDArray[Any]:
        """The rows of an array ``(n + S, …)`` that steps led to, ``(n, …)``."""
        return np.delete(values, self.starts, axis=0)

    @cached_property
    def filled(self) -> NDArray[np.bool_]:
        """Which steps were taken, bool ``(S, steps of the longest)``."""
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


def _kept(sessions: Sessions) -> dict[str, NDArray[Any]]:
    """What estimators look at, ``(sessions, steps + 1, slate_size)`` each."""
    seen = sessions.observations if isinstance(sessions.observations, dict) else {}
    known = {**sessions.infos, **seen, **sessions.shown}
    return {name: known[name] for name in ("slate", "clicks", "mask", *_PROPENSITIES) if name in known}
