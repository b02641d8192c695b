"""What a study says over all its worlds: scores with intervals, comparisons with one variant, and more than clicks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gems_gym_agents.evaluation import BEYOND_CLICKS
from gems_gym_agents.pipeline.results import normalized, runs_in
from gems_gym_agents.statistics import (
    Estimate,
    Strata,
    holm,
    interquartile_mean,
    mean,
    p_value_of_differences,
    probability_of_improvement,
)

ALL_WORLDS = "all worlds"
"""Name of the one group of worlds of a study of agents that learn from users."""

_Runs = Sequence[Sequence[Mapping[str, Any]]]  # of each world


def summarise(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Numbers over all worlds of a group: a study's worlds, or, of datasets, those of a level.

    A group has the worlds that have references and a run. All its numbers are of normalised scores but those of
    :data:`~gems_gym_agents.evaluation.BEYOND_CLICKS`. Only variants with runs in each of its worlds are in it:
    means over different worlds can't be compared.

    Args:
        results: See :func:`gems_gym_agents.pipeline.results.collect_results`.

    Returns:
        A JSON object a group. ``group`` is its name, ``worlds`` its worlds, ``left_out`` the variants that it has no
        numbers of. ``baseline`` is the variant that comes first in the study: others are compared with that one, which
        no result has chosen. ``references`` and ``variants`` have an object a policy: ``policy``, ``privileged``,
        ``runs`` (how many), ``iqm`` and ``mean`` (see :class:`~gems_gym_agents.statistics.Estimate`), and the measures
        beyond clicks (means over worlds and seeds; None where one was not recorded). Variants also have
        ``against_baseline``, None of the baseline itself and where the two share no seed: ``improvement`` (the
        probability that a run scores higher), ``difference`` (the mean over pairs of one world and seed), and
        ``p_value`` of the differences, ``p_holm`` corrected for the variants that are compared.
    """
    groups: dict[str, list[str]] = {}
    for world in results["worlds"]:
        if results["references"].get(world["name"]) and any(
            run["world"] == world["name"] for run in results["runs"]
        ):
            groups.setdefault(world.get("level") or ALL_WORLDS, []).append(world["name"])
    return [_of_group(results, name, worlds) for name, worlds in groups.items()]


def has_trade_off(results: Mapping[str, Any]) -> bool:
    """Whether both the scores of a variant and the diversity of its slates are known."""
    summaries = results.get("summary", ())
    return any(one["intra_slate_diversity"] is not None for group in summaries for one in group["variants"])


def _of_group(results: Mapping[str, Any], name: str, worlds: Sequence[str]) -> dict[str, Any]:
    references = [results["references"][world] for world in worlds]
    found = {
        one["name"]: [runs_in(results, world, one["name"]) for world in worlds] for one in results["variants"]
    }
    complete = {variant: runs for variant, runs in found.items() if all(runs)}
    scores = {
        variant: [
            {run["seed"]: normalized(run["test"]["mean_return"], known) for run in of_world}
            for of_world, known in zip(runs, references, strict=True)
        ]
        for variant, runs in complete.items()
    }
    baseline = next(iter(scores), None)
    against = {} if baseline is None else _comparisons(scores, baseline)
    privileged = {one["name"]: one["privileged"] for one in results["variants"]}
    return {
        "group": name,
        "worlds": list(worlds),
        "left_out": [variant for variant in found if variant not in complete],
        "baseline": baseline,
        "references": [
            _policy(
                policy,
                references[0][policy]["privileged"],
                [np.array([normalized(one[policy]["mean_return"], one)]) for one in references],
                [[one[policy]] for one in references],
            )
            for policy in references[0]
            if all(policy in one for one in references)
        ],
        "variants": [
            _policy(variant, privileged[variant], _strata(scores[variant]), _tests(runs))
            | {"against_baseline": against.get(variant)}
            for variant, runs in complete.items()
        ],
    }


def _policy(name: str, privileged: bool, scores: Strata, tests: _Runs) -> dict[str, Any]:
    return {
        "policy": name,
        "privileged": privileged,
        "runs": sum(len(one) for one in scores),
        "iqm": asdict(interquartile_mean(scores)),
        "mean": asdict(mean(scores)),
        **{measure: _mean_over_worlds(tests, measure) for measure in BEYOND_CLICKS},
    }


def _comparisons(scores: Mapping[str, list[dict[int, float]]], baseline: str) -> dict[str, dict[str, Any]]:
    """Every variant against one, by name; scores are, by variant, those of each world by seed."""
    differences = {
        variant: [
            np.array([one[seed] - other[seed] for seed in one if seed in other])
            for one, other in zip(of_variant, scores[baseline], strict=True)
        ]
        for variant, of_variant in scores.items()
        if variant != baseline
    }
    paired = {variant: one for variant, one in differences.items() if all(len(world) for world in one)}
    p_values = [p_value_of_differences(one) for one in paired.values()]
    return {
        variant: {
            "improvement": asdict(_improvement(scores[variant], scores[baseline])),
            "difference": asdict(mean(one)),
            "p_value": p_value,
            "p_holm": corrected,
        }
        for (variant, one), p_value, corrected in zip(paired.items(), p_values, holm(p_values), strict=True)
    }


def _improvement(first: Iterable[Mapping[int, float]], second: Iterable[Mapping[int, float]]) -> Estimate:
    return probability_of_improvement(_strata(first), _strata(second))


def _strata(scores: Iterable[Mapping[int, float]]) -> Strata:
    return [np.array([*one.values()]) for one in scores]


def _tests(runs: _Runs) -> _Runs:
    return [[run["test"] for run in of_world] for of_world in runs]


def _mean_over_worlds(tests: _Runs, measure: str) -> float | None:
    if any(one.get(measure) is None for of_world in tests for one in of_world):
        return None
    return float(np.mean([np.mean([one[measure] for one in of_world]) for of_world in tests]))
