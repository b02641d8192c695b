"""Small artefacts in the place of the shipped ones: ranker, belief and two policies of the small world."""

from pathlib import Path

import numpy as np

from gems_gym.artifacts import shipped
from gems_gym.common.networks import FeedForward
from gems_gym.policies.actor import KIND, Actor
from tests.datasets.small_world import small_belief, small_ranker

PRESET = "diffuse_topdown"


def small_actor(seed: int) -> Actor:
    """Beliefs of 4 numbers to latents of 6."""
    weights = {"0.weight": np.random.default_rng(seed).normal(size=(6, 4)), "0.bias": np.zeros(6)}
    return Actor(FeedForward(weights, [["linear"], ["tanh"]]))


def ship(folder: Path, name: str, kind: str, sha256: str) -> None:
    """Puts a file that lies in a folder into its manifest."""
    entry = shipped.Entry(
        file=f"{name}.safetensors", sha256=sha256, kind=kind, preset=PRESET, command="make", metrics={}
    )
    shipped.record(folder, name, entry)


def ship_levels(folder: Path) -> None:
    """Writes all four and their manifest."""
    named = {}
    for kind, name, part in (("ranker", "gems", small_ranker()), ("belief", "gru", small_belief())):
        sha256 = part.save(folder / f"{name}-{PRESET}.safetensors")
        ship(folder, f"{name}-{PRESET}", part.kind, sha256)
        named[kind] = {"name": f"{name}-{PRESET}", "sha256": sha256}
    for level, seed in (("medium", 1), ("expert", 2)):
        actor = small_actor(seed)
        actor.metadata = {"agent": "sac", "command": "gems-gym levels", **named}
        ship(folder, f"{level}-{PRESET}", KIND, actor.save(folder / f"{level}-{PRESET}.safetensors"))
