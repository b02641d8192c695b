"""Reach: what a ranker's latents can express, as the clicks of the best latent that never changes.

A latent space that holds no good slate caps every agent above it, and the best constant latent needs no agent to find
it: one latent is one slate, so a search runs at the speed of the simulator alone. The search is the cross-entropy
method (Rubinstein 1999) on *training* users; the measure is taken on *test* users, and belongs beside the one of the
best constant slate found with as many sessions (:func:`~gems_gym.policies.constant_slate.find_constant_slate`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import t_interval
from gems_gym.common.progress import track
from gems_gym.policies.paired_sessions import PairedSessions
from gems_gym.rankers import Ranker
from gems_gym.simulator import Catalog
from gems_gym.user_splits import user_seeds
from gems_gym.world_config import WorldConfig

# Many candidates on a few users, new ones in each generation: the elite's mean averages over candidates and users, so
# that sessions are better spent on more of either than on knowing a candidate's clicks well.
_POPULATION, _USERS, _ELITE = 256, 8, 32
_FIRST_DEVIATION, _LEAST_DEVIATION = 0.5, 0.05  # of a box that reaches from -1 to 1
_FINALISTS = 8
_FINAL_SHARE = 0.15  # of the sessions, to choose among the finalists
LEAST_SESSIONS = 5_000
"""Of a search."""
_USERS_TOGETHER = 512  # bounds memory


@dataclass(frozen=True)
class Reach:
    """Clicks a session on users that no search has met.

    Attributes:
        mean: Mean over the users.
        ci95: Half-width of the 95 % t-interval of that mean.
        users: How many users.
    """

    mean: float
    ci95: float
    users: int


def slate_reach(
    slate: NDArray[np.int64], config: WorldConfig, catalog: Catalog, *, users: int = 500, seed: int = 0
) -> Reach:
    """The clicks of a slate that is shown to every test user at every step.

    Args:
        slate: Item ids, int64 ``(slate_size,)``.
        config: The world.
        catalog: Its items.
        users: Test users, ≥ 2.
        seed: Block of test users.

    Raises:
        ValueError: Fewer than two users.
    """
    if users < 2:
        raise ValueError(f"users must be ≥ 2 for an interval, got {users}")
    clicks = PairedSessions(config, catalog, user_seeds("test", seed, users)).clicks(slate[None])[0]
    return Reach(float(clicks.mean()), t_interval(clicks), users)


def ranker_reach(
    ranker: Ranker,
    config: WorldConfig,
    catalog: Catalog,
    *,
    sessions: int = 100_000,
    users: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> Reach:
    """The clicks of the best constant latent that :func:`best_constant_latent` finds, on test users.

    Args:
        ranker: Decodes the latents; without draws.
        config: The world.
        catalog: Its items.
        sessions: What the search may play.
        users: Test users, ≥ 2.
        seed: Seed of the search and its training users; block of test users.
        progress: Whether to show a progress bar on stderr.

    Raises:
        ValueError: As :func:`best_constant_latent` and :func:`slate_reach`.
    """
    latent = best_constant_latent(ranker, config, catalog, sessions=sessions, seed=seed, progress=progress)
    return slate_reach(ranker.rank(latent[None])[0], config, catalog, users=users, seed=seed)


def best_constant_latent(
    ranker: Ranker,
    config: WorldConfig,
    catalog: Catalog,
    *,
    sessions: int = 100_000,
    seed: int = 0,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Search for the latent whose slate, never changed, gets the most clicks from training users.

    Latents are drawn from N(0, 0.5²) and cut to the box; each generation is drawn around the best of the one before,
    and played by users of its own, the same for all its candidates. In the end the last means and winners are
    played by the same many users, and the best is chosen.

    Args:
        ranker: Decodes the latents; without draws.
        config: The world.
        catalog: Its items.
        sessions: Sessions to play in all, ≥ 5,000.
        seed: Seed of the search, and block of training users.
        progress: Whether to show a progress bar on stderr.

    Returns:
        float32 ``(action_size,)`` in [-1, 1].

    Raises:
        ValueError: Too few sessions, a ranker that draws, or one of another catalogue.
    """
    if sessions < LEAST_SESSIONS:
        raise ValueError(f"sessions must be ≥ {LEAST_SESSIONS} for a search, got {sessions}")
    check_searchable(ranker, catalog)
    rng = np.random.default_rng(seed)
    mean = np.zeros(ranker.action_size)
    deviation = np.full(ranker.action_size, _FIRST_DEVIATION)
    generations = int((1 - _FINAL_SHARE) * sessions) // (_POPULATION * _USERS)
    finalists: list[NDArray[np.float64]] = []
    with track("best constant latent", sessions, progress) as advance:
        for generation in range(generations):
            noise = rng.standard_normal((_POPULATION, ranker.action_size))
            latents = np.clip(mean + deviation * noise, -1, 1)  # (_POPULATION, action_size)
            seeds = user_seeds("training", seed, _USERS, start=generation * _USERS)
            clicks = _mean_clicks(ranker, latents, config, catalog, seeds)
            elite = latents[np.argsort(-clicks, kind="stable")[:_ELITE]]
            mean = elite.mean(axis=0)
            deviation = np.maximum(elite.std(axis=0), _LEAST_DEVIATION)
            finalists = [*finalists, elite[0], mean][-_FINALISTS:]
            advance(_POPULATION * _USERS, note=f"{clicks.max():.1f} clicks")
        users = int(_FINAL_SHARE * sessions) // len(finalists)
        seeds = user_seeds("training", seed, users, start=generations * _USERS)
        clicks = _mean_clicks(ranker, np.stack(finalists), config, catalog, seeds)
        advance(users * len(finalists), note=f"{clicks.max():.1f} clicks")
    return finalists[int(clicks.argmax())].astype(np.float32)


def check_searchable(ranker: Ranker, catalog: Catalog, name: str = "the ranker") -> None:
    """Raises a ValueError, with the ranker's name, if it draws or was made for another catalogue."""
    if getattr(ranker, "sample", False):
        raise ValueError(f"{name} draws its slates: no latent is one slate; make it with sample=False")
    if ranker.catalog_hash != catalog.hash:
        raise ValueError(f"{name} is for the catalogue {ranker.catalog_hash}, not for {catalog.hash}")


def _mean_clicks(
    ranker: Ranker,
    latents: NDArray[np.float64],
    config: WorldConfig,
    catalog: Catalog,
    seeds: list[int],
) -> NDArray[np.float64]:
    """Mean clicks a session of each latent's slate, all on the same users and randomness: ``(num_latents,)``."""
    slates = ranker.rank(latents.astype(np.float32))
    total = np.zeros(len(slates))
    for start in range(0, len(seeds), _USERS_TOGETHER):
        users = seeds[start : start + _USERS_TOGETHER]
        total += PairedSessions(config, catalog, users, len(slates)).clicks(slates).sum(axis=1)
    return total / len(seeds)
