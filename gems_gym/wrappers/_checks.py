"""What all four wrappers check when they are put around an environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv


def check_fits(part: Any, role: str, env: gym.Env | VectorEnv) -> None:
    """Raises unless a ranker or belief encoder belongs to the catalogue and slate size of an environment.

    Args:
        part: the ranker or encoder: anything with ``kind``, ``num_items``, ``slate_size`` and ``catalog_hash``.
        role: the argument's name, for the message: "ranker" or "encoder".
        env: a slate environment, a vector of them, or a wrapped one of either.

    Raises:
        TypeError: the environment is not a slate environment.
        ValueError: another catalogue (both hashes are named), or another number of slots.
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
