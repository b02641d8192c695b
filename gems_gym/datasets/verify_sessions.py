"""What must be true of a dataset's sessions: each check raises a ValueError that says what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.datasets.reader import LOG, is_log, session_ends
from gems_gym.datasets.relabelling import encoded, ranked, recomputed_beliefs
from gems_gym.datasets.sessions import (
    SessionEnds,
    Sessions,
    check_end,
    check_form,
    check_rows,
    first_of,
    observed_arrays,
)

if TYPE_CHECKING:
    import minari

TOLERANCE = 1e-5
"""By how much a belief may differ that is computed again: other machines add in another order."""

_Check = Callable[[Sessions], None]


@dataclass(frozen=True)
class SessionChecks:
    """Checks of sessions. Each raises a ValueError that says what is wrong first, of one session or of many.

    Attributes:
        dataset: The dataset.
        world: The slate environment that the sessions were played in; None if it can't be made.
        ranker: The dataset's copy; None if there is none, or it is damaged.
        belief: Likewise.
    """

    dataset: minari.MinariDataset
    world: Any
    ranker: Any
    belief: Any

    @cached_property
    def ends(self) -> SessionEnds:
        """How long sessions are and how they end, as the dataset records it."""
        return session_ends(self.dataset)

    @property
    def is_latent(self) -> bool:
        """Whether the dataset was recorded with ranker and belief."""
        return self.dataset.storage.metadata.get("ranker_sha256") is not None

    def form(self, episode: dict[str, Any]) -> None:
        """One session's lengths, shapes, dtypes and end."""
        steps = len(episode["rewards"])
        check_end(episode, self.ends)
        check_form("actions", episode["actions"], (steps,), self.dataset.action_space)
        for name, values, space in observed_arrays(episode["observations"], self.dataset.observation_space):
            check_form(name, values, (steps + 1,), space)
        for name, values in episode["infos"].items():
            if np.shape(values)[:1] != (steps + 1,):
                raise ValueError(
                    f"infos[{name!r}] has shape {np.shape(values)}, must begin with {steps + 1} rows"
                )

    def of_numbers(self, sessions: Sessions) -> Iterator[tuple[str, _Check, str | None]]:
        """Yields each check's name, the check, and why it can't be made, or None."""
        no_clicks = no_infos = None if len(sessions.shown) == 2 else "there are no infos"
        no_world = None if self.world is not None else "the world can't be made"
        if is_log(self.dataset):
            no_world = "a log has no world"
            columns = self.dataset.storage.metadata[LOG].get("columns")
            if isinstance(columns, dict) and "reward" in columns:
                no_clicks = "the log has rewards of its own"
            yield "masks", self.masks, None
        no_ranker = no_belief = None
        if self.is_latent and self.ranker is None:
            no_ranker = "its ranker is missing or damaged"
        elif getattr(self.ranker, "sample", False):
            no_ranker = "its ranker draws slates"
        if self.is_latent and self.belief is None:
            no_belief = "its belief is missing or damaged"
        yield "observations", self.observations, None
        yield "actions", self.actions, None
        yield "clicks", self.clicks, no_infos
        if no_infos is None:
            yield "rewards", self.rewards, no_clicks
        else:
            yield "rewards", self.rewards_alone, no_world
        yield "slates", self.slates, no_infos or no_world
        yield "shown slates", self.shown, no_infos or no_ranker
        yield "beliefs", self.seen, no_infos or no_belief

    def observations(self, sessions: Sessions) -> None:
        """All lie in their space."""
        num_sessions, num_steps = sessions.rewards.shape
        for name, values, space in observed_arrays(sessions.observations, self.dataset.observation_space):
            check_rows(name, values, (num_sessions, num_steps + 1), space)

    def actions(self, sessions: Sessions) -> None:
        """All lie in their space."""
        check_rows("actions", sessions.actions, sessions.rewards.shape, self.dataset.action_space)

    def clicks(self, sessions: Sessions) -> None:
        """Clicks are 0 or 1."""
        clicks = sessions.shown["clicks"]
        _refuse(clicks, ~np.isin(clicks, (0, 1)), "clicks", "must be 0 or 1")

    def rewards(self, sessions: Sessions) -> None:
        """A reward is the number of clicks on the slate that its action showed."""
        clicks = sessions.shown["clicks"][:, 1:].sum(axis=2)  # (num_sessions, num_steps)
        wrong = sessions.rewards != clicks
        if wrong.any():
            where = first_of(wrong)
            raise ValueError(
                f"rewards[{where[1]}] is {sessions.rewards[where]}, but its slate got {clicks[where]} clicks"
            )

    def masks(self, sessions: Sessions) -> None:
        """Of a log: slots that showed nothing hold item 0, without a click."""
        seen = sessions.observations if isinstance(sessions.observations, dict) else sessions.infos
        if not seen.keys() >= {"slate", "clicks", "mask"}:
            raise ValueError("a log's sessions must have a slate, clicks and a mask")
        empty = seen["mask"] == 0
        for name in ("slate", "clicks"):
            values = seen[name]
            _refuse(values, empty & (values != 0), name, "must be 0 where the mask is")

    def rewards_alone(self, sessions: Sessions) -> None:
        """Without infos: rewards are numbers of clicks that a slate can get."""
        most = self.world.config.slate_size
        wrong = ~((sessions.rewards >= 0) & (sessions.rewards <= most) & (sessions.rewards % 1 == 0))
        _refuse(sessions.rewards, wrong, "rewards", f"must be an integer from 0 to {most}")

    def slates(self, sessions: Sessions) -> None:
        """Slates hold items of the catalogue."""
        slates, most = sessions.shown["slate"], self.world.config.num_items
        _refuse(slates, (slates < 0) | (slates >= most), "slate", f"must be an item, from 0 to {most - 1}")

    def shown(self, sessions: Sessions) -> None:
        """An action's slate is the one that its session shows next."""
        slates = sessions.shown["slate"][:, 1:]  # (num_sessions, num_steps, slate_size)
        if self.is_latent and was_made_by(self.dataset.storage.metadata, "relabel"):
            actions = encoded(sessions, self.ranker)
            wrong = (np.abs(actions - sessions.actions) > TOLERANCE).any(axis=2) & sessions.filled
            # of a dataset that was not relabelled, merged with one that was
            if wrong.any() and was_made_by(self.dataset.storage.metadata, "merge"):
                shown = ranked(sessions.actions, self.ranker, sessions.filled)
                wrong &= ((shown != slates) & (slates >= 0)).any(axis=2)
            if wrong.any():
                raise ValueError(f"actions[{first_of(wrong)[1]}] is not what the ranker encodes its slate as")
            return
        shown = sessions.actions
        if self.is_latent:
            shown = ranked(shown, self.ranker, sessions.filled)
        wrong = ((shown != slates) & (slates >= 0)).any(axis=2) & sessions.filled
        if wrong.any():
            where = first_of(wrong)
            raise ValueError(
                f"actions[{where[1]}] shows {shown[where].tolist()}, but slate[{where[1] + 1}] is "
                f"{slates[where].tolist()}"
            )

    def seen(self, sessions: Sessions) -> None:
        """Observations are the beliefs of the slates and clicks before them; of a slate dataset, these themselves."""
        seen = sessions.observations
        if isinstance(seen, dict):
            for key in {"slate", "clicks"} & set(seen) & set(sessions.infos):
                wrong = seen[key] != sessions.infos[key]
                _refuse(seen[key], wrong, f"observations[{key!r}]", "is not the info")
            return
        expected = recomputed_beliefs(sessions, self.belief)
        wrong = ~(np.abs(seen - expected) <= TOLERANCE)  # true for NaN, too
        wrong[:, 1:] &= sessions.filled[:, :, None]
        _refuse(seen, wrong, "observations", "is not what the belief's copy makes of the slates and clicks")


def was_made_by(metadata: Any, step: str) -> bool:
    """Whether a dataset, or one that it was made of, was made by "merge" or "relabel"."""
    derived = metadata.get("derived_from") if isinstance(metadata, dict) else None
    if not isinstance(derived, dict):
        return False
    sources = derived.get("sources")
    return derived.get("by") == step or any(
        was_made_by(one, step) for one in (sources if isinstance(sources, list) else [])
    )


def _refuse(values: NDArray[Any], wrong: NDArray[np.bool_], name: str, must: str) -> None:
    """Raises a ValueError for the first wrong number of ``(num_sessions, num_rows, ...)``, named by its row."""
    if wrong.any():
        where = first_of(wrong)
        raise ValueError(f"{name}{list(where[1:])} is {values[where]}, {must}")
