"""What agents see and do in a world, the infos that go with it, and the checks both environments share."""

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from numpy.typing import NDArray

from gems_gym.common.checks import as_array, checked
from gems_gym.errors import unknown_name
from gems_gym.simulator.checks import check_slates, check_users
from gems_gym.simulator.state import Shown
from gems_gym.world_config import WorldConfig

INFO_KEYS = ("slate", "clicks", "scores", "relevances", "bored", "user_state")
"""Keys of ``info``, the same at every step and at reset."""

Arrays = dict[str, NDArray[Any]]


class SessionStatus(Enum):
    """Where an environment stands between its calls."""

    NOT_STARTED = "not started"
    RUNNING = "running"
    ENDED = "ended"
    CLOSED = "closed"

    def check_open(self) -> None:
        """Raise ClosedEnvironmentError after ``close()``."""
        if self is SessionStatus.CLOSED:
            raise ClosedEnvironmentError("this environment was closed; make a new one")

    def check_running(self, called: str = "step") -> None:
        """Raise unless a session runs: ClosedEnvironmentError after ``close()``, else ResetNeeded.

        Args:
            called: The method that was called, for the message.
        """
        if self is SessionStatus.RUNNING:
            return
        self.check_open()
        when = "before the first reset" if self is SessionStatus.NOT_STARTED else "after the session's end"
        raise ResetNeeded(f"{called} was called {when}; call reset() first")


def observation_space(config: WorldConfig) -> spaces.Space[Any]:
    """The slate just shown and what was clicked: ``slate`` int64 (S,), ``clicks`` int8 (S,).

    In SARDINE also ``hist`` float32 (T,): recent clicks on each topic over those that bore.
    """
    seen: dict[str, spaces.Space[Any]] = {
        "slate": action_space(config), "clicks": spaces.MultiBinary(config.slate_size)
    }  # fmt: skip
    if config.shows_history:
        seen["hist"] = spaces.Box(0.0, 1.0, (config.num_topics,), np.float32)
    return spaces.Dict(seen)


def action_space(config: WorldConfig) -> spaces.MultiDiscrete:
    """A slate: an item id per position, duplicates allowed, int64 (S,)."""
    return spaces.MultiDiscrete([config.num_items] * config.slate_size)


def observations_of(shown: Shown, config: WorldConfig) -> Arrays:
    """Observations of all users, one row each."""
    # partial resets show them again
    found: Arrays = {
        "slate": shown.slates.copy(),
        "clicks": shown.clicks.copy(),
    }
    if config.shows_history:
        found["hist"] = shown.user_state[:, config.num_topics : 2 * config.num_topics].copy()
    return found


def infos_of(shown: Shown) -> Arrays:
    """Infos of all users, one row each; all but slate and clicks are privileged.

    ``slate`` and ``clicks`` are copies: changing an observation does not change its info.
    """
    return {
        "slate": shown.slates.copy(),
        "clicks": shown.clicks.copy(),
        "scores": shown.scores,
        "relevances": shown.relevances,
        "bored": shown.bored,
        "user_state": shown.user_state,
    }


def row_of(arrays: Arrays, row: int) -> Arrays:
    """One user's share of batched observations or infos."""
    return {key: array[row] for key, array in arrays.items()}


SEED = Annotated[int, Ge(0)] | None


def check_seed(seed: Any) -> int | None:
    """The seed as Gymnasium takes it; a clear TypeError or ValueError unless it is None or an integer ≥ 0."""
    found: int | None = checked("seed", seed, SEED)
    return found


def check_options(options: dict[str, Any] | None, known: tuple[str, ...] = ()) -> dict[str, Any]:
    """The reset options as a dictionary of their own; a ValueError that names the nearest for an unknown one."""
    for name in checked("options", options, Mapping | None) or {}:
        if name not in known:
            raise unknown_name("reset option", name, known)
    return dict(options or {})


SESSION_OPTIONS = ("user", "first_slate")
"""Reset options that say how a session opens."""


def opening(
    options: dict[str, Any], config: WorldConfig, rows: NDArray[np.int64], num_users: int | None = None
) -> Arrays:
    """What the reset options give instead of the drawn user and the catalogue's first slate.

    Args:
        options: May hold ``user``, ``(embedding_size,)``, and ``first_slate``, ``(slate_size,)``; in a vector
            environment also with one row for each user.
        config: The world.
        rows: The users whose sessions open, ``(n,)``.
        num_users: Users of a vector environment, None in a single one.

    Returns:
        Keywords of ``SlateSimulator.open_sessions``, each with ``n`` rows; only what was given.

    Raises:
        ValueError: A wrong shape, NaN or infinity, a user that is all zero, an item that is not in the catalogue.
        TypeError: No numbers, or item ids that are no integers.
    """
    given: Arrays = {}
    if options.get("user") is not None:
        users = _rows_given(options, "user", config.embedding_size, rows, num_users)
        given["preferences"] = check_users(users, users.shape, config.unit_size, "options['user']")
    if options.get("first_slate") is not None:
        slates = _rows_given(options, "first_slate", config.slate_size, rows, num_users)
        given["first_slates"] = check_slates(slates, slates.shape, config.num_items, "options['first_slate']")
    return given


def _rows_given(
    options: dict[str, Any], name: str, size: int, rows: NDArray[np.int64], num_users: int | None
) -> NDArray[Any]:
    """An option's rows for some users, ``(n, size)``; an option without rows is everyone's."""
    array = as_array(options[name], f"options[{name!r}]")
    if num_users is not None and array.shape == (num_users, size):
        return array[rows]
    if array.shape != (size,):
        right = f"({size},)" if num_users is None else f"({size},) or {(num_users, size)}"
        raise ValueError(f"options[{name!r}] must have shape {right}, got {array.shape}")
    return np.repeat(array[None], len(rows), axis=0)


def check_render_mode(render_mode: str | None, modes: list[str]) -> None:
    """Raise a ValueError that names the nearest unless ``render_mode`` is None or one of ``modes``."""
    if checked("render_mode", render_mode, str | None) not in (None, *modes):
        raise unknown_name("render_mode", render_mode, modes)
