"""Reports of datasets as a picture: a column of panels for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.common.checks import checked_arguments
from gems_gym.common.pictures import check_picture, new_figure, save_figure
from gems_gym.datasets.measures import Coverage, Returns, Slates
from gems_gym.datasets.report import DatasetReport

PANELS = ("returns", "steps", "ranks", "topics", "items", "coverage")
FROM_ZERO = [PANELS.index("steps"), PANELS.index("coverage")]
"""Panels whose vertical axis begins at 0."""


@checked_arguments
def draw_report(reports: DatasetReport | Sequence[DatasetReport], path: Path) -> None:
    """Draws reports: returns, clicks over the session and the ranks, concentration, coverage.

    Args:
        reports: One report, or several, each of which gets a column of panels whose axes are those of the others.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ValueError: No report, another suffix, or no file can be written there.
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    several = [reports] if isinstance(reports, DatasetReport) else list(reports)
    if not several:
        raise ValueError("reports must hold at least one report, got none")
    check_picture(path, "path")
    if len(several) == 1:
        figure = new_figure(13, 7.5)
        columns = figure.subplots(2, 3).reshape(1, -1)
        figure.suptitle(_title(several[0]))
    else:
        figure = new_figure(4.5 * len(several), 21)
        columns = figure.subplots(len(PANELS), len(several), sharex="row", sharey="row").T
    for axes, report in zip(columns, several, strict=True):
        _draw_one(axes, report)
        if len(several) > 1:
            axes[0].set_title(f"{_title(report)}\n\n{axes[0].get_title()}".replace(": ", "\n", 1))
    for one in columns[:, FROM_ZERO].ravel():  # at last, since axes that are shared are limited together
        one.set_ylim(bottom=0)
    save_figure(figure, path)


def _title(report: DatasetReport) -> str:
    return f"{report.dataset_id}: {report.episodes:,} sessions of {report.policy or 'an unknown policy'}"


def _draw_one(axes: Any, report: DatasetReport) -> None:
    """Draws a report into six panels."""
    panels = dict(zip(PANELS, axes, strict=True))
    _draw_returns(panels["returns"], report.returns)
    _draw_steps(panels["steps"], report.returns)
    if report.slates is not None:
        _draw_ranks(panels["ranks"], report.slates)
        _draw_topics(panels["topics"], report.slates)
        _draw_items(panels["items"], report.slates)
    _draw_coverage(panels["coverage"], {"beliefs": report.states, "latents": report.actions})
    for one in axes:
        if not one.has_data():
            one.set_axis_off()


def _draw_returns(axes: Any, returns: Returns) -> None:
    axes.stairs(returns.bin_counts, returns.bin_edges, fill=True, alpha=0.6)
    axes.axvline(returns.mean, color="black", linewidth=1)
    title = f"mean {returns.mean:.1f} ± {returns.ci95:.1f}, sd {returns.sd:.1f}"
    axes.set(xlabel="clicks per session", ylabel="sessions", title=title)


def _draw_steps(axes: Any, returns: Returns) -> None:
    axes.plot(range(1, len(returns.clicks_per_step) + 1), returns.clicks_per_step)
    axes.set(xlabel="step of the session", ylabel="clicks per slate", title="over the session")
    axes.grid(alpha=0.3)


def _draw_ranks(axes: Any, slates: Slates) -> None:
    axes.bar(range(1, len(slates.clicks_per_rank) + 1), slates.clicks_per_rank, 0.8)
    title = f"{100 * slates.slates_with_duplicates:.1f} % of slates show an item twice"
    axes.set(xlabel="rank", ylabel="clicks per slate", title=title)


def _draw_topics(axes: Any, slates: Slates) -> None:
    topics = np.arange(len(slates.topic_shares))
    axes.bar(topics - 0.2, slates.topic_shares, 0.4, label="shown")
    axes.bar(topics + 0.2, slates.clicked_topic_shares, 0.4, label="clicked")
    title = (
        f"{slates.topics.effective_number:.1f} effective topics, {100 * slates.bored_steps:.0f} % bored steps"
    )
    axes.set(xlabel="topic", ylabel="share", title=title)
    axes.legend()


def _draw_items(axes: Any, slates: Slates) -> None:
    axes.plot(np.linspace(0, 100, len(slates.item_curve)), slates.item_curve)
    axes.plot([0, 100], [0, 1], color="grey", linewidth=1, linestyle=":")
    items = slates.items
    title = f"{items.effective_number:.0f} effective items, {100 * items.share_shown:.0f} % ever shown"
    axes.set(xlabel="most shown items, % of the catalogue", ylabel="share of slots", title=title)
    axes.grid(alpha=0.3)


def _draw_coverage(axes: Any, parts: dict[str, Coverage | None]) -> None:
    for name, coverage in parts.items():
        if coverage is None:
            continue
        label = f"{name}: {coverage.effective_dimensions:.1f} effective of {len(coverage.sd)}"
        axes.plot(range(1, len(coverage.sd) + 1), sorted(coverage.sd, reverse=True), marker=".", label=label)
        title = f"{100 * coverage.at_border:.1f} % of the {name}' numbers at the border"
        axes.set(xlabel="dimension, widest first", ylabel="standard deviation", title=title)
        axes.legend()
        axes.grid(alpha=0.3)
