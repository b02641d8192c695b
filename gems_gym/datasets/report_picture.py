"""The picture of a quality report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.checks import checked_arguments
from gems_gym.datasets.measures import Coverage, Returns, Slates
from gems_gym.datasets.report import DatasetReport
from gems_gym.errors import require
from gems_gym.whole_files import whole_file


@checked_arguments
def draw_report(report: DatasetReport, path: Path) -> None:
    """Draws a report: returns, clicks over the session and the ranks, concentration, coverage.

    Args:
        report: The report.
        path: The .png file to write.

    Raises:
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    figure = require("matplotlib.figure", extra="plot").Figure(figsize=(13, 7.5), layout="constrained")
    axes = figure.subplots(2, 3).ravel()
    _draw_returns(axes[0], report.returns)
    _draw_steps(axes[1], report.returns)
    if report.slates is not None:
        _draw_ranks(axes[2], report.slates)
        _draw_topics(axes[3], report.slates)
        _draw_items(axes[4], report.slates)
    _draw_coverage(axes[5], {"beliefs": report.states, "latents": report.actions})
    for one in axes:
        if not one.has_data():
            one.set_axis_off()
    figure.suptitle(
        f"{report.dataset_id}: {report.episodes:,} sessions of {report.policy or 'an unknown policy'}"
    )
    with whole_file(path) as file:
        figure.savefig(file, format="png", dpi=110)


def _draw_returns(axes: Any, returns: Returns) -> None:
    axes.stairs(returns.bin_counts, returns.bin_edges, fill=True, alpha=0.6)
    axes.axvline(returns.mean, color="black", linewidth=1)
    axes.set(
        xlabel="clicks per session",
        ylabel="sessions",
        title=f"mean {returns.mean:.1f} ± {returns.ci95:.1f}, sd {returns.sd:.1f}",
    )


def _draw_steps(axes: Any, returns: Returns) -> None:
    axes.plot(range(1, len(returns.clicks_per_step) + 1), returns.clicks_per_step)
    axes.set(
        xlabel="step of the session", ylabel="clicks per slate", ylim=(0, None), title="over the session"
    )
    axes.grid(alpha=0.3)


def _draw_ranks(axes: Any, slates: Slates) -> None:
    _bars(axes, slates.clicks_per_rank, first=1)
    axes.set(
        xlabel="rank",
        ylabel="clicks per slate",
        title=f"{100 * slates.slates_with_duplicates:.1f} % of slates show an item twice",
    )


def _draw_topics(axes: Any, slates: Slates) -> None:
    topics, bored = slates.topics.effective_number, 100 * slates.bored_steps
    _bars(axes, slates.topic_shares, -0.2, 0.4, label="shown")
    _bars(axes, slates.clicked_topic_shares, 0.2, 0.4, label="clicked")
    axes.set(
        xlabel="topic",
        ylabel="share",
        title=f"{topics:.1f} effective topics, {bored:.0f} % bored steps",
    )
    axes.legend()


def _draw_items(axes: Any, slates: Slates) -> None:
    axes.plot(np.linspace(0, 100, len(slates.item_curve)), slates.item_curve)
    axes.plot([0, 100], [0, 1], color="grey", linewidth=1, linestyle=":")
    axes.set(
        xlabel="most shown items, % of the catalogue",
        ylabel="share of slots",
        title=f"{slates.items.effective_number:.0f} effective items, {100 * slates.items.share_shown:.0f} % ever shown",
    )
    axes.grid(alpha=0.3)


def _draw_coverage(axes: Any, parts: dict[str, Coverage | None]) -> None:
    for name, coverage in parts.items():
        if coverage is None:
            continue
        label = f"{name}: {coverage.effective_dimensions:.1f} effective of {len(coverage.sd)}"
        axes.plot(range(1, len(coverage.sd) + 1), sorted(coverage.sd, reverse=True), marker=".", label=label)
        axes.set(
            xlabel="dimension, widest first",
            ylabel="standard deviation",
            ylim=(0, None),
            title=f"{100 * coverage.at_border:.1f} % of the {name}' numbers at the border",
        )
        axes.legend()
        axes.grid(alpha=0.3)


def _bars(
    axes: Any,
    values: Sequence[float],
    shift: float = 0.0,
    width: float = 0.8,
    first: int = 0,
    label: str | None = None,
) -> None:
    axes.bar(np.arange(first, first + len(values)) + shift, values, width, label=label)
