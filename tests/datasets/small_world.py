"""A world small enough to record in milliseconds, with an untrained ranker and belief, and a noisy latent policy."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gymnasium
import numpy as np

import gems_gym  # noqa: F401  (registers the environments)
from gems_gym.beliefs import GruBelief
from gems_gym.datasets import collect
from gems_gym.rankers import GemsRanker

ENV_ID = "GemsSlate-diffuse_topdown-v0"
WORLD = {"num_items": 40, "slate_size": 5, "episode_length": 9}
LENGTH = 9
SLATE_SIZE = 5


@cache
def catalog_hash() -> str:
    return gymnasium.make(ENV_ID, **WORLD).unwrapped.catalog.hash


@cache
def small_ranker(seed: int = 0) -> GemsRanker:
    return GemsRanker.random(
        num_items=40, slate_size=SLATE_SIZE, catalog_hash=catalog_hash(), seed=seed, latent_size=6
    )


@cache
def small_belief(seed: int = 0) -> GruBelief:
    return GruBelief.random(
        num_items=40, slate_size=SLATE_SIZE, catalog_hash=catalog_hash(), seed=seed, size=4
    )


class NoisyLatents:
    """A latent policy: a fixed linear map of the belief, plus each user's own noise."""

    observes = "beliefs"
    actions = "latents"

    def open(self, seeds: Sequence[int]) -> list[np.random.Generator]:
        return [np.random.default_rng([7, seed]) for seed in seeds]

    def act(self, state: list[np.random.Generator], observations: np.ndarray) -> tuple[np.ndarray, Any]:
        weights = np.random.default_rng(0).normal(size=(observations.shape[1], 6))
        # user by user: the bits of a matrix product depend on its number of rows
        means = np.stack([observation @ weights for observation in observations])
        noise = np.stack([rng.normal(size=6) for rng in state])
        return np.clip(means + 0.3 * noise, -1.0, 1.0).astype(np.float32), state


def collect_latents(dataset_id: str = "small/latent-v0", **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "episodes": 10,
        "seed": 3,
        "ranker": small_ranker(),
        "belief": small_belief(),
        "num_envs": 4,
        "env_kwargs": WORLD,
        "reference_scores": (1.0, 9.0),
        "progress": False,
    }
    policy: Callable | Any = changes.pop("policy", NoisyLatents())
    return collect(ENV_ID, policy, dataset_id=dataset_id, **(arguments | changes))


def collect_slates(dataset_id: str = "small/slate-v0", policy: Any = "random", **changes: Any) -> Any:
    return collect_latents(dataset_id, policy=policy, **({"ranker": None, "belief": None} | changes))
