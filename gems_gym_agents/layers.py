"""A vector environment and what it wraps: its layers, and what they say of the world."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from gymnasium.vector import VectorEnv, VectorWrapper


def layers_of(env: VectorEnv) -> Iterator[VectorEnv]:
    """A vector environment and what it wraps, from the outside in."""
    yield env
    while isinstance(env, VectorWrapper):
        env = env.env
        yield env


def describe_world(env: VectorEnv) -> dict[str, Any]:
    """What an environment is: configuration, catalogue, and the digests of the ranker and the belief around it."""
    world: dict[str, Any] = {}
    for layer in layers_of(env):
        for role, name in (("ranker", "ranker"), ("encoder", "belief"), ("belief", "belief")):
            if hasattr(layer, role):
                world[name] = getattr(layer, role).sha256
    core: Any = env.unwrapped
    if hasattr(core, "config") and hasattr(core, "catalog"):
        world |= {"config": asdict(core.config), "catalog": core.catalog.hash}
    return world
