"""The lines of a study's table: means over seeds, beside references and published numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gems_gym.common.arrays import t_interval
from gems_gym_agents.comparison.published import PublishedReturn, published_return
from gems_gym_agents.comparison.references import REFERENCES
from gems_gym_agents.comparison.results import runs_in
from gems_gym_agents.evaluation import References

_PUBLISHED_AS = {"short_term_oracle": "short-term oracle", "constant_slate": "best constant slate"}


@dataclass(frozen=True)
class Row:
    """A policy in a world.

    Attributes:
        world: The world.
        policy: The variant, or a policy that needs no training.
        mean_return: Clicks per session; of a variant the mean over its seeds.
        ci95: Half-width of the 95 % t-interval: of variants over seeds, of other policies over users.
        by_seed: Each seed's mean; empty for other policies.
        normalized_score: 0 is random, 100 the boredom-aware oracle; None where these were not measured.
        published: What others reported.
        interactions: That it learned from or was searched with; a mean over seeds.
        logged_interactions: Of logging policies, which its belief and its ranker learned from.
        cpu_minutes: Pretraining included; a mean over seeds.
        privileged: Whether it holds privileged information.
    """

    world: str
    policy: str
    mean_return: float
    ci95: float
    by_seed: tuple[float, ...]
    normalized_score: float | None
    published: float | None
    interactions: float
    logged_interactions: float
    cpu_minutes: float
    privileged: bool


@dataclass(frozen=True)
class OfflineRow:
    """An agent that learned from a dataset; means over seeds with the half-width of their 95 % t-interval.

    Attributes:
        world: The world as the dataset shows it.
        policy: The variant.
        by_seed: Each seed's mean return of the peak, on test users.
        peak: Mean return of the policy with the best score on validation users.
        final: Mean return of the last policy.
        behaviour: Mean return of the recorded sessions; its interval is over users.
        difference: Clicks that the peak gets more than the behaviour, paired by recorded user.
        q_share: The largest |Q| at any log of any seed, as a share of what rewards allow; None without Q-functions.
        cpu_minutes: A mean over seeds.
    """

    world: str
    policy: str
    by_seed: tuple[float, ...]
    peak: tuple[float, float]
    final: tuple[float, float]
    behaviour: tuple[float, float]
    difference: tuple[float, float]
    q_share: float | None
    cpu_minutes: float


def rows_of(results: dict[str, Any]) -> list[Row]:
    """The lines of a study of agents that learn from users: by world, policies without training, then variants."""
    rows: list[Row] = []
    published = [PublishedReturn(**one) for one in results["published"]]
    for world in results["worlds"]:
        references = results["references"].get(world["name"], {})
        rows += [_reference_row(world, name, references, published) for name in REFERENCES if references]
        for variant in results["variants"]:
            runs = runs_in(results, world["name"], variant["name"])
            if runs:
                rows.append(_variant_row(world, variant, runs, references, published))
    return rows


def offline_rows_of(results: dict[str, Any]) -> list[OfflineRow]:
    """The lines of a study of agents that learn from datasets."""
    rows: list[OfflineRow] = []
    for world in results["worlds"]:
        for variant in results["variants"]:
            runs = runs_in(results, world["name"], variant["name"])
            if runs:
                rows.append(_offline_row(world, variant, runs))
    return rows


def _reference_row(
    world: dict[str, str], name: str, references: dict[str, Any], published: Sequence[PublishedReturn]
) -> Row:
    found = references[name]
    return Row(
        world=world["name"],
        policy=name,
        mean_return=found["mean_return"],
        ci95=found["ci95"],
        by_seed=(),
        normalized_score=_normalized(found["mean_return"], references),
        published=_clicks(published, _PUBLISHED_AS.get(name), world),
        interactions=found["interactions"],
        logged_interactions=0.0,
        cpu_minutes=found["cpu_seconds"] / 60,
        privileged=found["privileged"],
    )


def _variant_row(
    world: dict[str, str],
    variant: dict[str, Any],
    runs: list[dict[str, Any]],
    references: dict[str, Any],
    published: Sequence[PublishedReturn],
) -> Row:
    means = _values(runs, "test", "mean_return")
    return Row(
        world=world["name"],
        policy=variant["name"],
        mean_return=float(means.mean()),
        ci95=t_interval(means),
        by_seed=tuple(means.tolist()),
        normalized_score=_normalized(float(means.mean()), references) if references else None,
        published=_clicks(published, variant["published_as"], world),
        interactions=float(np.mean([run["interactions"] for run in runs])),
        logged_interactions=float(np.mean([run["logged_interactions"] for run in runs])),
        cpu_minutes=_cpu_minutes(runs),
        privileged=variant["privileged"],
    )


def _offline_row(world: dict[str, str], variant: dict[str, Any], runs: list[dict[str, Any]]) -> OfflineRow:
    peaks = _values(runs, "test", "mean_return")
    paired = np.array([run["difference_to_behaviour"]["peak"]["mean"] for run in runs])
    return OfflineRow(
        world=world["name"],
        policy=variant["name"],
        by_seed=tuple(peaks.tolist()),
        peak=_mean_and_interval(peaks),
        final=_mean_and_interval(_values(runs, "final", "mean_return")),
        behaviour=(runs[0]["behaviour"]["mean_return"], runs[0]["behaviour"]["ci95"]),
        difference=_mean_and_interval(paired),
        q_share=max((share for run in runs for share in q_shares(run)), default=None),
        cpu_minutes=_cpu_minutes(runs),
    )


def q_shares(run: dict[str, Any]) -> list[float]:
    """|Q| as a share of what rewards allow, at every log of an offline run; empty for an agent without Q-functions."""
    history = run["history"]
    pairs = zip(history["q_abs_max"], history["q_bound"], strict=True)
    return [largest / bound for largest, bound in pairs if largest is not None]


def _values(runs: list[dict[str, Any]], part: str, key: str) -> np.ndarray:
    return np.array([run[part][key] for run in runs])  # (num_seeds,)


def _mean_and_interval(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), t_interval(values)


def _cpu_minutes(runs: list[dict[str, Any]]) -> float:
    return float(np.mean([sum(run["cpu_seconds"].values()) for run in runs])) / 60


def _clicks(published: Sequence[PublishedReturn], policy: str | None, world: dict[str, str]) -> float | None:
    reported = published_return(published, policy, world["preset"])
    return None if reported is None else reported.clicks


def _normalized(mean_return: float, references: dict[str, Any]) -> float:
    low, high = (references[name]["mean_return"] for name in (REFERENCES[0], REFERENCES[-1]))
    return References(low, high).normalized_score(mean_return)
