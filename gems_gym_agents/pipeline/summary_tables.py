"""The tables of :mod:`gems_gym_agents.pipeline.summary`, and the texts that explain them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRIVILEGED = " (privileged)"

_BEYOND = {
    "intra_slate_diversity": ("diversity", "{:.3f}"),
    "catalogue_coverage": ("coverage", "{:.3f}"),
    "bored_steps": ("bored steps", "{:.3f}"),
    "lower_decile": ("lower decile", "{:.1f}"),
}
"""Measure -> the column's header, and how it is written."""


def score_table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a group's scores: policy, runs, IQM, mean, and how it compares with the baseline."""
    header = ["policy", "runs", "IQM", "mean", "P(better)", "difference", "p"]
    return header, [_score_cells(one) for one in (*summary["references"], *summary["variants"])]


def beyond_table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what policies get their score with; only of those of which all was recorded."""
    header = ["policy", "mean score", *(name for name, _ in _BEYOND.values())]
    rows = [
        [
            _name(one),
            f"{one['mean']['value']:.1f}",
            *(form.format(one[measure]) for measure, (_, form) in _BEYOND.items()),
        ]
        for one in (*summary["references"], *summary["variants"])
        if all(one[measure] is not None for measure in _BEYOND)
    ]
    return header, rows


def score_text(summary: Mapping[str, Any]) -> str:
    """What the scores are."""
    baseline = summary["baseline"]
    compared = sum(one["against_baseline"] is not None for one in summary["variants"])
    left_out = ", ".join(f"`{one}`" for one in summary["left_out"])
    text = (
        f"Normalised scores in {len(summary['worlds'])} worlds. IQM: mean of the middle half of all runs. In brackets: "
        "95 % intervals of a bootstrap that draws the seeds of each world anew; references are measured once."
    )
    of_baseline = (
        f" P(better): how likely a run scores higher than one of `{baseline}` in the same world. Difference: to "
        f"`{baseline}`, mean over pairs of one world and seed. p: of these differences by Wilcoxon's signed ranks, "
        f"with Holm's correction (comparisons: {compared})."
    )
    without = f" Left out, as not run in each of these worlds: {left_out}."
    return text + of_baseline * (baseline is not None) + without * bool(left_out)


BEYOND_TEXT = (
    "Means over worlds and seeds, on test users. Diversity: mean distance between two items of a slate, 1 minus the "
    "cosine of their embeddings in the catalogue. Coverage: share of the items that some user is shown. Bored steps: "
    "share of the steps at which some topic bores the user. Lower decile: mean clicks of the tenth of the users who "
    "click least."
)


def _score_cells(policy: Mapping[str, Any]) -> list[str]:
    against = policy.get("against_baseline")
    compared = ["", "", ""]
    if against is not None:
        p = against["p_holm"]
        compared = [
            _estimate(against["improvement"], ".2f"),
            _estimate(against["difference"], "+.1f"),
            "< 0.001" if p < 0.001 else f"{p:.3f}",
        ]
    return [
        _name(policy),
        str(policy["runs"]),
        _estimate(policy["iqm"], ".1f"),
        _estimate(policy["mean"], ".1f"),
        *compared,
    ]


def _name(policy: Mapping[str, Any]) -> str:
    return f"{policy['policy']}{PRIVILEGED if policy['privileged'] else ''}"


def _estimate(found: Mapping[str, float | None], form: str) -> str:
    value, low, high = ("" if number is None else f"{number:{form}}" for number in found.values())
    return f"{value} [{low}, {high}]" if low else value
