"""All that was found in a study's folder, as one JSON-able value, and the lines of its table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym import __version__
from gems_gym.commands.output import note
from gems_gym.common.arrays import t_interval
from gems_gym_agents.evaluation import References
from gems_gym_agents.pipeline.references import REFERENCES, references_stage
from gems_gym_agents.pipeline.running import finished_runs
from gems_gym_agents.pipeline.study import OnlineVariant, PublishedReturn, RecordedWorld, Study, World

RESULTS_FILE = "results.json"

_KEPT = (
    "world", "variant", "seed", "test", "final", "behaviour", "difference_to_behaviour", "interactions",
    "logged_interactions", "cpu_seconds", "curve", "averaged", "history", "diverged", "machine", "gems_gym",
    "processor", "code", "cpu", "parts",
)  # fmt: skip


def collect_results(study: Study, out: Path, command: str) -> dict[str, Any]:
    """Everything that was found; what was run with other settings is left out, and a note says so.

    Args:
        study: The study, complete for this machine.
        out: Its folder; whatever is finished there counts, also seeds that the study does not name.
        command: What it was run with.
    """
    results = [result for _, result in finished_runs(study, out)]
    references = {world.name: _references(study, world, out, results) for world in study.worlds}
    return {
        "study": study.name,
        "title": study.title,
        "command": command,
        "gems_gym": __version__,
        "test_users": study.test_users,
        "validation_users": study.validation_users,
        "worlds": [
            {
                "name": world.name,
                "preset": world.preset,
                "level": getattr(world, "level", None),
                "version": getattr(world, "version", 0),
                "overrides": dict(getattr(world, "overrides", {})),
            }
            for world in study.worlds
        ],
        "variants": [
            {
                "name": variant.name,
                "description": variant.description,
                "privileged": isinstance(variant, OnlineVariant) and variant.privileged,
                "published_as": variant.published_as if isinstance(variant, OnlineVariant) else None,
            }
            for variant in study.variants
        ],
        "published": [asdict(one) for one in study.published],
        "references": {name: found for name, found in references.items() if found is not None},
        "runs": [{key: result[key] for key in _KEPT if key in result} for result in results],
    }


def _references(
    study: Study, world: World | RecordedWorld, out: Path, runs: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """What a world's policies stand beside, by name, if it is known."""
    if isinstance(world, World):
        try:
            measured = references_stage(study, world, out).kept()
        except ValueError as error:  # of other settings
            note(f"the references of {world.name} are left out: {error}")
            return None
        return None if measured is None else dict(measured["policies"])
    run = next((run for run in runs if run["world"] == world.name and run.get("references")), None)
    if run is None:
        return None
    clicks = {**run["references"], "behaviour": run["behaviour"]["mean_return"]}
    return {
        name: {"mean_return": value, "privileged": name == REFERENCES[-1]} for name, value in clicks.items()
    }


def runs_in(results: Mapping[str, Any], world: str, variant: str) -> list[dict[str, Any]]:
    """The finished runs of a variant in a world, by seed."""
    runs = [run for run in results["runs"] if (run["world"], run["variant"]) == (world, variant)]
    return sorted(runs, key=lambda run: run["seed"])


def is_offline(results: dict[str, Any]) -> bool:
    """Whether the study's agents learn from datasets."""
    return any("history" in run for run in results["runs"])


_PUBLISHED_AS = {"short_term_oracle": "short-term oracle", "constant_slate": "best constant slate"}


