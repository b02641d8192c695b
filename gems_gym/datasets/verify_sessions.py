"""What holds of every session of a sound dataset, as functions that raise where it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from gems_gym.datasets.relabel import encoded, recomputed_beliefs
from gems_gym.datasets.sessions import Sessions, check_rows

TOLERANCE = 1e-5
"""By how much a belief may differ that is computed again: other machines add in another order."""

Check = Callable[[Sessions], None]


@dataclass(frozen=True)
class SessionChecks:
    """Checks of sessions. Each raises a ValueError that says what is wrong first, of one session or of many.

    Attributes:
        observation_space: Space of an observation.
        action_space: Space of an action.
        world: The slate environment that the sessions were played in; None if it can't be made.
        ranker: The dataset's copy; None if there is none, or it is damaged.
        belief: Likewise.
        is_latent: Whether the dataset was recorded with ranker and belief.
        is_relabelled: Whether its actions are what its ranker gives the shown slates.
    """

    observation_space: gymnasium.Space[Any]
    action_space: gymnasium.Space[Any]
    world: Any
    ranker: Any
    belief: Any
    is_latent: bool
    is_relabelled: bool

    def form(self, episode: dict[str, Any]) -> None:
        """Checks one session's lengths, shapes, dtypes and end."""
        steps = len(episode["rewards"])
        if self.world is not None and steps != self.world.config.episode_length:
            raise ValueError(
                f"it has {steps} steps, the environment's have {self.world.config.episode_length}"
            )
        spaces = self.observation_space
        seen = episode["observations"]
        pairs = [("actions", episode["actions"], steps, self.action_space)]
        if isinstance(spaces, gymnasium.spaces.Dict):
            if not isinstance(seen, dict) or set(seen) != set(spaces.spaces):
                raise ValueError(f"its observations have not the keys {sorted(spaces.spaces)}")
            pairs += [
                (f"observations[{key!r}]", seen[key], steps + 1, one) for key, one in spaces.spaces.items()
            ]
        else:
            pairs.append(("observations", seen, steps + 1, spaces))
        for name, values, rows, space in pairs:
            if values.shape != (rows, *(space.shape or ())) or values.dtype != space.dtype:
                raise ValueError(
                    f"{name} has shape {values.shape} and dtype {values.dtype}, must be {(rows, *(space.shape or ()))} "
                    f"and {space.dtype}"
                )
        for name, values in episode["infos"].items():
            if len(values) != steps + 1:
                raise ValueError(f"infos[{name!r}] has {len(values)} rows, must have {steps + 1}")
        ends = episode["truncations"]
        if len(ends) != steps or not ends[-1:].all() or ends[:-1].any() or episode["terminations"].any():
            raise ValueError("it does not end truncated at its last step, as sessions of gems-gym do")

    def of_numbers(self, sessions: Sessions) -> Iterator[tuple[str, Check, str | None]]:
        """Yields each check's name, the check, and why it can't be made, or None."""
        no_infos = None if {"slate", "clicks"} <= set(sessions.infos) else "there are no infos"
        no_world = None if self.world is not None else "the world can't be made"
        yield "observations", self.observations, None
        yield "actions", self.actions, None
        yield "clicks", self.clicks, no_infos
        if no_infos is None:
            yield "rewards", self.rewards, None
        else:
            yield "rewards", self.rewards_alone, no_world
        yield "slates", self.slates, no_infos or no_world
        yield "shown slates", self.shown, no_infos or self._no_ranker()
        yield "beliefs", self.seen, no_infos or self._no_belief()

    def _no_ranker(self) -> str | None:
        if not self.is_latent:
            return None
        if self.ranker is None:
            return "its ranker is missing or damaged"
        if getattr(self.ranker, "sample", False):
            return "its ranker draws slates"
        return None

    def _no_belief(self) -> str | None:
        return "its belief is missing or damaged" if self.is_latent and self.belief is None else None

    def observations(self, sessions: Sessions) -> None:
        """All lie in their space."""
        seen, leading = sessions.observations, _with_first(sessions)
        if isinstance(self.observation_space, gymnasium.spaces.Dict) and isinstance(seen, dict):
            for key, space in self.observation_space.spaces.items():
                check_rows(f"observations[{key!r}]", seen[key], leading, space)
        elif not isinstance(seen, dict):
            check_rows("observations", seen, leading, self.observation_space)

    def actions(self, sessions: Sessions) -> None:
        """All lie in their space."""
        check_rows("actions", sessions.actions, sessions.rewards.shape, self.action_space)

    def clicks(self, sessions: Sessions) -> None:
        """Clicks are 0 or 1."""
        clicks = sessions.infos["clicks"]
        _refuse(clicks, ~np.isin(clicks, (0, 1)), "clicks", "must be 0 or 1")

    def rewards(self, sessions: Sessions) -> None:
        """A reward is the number of clicks on the slate that its action showed."""
        clicks = sessions.infos["clicks"][:, 1:].sum(axis=2)  # (num_sessions, num_steps)
        wrong = sessions.rewards != clicks
        if wrong.any():
            where = _first(wrong)
            raise ValueError(
                f"rewards[{where[1]}] is {sessions.rewards[where]}, but its slate got {clicks[where]} clicks"
            )

    def rewards_alone(self, sessions: Sessions) -> None:
        """Without infos: rewards are numbers of clicks that a slate can get."""
        most = self.world.config.slate_size
        wrong = ~((sessions.rewards >= 0) & (sessions.rewards <= most) & (sessions.rewards % 1 == 0))
        _refuse(sessions.rewards, wrong, "rewards", f"must be an integer from 0 to {most}")

    def slates(self, sessions: Sessions) -> None:
        """Slates hold items of the catalogue."""
        slates, most = sessions.infos["slate"], self.world.config.num_items
        _refuse(slates, (slates < 0) | (slates >= most), "slate", f"must be an item, from 0 to {most - 1}")

    def shown(self, sessions: Sessions) -> None:
        """An action's slate is the one that its session shows next."""
        slates = sessions.infos["slate"][:, 1:]  # (num_sessions, num_steps, slate_size)
        if self.is_latent and self.is_relabelled:
            clicks = sessions.infos["clicks"][:, 1:]
            actions = encoded(slates, clicks, self.ranker)
            wrong = (np.abs(actions - sessions.actions) > TOLERANCE).any(axis=2)
            if wrong.any():
                raise ValueError(f"actions[{_first(wrong)[1]}] is not what the ranker encodes its slate as")
            return
        shown = sessions.actions
        if self.is_latent:
            latents = sessions.actions.reshape(-1, sessions.actions.shape[2])
            shown = self.ranker.rank(latents).reshape(slates.shape)
        wrong = (shown != slates).any(axis=2)
        if wrong.any():
            where = _first(wrong)
            raise ValueError(
                f"actions[{where[1]}] shows {shown[where].tolist()}, but slate[{where[1] + 1}] is "
                f"{slates[where].tolist()}"
            )

    def seen(self, sessions: Sessions) -> None:
        """Observations are the beliefs of the slates and clicks before them; of a slate dataset, these themselves."""
        seen = sessions.observations
        if isinstance(seen, dict):
            for key in {"slate", "clicks"} & set(seen):
                _refuse(
                    seen[key], seen[key] != sessions.infos[key], f"observations[{key!r}]", "is not the info"
                )
            return
        expected = recomputed_beliefs(sessions, self.belief)
        wrong = ~(np.abs(seen - expected) <= TOLERANCE)  # true for NaN, too
        _refuse(
            seen, wrong, "observations", "is not what the belief's copy makes of the slates and clicks so far"
        )


def _with_first(sessions: Sessions) -> tuple[int, int]:
    return sessions.rewards.shape[0], sessions.rewards.shape[1] + 1


def _first(wrong: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))


def _refuse(values: NDArray[Any], wrong: NDArray[np.bool_], name: str, must: str) -> None:
    """Raises a ValueError for the first wrong number of ``(num_sessions, num_rows, ...)``, named by its row."""
    if wrong.any():
        where = _first(wrong)
        raise ValueError(f"{name}{list(where[1:])} is {values[where]}, {must}")
