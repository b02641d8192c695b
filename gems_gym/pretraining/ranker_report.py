"""How good a ranker is by itself: what its latents can express, before any agent is trained on it."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from gems_gym.common.checks import checked_arguments
from gems_gym.common.pictures import legend_below, new_figure, save_figure
from gems_gym.common.progress import track
from gems_gym.policies.constant_slate import find_constant_slate
from gems_gym.pretraining.reach import LEAST_SESSIONS, Reach, check_searchable, ranker_reach, slate_reach
from gems_gym.pretraining.session_log import SessionLog, collect_session_log
from gems_gym.rankers import Ranker
from gems_gym.simulator import Catalog
from gems_gym.simulator.catalog import own_embeddings
from gems_gym.user_splits import REPORTS_SEED, USERS_PER_SEED, LowSeed, Users
from gems_gym.world_config import WorldConfig

COMMON_LOG: Mapping[str, float] = {"eps_greedy_oracle": 1.0}
"""Who logs the slates that all rankers of a report are measured on: the logging policy of arXiv 2301.08632."""

_RANDOM_LATENTS = 100_000
_ACTIVE_VARIANCE = 0.01  # of a latent dimension's posterior means (Burda et al., 2016), as in gems_vae
_TIMED_USERS, _TIMED_CALLS = 256, 30


@dataclass(frozen=True, kw_only=True)
class RankerQuality:
    """Measures of a ranker in a world; None where it lacks what a measure is about.

    Attributes:
        reach: Clicks a session of the best constant latent, found on training users, on test users.
        reach_ci95: Half-width of its 95 % interval.
        constant_slate: Clicks a session of the best constant slate, found with as many sessions, on the same users.
        constant_slate_ci95: Half-width of its 95 % interval.
        reach_ratio: ``reach / constant_slate``; None where nobody clicks on that slate.
        slot_accuracy_eps_greedy: Share of slots that hold the same item after encoding and decoding, over slates that
            the ε-greedy oracle showed to users whom no shipped ranker learned from; None for rankers that don't encode.
        slot_accuracy_own_log: The same on sessions held out of the ranker's own log, from its file's header: measured
            right after training, without deduplication; None where the header has none.
        duplicates: Items in a slate that stand there already, a mean over uniformly random latents.
        duplicates_if_allowed: The same without the ranker's deduplication; None where there is no such option.
        catalogue_share: Share of the items that are ever shown over 100,000 uniformly random latents.
        catalogue_share_encoded: The same over the encodings of the ε-greedy oracle's slates.
        kl: Divergence of the encoder's posterior from N(0, 1), nats a slate, over the ε-greedy oracle's slates; of a
            ranker without its encoder the header's, on sessions held out of its own log.
        active_dimensions: Latent dimensions whose posterior means have a variance above 0.01 there; header as for kl.
        action_size: Numbers in a latent.
        decode_rate: Slates a second, 256 users at a time, on one thread; the fastest of 30 calls.
    """

    reach: float
    reach_ci95: float
    constant_slate: float
    constant_slate_ci95: float
    reach_ratio: float | None
    slot_accuracy_eps_greedy: float | None
    slot_accuracy_own_log: float | None
    duplicates: float
    duplicates_if_allowed: float | None
    catalogue_share: float
    catalogue_share_encoded: float | None
    kl: float | None
    active_dimensions: int | None
    action_size: int
    decode_rate: float


@checked_arguments
def compare_rankers(
    rankers: Mapping[str, Ranker],
    config: WorldConfig,
    catalog: Catalog,
    *,
    log_sessions: Users = 250,
    search_sessions: Annotated[int, Interval(ge=LEAST_SESSIONS)] = 100_000,
    users: Annotated[int, Interval(ge=2, le=USERS_PER_SEED)] = 500,
    seed: LowSeed = 0,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Measures rankers in one world, all on the same users and slates.

    Args:
        rankers: Name -> ranker.
        config: The world.
        catalog: Its items.
        log_sessions: Sessions logged to measure slot accuracy and posteriors on, ≥ 1.
        search_sessions: Sessions of each search for the best constant latent, and of the one for the best slate,
            ≥ 5,000.
        users: Test users, ≥ 2.
        seed: Seed of the logging, training and test users, the searches and the random latents.
        progress: Whether to show progress bars on stderr.

    Returns:
        Name -> the fields of :class:`RankerQuality`.

    Raises:
        ValueError: A ranker that draws its slates or is for another catalogue or slate size, or too few sessions.
    """
    for name, ranker in rankers.items():
        check_searchable(ranker, catalog, name)
        if ranker.slate_size != config.slate_size:
            raise ValueError(f"{name} has slates of {ranker.slate_size} items, the world {config.slate_size}")
    log = collect_session_log(
        config,
        COMMON_LOG,
        log_sessions,
        REPORTS_SEED + seed,
        item_embeddings=own_embeddings(config, catalog),
        progress=progress,
    )
    slate = find_constant_slate(config, catalog, sessions=search_sessions, seed=seed, progress=progress)
    baseline = slate_reach(slate, config, catalog, users=users, seed=seed)
    rows = {}
    with track("rankers", len(rankers), progress) as advance:
        for name, ranker in rankers.items():
            reach = ranker_reach(
                ranker, config, catalog, sessions=search_sessions, users=users, seed=seed, progress=False
            )
            rows[name] = asdict(_measured(ranker, reach, baseline, log, seed))
            advance(1, note=name)
    return rows