@dataclass(frozen=True)
class Row:
    """A policy in a world.

    Attributes:
        world: The world.
        policy: The variant, or a reference (:mod:`gems_gym_agents.pipeline.references`).
        mean_return: Clicks per session; of a variant the mean over its seeds.
        ci95: Half-width of the 95 % t-interval: of variants over seeds, of other policies over users;
            infinite where there is none.
        worst: Fewest clicks of a session of any test user, and any seed; None where this was not recorded.
        by_seed: Each seed's mean; empty for other policies.
        normalized_score: 0 is random, 100 the boredom-aware oracle; None where these were not measured.
        published: What others reported.
        interactions: That it learned from or was searched with; a mean over seeds.
        logged_interactions: Interactions of logging policies, which its belief and its ranker learned from.
        cpu_minutes: Pretraining included; a mean over seeds.
        privileged: Whether it holds privileged information.
    """

    world: str
    policy: str
    mean_return: float
    ci95: float
    worst: float | None
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
        worst: Fewest clicks of a session of the peak, as in :class:`Row`.
        peak: Mean return of the policy with the best score on validation users.
        final: Mean return of the last policy.
        behaviour: Mean return of the recorded sessions; its interval is over users.
        difference: Clicks that the peak gets more than the behaviour, paired by recorded user.
        q_share: The largest |Q| at any log of any seed, as a share of what rewards allow; None without Q-functions.
        diverged: How many seeds' trainings were stopped since they had diverged.
        cpu_minutes: A mean over seeds.
    """

    world: str
    policy: str
    by_seed: tuple[float, ...]
    worst: float | None
    peak: tuple[float, float]
    final: tuple[float, float]
    behaviour: tuple[float, float]
    difference: tuple[float, float]
    q_share: float | None
    diverged: int
    cpu_minutes: float


def rows_of(results: dict[str, Any]) -> list[Row]:
    """The lines of a study of agents that learn from users: by world, references, then variants."""
    rows: list[Row] = []
    published = [PublishedReturn(**one) for one in results["published"]]
    for world in results["worlds"]:
        references = results["references"].get(world["name"], {})
        rows += [_reference_row(world, name, references, published) for name in references]
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


def _finite_or_not(ci95: float | None) -> float:
    """An interval as it was before JSON, which has no infinity."""
    return math.inf if ci95 is None else ci95


def _reference_row(
    world: dict[str, str], name: str, references: dict[str, Any], published: Sequence[PublishedReturn]
) -> Row:
    found = references[name]
    return Row(
        world=world["name"],
        policy=name,
        mean_return=found["mean_return"],
        ci95=_finite_or_not(found.get("ci95")),
        worst=found.get("worst"),
        by_seed=(),
        normalized_score=normalized(found["mean_return"], references),
        published=published_clicks(published, _PUBLISHED_AS.get(name), world["preset"]),
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
        worst=_worst(runs),
        by_seed=tuple(means.tolist()),
        normalized_score=normalized(float(means.mean()), references) if references else None,
        published=published_clicks(published, variant["published_as"], world["preset"]),
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
        worst=_worst(runs),
        peak=_mean_and_interval(peaks),
        final=_mean_and_interval(_values(runs, "final", "mean_return")),
        behaviour=(runs[0]["behaviour"]["mean_return"], _finite_or_not(runs[0]["behaviour"]["ci95"])),
        difference=_mean_and_interval(paired),
        q_share=max((share for run in runs for share in q_shares(run)), default=None),
        diverged=sum(run.get("diverged") is not None for run in runs),
        cpu_minutes=_cpu_minutes(runs),
    )


def q_shares(run: dict[str, Any]) -> list[float]:
    """|Q| as a share of what rewards allow, at every log of an offline run; empty for an agent without Q-functions."""
    history = run["history"]
    pairs = zip(history["q_abs_max"], history["q_bound"], strict=True)
    return [largest / bound for largest, bound in pairs if largest is not None]


def _values(runs: list[dict[str, Any]], part: str, key: str) -> np.ndarray:
    return np.array([run[part][key] for run in runs])  # (num_seeds,)


def _worst(runs: list[dict[str, Any]]) -> float | None:
    """Of all sessions of all seeds; None if results of earlier versions, which lack it, are among them."""
    worst = [run["test"].get("worst") for run in runs]
    return None if None in worst else float(min(worst))


def _mean_and_interval(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), t_interval(values)


def _cpu_minutes(runs: list[dict[str, Any]]) -> float:
    return float(np.mean([sum(run["cpu_seconds"].values()) for run in runs])) / 60


def published_clicks(published: Sequence[PublishedReturn], policy: str | None, world: str) -> float | None:
    """What was reported for a policy in a world, by its preset's name; None if nothing was."""
    return next((one.clicks for one in published if (one.policy, one.world) == (policy, world)), None)


def normalized(mean_return: float, references: Mapping[str, Any]) -> float:
    """A return as a normalised score, where a world's references are known."""
    low, high = (references[name]["mean_return"] for name in (REFERENCES[0], REFERENCES[-1]))
    return References(low, high).normalized_score(mean_return)
