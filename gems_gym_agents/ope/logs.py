"""Logged sessions as arrays: who was shown what, what was clicked, and how likely it was to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from gems_gym.datasets.reader import dataset_ranker, environment_of, is_log, open_sessions
from gems_gym.logs.click_models import PositionBased
from gems_gym.logs.sessions import (
    LoggedSessions,
    ShownSlates,
    catalogue_of,
    shown_in,
    tracked_episodes,
)
from gems_gym.policies.propensities import SlatePropensities
from gems_gym.rankers import Ranker
from gems_gym.registration import slate_spec

if TYPE_CHECKING:
    from gems_gym.datasets.reader import Dataset

_PROPENSITIES = ("propensity", "marginal_propensity")


@dataclass(frozen=True)
class RecordedLatents:
    """What a latent dataset holds beside slates.

    Attributes:
        beliefs: Before each step and after the last, float32 ``(n + S, belief_size)``.
        latents: That the ranker made slates of, float32 ``(n, latent_size)``.
        ranker: Which did.
    """

    beliefs: NDArray[np.float32]
    latents: NDArray[np.float32]
    ranker: Ranker


@dataclass(frozen=True)
class EvaluationLog:
    """S sessions of n impressions in all, and how likely these were.

    Attributes:
        seeds: The users, int64 ``(S,)``.
        seen: What there was to see before each step and after the last: one slate a session that no policy chose, and
            its impressions, n + S slates.
        world: The slate environment of the sessions; None for a log of another recommender.
        propensities: Of the slates that were shown, float64 ``(n, slate_size)``; None if they are not recorded.
        of_slots: Whether they are those of each item in its slot, and nobody knows them given the items above.
        estimated: Whether they are estimated, see :meth:`with_counted_propensities`.
        recorded: Beliefs and latents; None of a dataset of slates, and for some of the sessions.
    """

    seeds: NDArray[np.int64]
    seen: LoggedSessions
    world: EnvSpec | None
    propensities: SlatePropensities | None
    of_slots: bool = False
    estimated: bool = False
    recorded: RecordedLatents | None = None

    @classmethod
    def of_dataset(cls, dataset: Dataset, progress: bool = True) -> Self:
        """Read the sessions of a dataset.

        Args:
            dataset: The dataset, or the id of a local one, recorded in a world or imported from a log.
            progress: Whether to show a progress bar on stderr.

        Raises:
            ValueError: There is no such dataset, it holds fewer than two sessions, or no slates and clicks.
        """
        opened = open_sessions(dataset)
        world = None if is_log(opened) else slate_spec(environment_of(opened))
        ranker = dataset_ranker(opened) if opened.storage.metadata.get("ranker_sha256") else None
        names = ("slate", "clicks", "mask", "terminations", "actions", *_PROPENSITIES)
        episodes = tracked_episodes(opened, names, progress)
        return cls.of_episodes(episodes, world, opened.id, *catalogue_of(opened), ranker)

    @classmethod
    def of_episodes(
        cls,
        episodes: Iterable[Mapping[str, Any]],
        world: EnvSpec | None,
        name: str,
        num_items: int,
        catalog_hash: str,
        ranker: Ranker | None = None,
    ) -> Self:
        """Take episodes one by one.

        Args:
            episodes: As :func:`~gems_gym.logs.sessions.shown_in` takes them.
            world: See the attribute.
            name: The dataset's, for errors.
            num_items: Items in the catalogue.
            catalog_hash: The catalogue that the item ids belong to.
            ranker: That made slates of the actions; None if these are slates.

        Raises:
            ValueError: Fewer than two sessions: nobody knows the spread of one.
        """
        seeds, parts, left, latents = [], [], [], []
        recorded: dict[str, list[NDArray[Any]]] = {one: [] for one in _PROPENSITIES}
        for episode in episodes:
            seeds.append(episode["seed"])
            parts.append(shown_in(episode, name))
            left.append(bool(episode["terminations"].any()))
            if ranker is not None:
                latents.append((episode["observations"], episode["actions"]))
            for one, values in recorded.items():
                if one in episode["infos"]:
                    values.append(episode["infos"][one][1:])
        if len(parts) < 2:
            raise ValueError(f"the log must hold at least two sessions, got {len(parts)}")
        seen = LoggedSessions.of_parts(parts, np.array(left), name, num_items, catalog_hash)
        given_above, marginal = (
            np.concatenate(values).astype(np.float64) if values else None for values in recorded.values()
        )
        of_slots = world is None and seen.slates.shape[1] > 1
        if world is None:  # a log has one number for each slot
            marginal = given_above
        propensities = None if given_above is None else SlatePropensities(given_above, marginal)
        log = cls(np.array(seeds, np.int64), seen, world, propensities, of_slots)
        if ranker is None:
            return log
        beliefs, actions = (np.concatenate(arrays) for arrays in zip(*latents, strict=True))
        return replace(log, recorded=RecordedLatents(beliefs, actions, ranker))

    def __getitem__(self, sessions: slice) -> EvaluationLog:
        """Some of the sessions that follow one another."""
        return replace(
            self,
            seeds=self.seeds[sessions],
            seen=self.seen[sessions],
            propensities=self.propensities and self.propensities.at(self.rows(sessions)),
            recorded=None,
        )

    def rows(self, sessions: slice) -> slice:
        """The impressions of sessions that follow one another."""
        first, end, _ = sessions.indices(len(self.seen))
        return slice(self.seen.starts[first] - first, self.seen.starts[end] - end)

    def with_counted_propensities(self) -> Self:
        """The same log with propensities that are estimated, position by position, by how often each item was shown.

        They hold if the logging policy looked at nothing: neither at the user, nor at the other slots.
        """
        known, num_items = self.impressions.shown, self.impressions.num_items
        rows, columns = np.nonzero(known)
        items = self.impressions.slates[rows, columns]
        times = np.zeros((known.shape[1], num_items))
        np.add.at(times, (columns, items), 1.0)
        found = np.ones(known.shape)
        found[rows, columns] = times[columns, items] / known.sum(axis=0)[columns]
        of_slots = known.shape[1] > 1
        return replace(self, propensities=SlatePropensities(found, found), of_slots=of_slots, estimated=True)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Impressions of each session, int64 ``(S,)``, ≥ 1."""
        return self.seen.lengths - 1

    @cached_property
    def impressions(self) -> ShownSlates:
        """The n slates that were chosen: those that steps led to."""
        rows = np.ones(len(self.seen.slates), np.bool_)
        rows[self.seen.starts[:-1]] = False
        return self.seen.at(rows)

    @cached_property
    def click_models(self) -> tuple[PositionBased, PositionBased]:
        """What the impressions of the even sessions tell, and those of the odd ones."""
        even = self.session % 2 == 0
        return PositionBased.fit(self.impressions.at(even)), PositionBased.fit(self.impressions.at(~even))

    @cached_property
    def filled(self) -> NDArray[np.bool_]:
        """Which steps were taken, bool ``(S, steps of the longest)``."""
        found: NDArray[np.bool_] = np.arange(self.lengths.max()) < self.lengths[:, None]
        return found

    @cached_property
    def session(self) -> NDArray[np.int64]:
        """The session of each impression, int64 ``(n,)``."""
        return np.repeat(np.arange(len(self.lengths)), self.lengths)

    def in_sessions(self, values: NDArray[np.float64], behind: float) -> NDArray[np.float64]:
        """Values of impressions ``(n,)`` as ``(S, T)``, with a number where a session has ended."""
        found = np.full(self.filled.shape, behind)
        found[self.filled] = values
        return found
