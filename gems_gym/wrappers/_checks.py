"""What all four wrappers have in common: their ranker or belief encoder, which must fit the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

_ROLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ranker": ("ranker", ("rank",)),
    "encoder": ("belief encoder", ("initial", "update", "read")),
}
"""The name of a wrapper's argument -> what it is called in messages, and what it must be able to do."""


def fitting_part(given: Any, role: str, load: Callable[[Any], Any], env: gym.Env | VectorEnv) -> Any:
    """The ranker or belief encoder that a wrapper is given, loaded if it is a name or a file.

    Args:
        given: Anything.
        role: The argument's name: "ranker" or "encoder".
        load: Loads one.
        env: The environment that it must fit, see :func:`check_fits`.

    Raises:
        TypeError: It lacks a method, or the environment is not a slate environment.
        ValueError: It belongs to another catalogue or number of slots.
    """
    part = load(given) if isinstance(given, str | os.PathLike) else given
    called, methods = _ROLES[role]
    if missing := [name for name in methods if not callable(getattr(part, name, None))]:
        kind = getattr(part, "kind", type(part).__name__)
        raise TypeError(
            f"{role}={part!r} is a {kind}, which has no {'() and no '.join(missing)}(); a {called} was expected, for "
            f"example {load.__name__}(file)"
        )
    check_fits(part, role, env)
    return part


def users_started(options: Mapping[str, Any] | None, num_envs: int) -> np.ndarray:
    """Whose sessions a vector environment's reset starts, bool ``(num_envs,)``; a copy, which the caller keeps.

    Taken before the environment sees the options: it may take the mask out of them, or write into it.
    """
    mask = (options or {}).get("reset_mask")
    return np.ones(num_envs, dtype=np.bool_) if mask is None else np.array(mask)


def check_fits(part: Any, role: str, env: gym.Env | VectorEnv) -> None:
    """Raises unless a ranker or belief encoder belongs to the catalogue and slate size of an environment.

    Args:
        part: The ranker or encoder: anything with ``kind``, ``num_items``, ``slate_size`` and ``catalog_hash``.
        role: The argument's name, for the message: "ranker" or "encoder".
        env: A slate environment, a vector of them, or a wrapped one of either.

    Raises:
        TypeError: The environment is not a slate environment.
        ValueError: Another catalogue (both hashes are named), or another number of slots.
    """
    catalog, config = _world(env)
    if part.catalog_hash != catalog.hash:
        raise ValueError(
            f"{role} (a {part.kind}) was made for the catalogue {part.catalog_hash}, but the environment's "
            f"catalogue is {catalog.hash}: item ids mean other items there. Pretrain on this "
            f"environment, or make the environment with the other catalogue"
        )
    found = (part.num_items, part.slate_size)
    expected = (config.num_items, config.slate_size)
    if found != expected:
        raise ValueError(
            f"{role} (a {part.kind}) is for {found[0]} items in slates of {found[1]}; "
            f"the environment has {expected[0]} items in slates of {expected[1]}"
        )


def _world(env: gym.Env | VectorEnv) -> tuple[Any, Any]:
    """The catalogue and the config of the slate environment underneath, single, vector or a vector of singles."""
    core: Any = env.unwrapped
    if hasattr(core, "catalog") and hasattr(core, "config"):
        return core.catalog, core.config
    try:  # SyncVectorEnv and AsyncVectorEnv hold their environments behind get_attr
        return core.get_attr("catalog")[0], core.get_attr("config")[0]
    except AttributeError as error:
        raise TypeError(
            f"env={env} is not a slate environment: it has no catalogue; make a GemsSlate-* one"
        ) from error