def draw_rankers(rows: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Draws what :func:`compare_rankers` measured.

    Args:
        rows: Its result.
        title: What stands above.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    figure = new_figure(14, 3.5 + 0.6 * len(rows))
    reach, accuracy, duplicates, share, information, rate = figure.subplots(2, 3, sharey=True).ravel()
    errors = [row["reach_ci95"] for row in rows.values()]
    reach.barh(list(rows), [row["reach"] for row in rows.values()], xerr=errors, height=0.6)
    constant = next(iter(rows.values()))["constant_slate"]
    reach.axvline(constant, color="black", linestyle=":", label=f"best constant slate: {constant:.0f}")
    legend_below(reach)
    reach.set(title="reach: clicks of the best constant latent")
    _bars(accuracy, rows, "slots that encoding and decoding keep", {
        "slot_accuracy_eps_greedy": "ε-greedy slates", "slot_accuracy_own_log": "own log, held out"})  # fmt: skip
    _bars(duplicates, rows, "duplicates per slate, random latents", {
        "duplicates": "as it is", "duplicates_if_allowed": "without deduplication"})  # fmt: skip
    _bars(share, rows, "share of the catalogue ever shown", {
        "catalogue_share": "random latents", "catalogue_share_encoded": "encoded slates"})  # fmt: skip
    _bars(information, rows, "information in a latent", {
        "kl": "KL, nats a slate", "active_dimensions": "active dimensions"})  # fmt: skip
    _bars(rate, rows, "slates a second, 256 users at a time", {"decode_rate": ""})
    reach.invert_yaxis()  # the first row on top; the axis is shared
    figure.suptitle(title)
    save_figure(figure, path)


def _measured(ranker: Ranker, reach: Reach, baseline: Reach, log: SessionLog, seed: int) -> RankerQuality:
    shape = (_RANDOM_LATENTS, ranker.action_size)
    latents = 2 * np.random.default_rng(seed).random(shape, dtype=np.float32) - 1
    slates = ranker.rank(latents)
    logged = (log.slates.reshape(-1, ranker.slate_size), log.clicks.reshape(-1, ranker.slate_size))
    accuracy, encoded_share = _reconstruction(ranker, *logged)
    kl, active = _posterior(ranker, *logged)
    return RankerQuality(
        reach=reach.mean,
        reach_ci95=reach.ci95,
        constant_slate=baseline.mean,
        constant_slate_ci95=baseline.ci95,
        reach_ratio=reach.mean / baseline.mean if baseline.mean else None,
        slot_accuracy_eps_greedy=accuracy,
        slot_accuracy_own_log=_held_out(ranker).get("slot_accuracy"),
        duplicates=_duplicates(slates),
        duplicates_if_allowed=_duplicates_if_allowed(ranker, latents),
        catalogue_share=len(np.unique(slates)) / ranker.num_items,
        catalogue_share_encoded=encoded_share,
        kl=kl,
        active_dimensions=active,
        action_size=ranker.action_size,
        decode_rate=_decode_rate(ranker, latents[:_TIMED_USERS]),
    )


def _reconstruction(
    ranker: Ranker, slates: NDArray[np.int32], clicks: NDArray[np.uint8]
) -> tuple[float | None, float | None]:
    """Slot accuracy, and the share of the catalogue in the decoded slates."""
    encode = getattr(ranker, "encode", None)
    if encode is None:
        return None, None
    decoded = ranker.rank(encode(slates, clicks))  # (num_slates, slate_size)
    return float((decoded == slates).mean()), len(np.unique(decoded)) / ranker.num_items


def _held_out(ranker: Ranker) -> Mapping[str, float]:
    """What its training measured on sessions held out of its log; nothing where its header does not say."""
    metrics: Mapping[str, float] = getattr(ranker, "header", {}).get("metrics", {})
    return metrics


def _posterior(
    ranker: Ranker, slates: NDArray[np.int32], clicks: NDArray[np.uint8]
) -> tuple[float | None, int | None]:
    """KL divergence of the posterior from N(0, 1), nats a slate, and the number of active dimensions."""
    posterior = getattr(ranker, "posterior", None)
    if posterior is None:
        known = _held_out(ranker)
        active = known.get("active_dimensions")
        return known.get("kl"), None if active is None else int(active)
    means, log_variances = (part.astype(np.float64) for part in posterior(slates, clicks))
    divergence = 0.5 * (np.exp(log_variances) + means**2 - 1 - log_variances).sum(axis=1)
    return float(divergence.mean()), int((means.var(axis=0) > _ACTIVE_VARIANCE).sum())


def _duplicates(slates: NDArray[np.int64]) -> float:
    ordered = np.sort(slates, axis=1)
    return float((ordered[:, 1:] == ordered[:, :-1]).sum(axis=1).mean())


def _duplicates_if_allowed(ranker: Ranker, latents: NDArray[np.float32]) -> float | None:
    if not hasattr(ranker, "deduplicate"):
        return None
    allowing: Any = copy.copy(ranker)
    allowing.deduplicate = False
    return _duplicates(allowing.rank(latents))


def _decode_rate(ranker: Ranker, latents: NDArray[np.float32]) -> float:
    seconds = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        ranker.rank(latents)
        seconds.append(time.perf_counter() - start)
    return len(latents) / min(seconds)  # what other programs take is no part of it


def _bars(axes: Any, rows: Mapping[str, Mapping[str, Any]], title: str, measures: Mapping[str, str]) -> None:
    """Bars beside each other for each row, one for each measure that has a label; no bar where there is no value."""
    height = 0.8 / len(measures)
    for index, (measure, label) in enumerate(measures.items()):
        places = np.arange(len(rows)) + (index - (len(measures) - 1) / 2) * height
        values = np.array([row[measure] for row in rows.values()], np.float64)  # None is no bar
        axes.barh(places, values, height, label=label)
    if any(measures.values()):
        legend_below(axes)
    axes.set(title=title)
