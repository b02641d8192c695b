"""Pictures of the reports on rankers and beliefs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.common.pictures import new_figure, save_figure


def draw_rankers(rows: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Draws what :func:`~gems_gym.pretraining.ranker_report.compare_rankers` measured.

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
    _legend(reach)
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


def draw_beliefs(rows: Mapping[str, Mapping[str, Any]], title: str, path: Path) -> None:
    """Draws what :func:`~gems_gym.pretraining.belief_report.compare_beliefs` measured; arguments and errors alike."""
    figure = new_figure(13, 5)
    losses, boredom = figure.subplots(1, 2)
    reports = {name: row["clicks"] for name, row in rows.items() if "clicks" in row}
    policies = next(iter(reports.values()))
    series = {"base rate": [one["log_loss_base"] for one in policies.values()]}
    for name, report in reports.items():
        series[name] = [one["log_loss"] for one in report.values()]
    series["truth"] = [one["log_loss_truth"] for one in policies.values()]
    _grouped(losses, [policy.replace("_", "\n") for policy in policies], series)
    losses.set(title="log-loss of clicks, nats a position, by logging policy")
    by_topic = {name: row["boredom_auc_by_topic"] for name, row in rows.items()}
    topics = [str(topic) for topic in range(len(next(iter(by_topic.values()))))]
    _grouped(boredom, topics, {name: [_known(value) for value in row] for name, row in by_topic.items()})
    boredom.axhline(0.5, color="black", linestyle=":")
    boredom.set(title="AUC of boredom read off linearly, by topic", ylim=(0.4, 1))
    figure.suptitle(title)
    save_figure(figure, path)


def _bars(axes: Any, rows: Mapping[str, Mapping[str, Any]], title: str, measures: Mapping[str, str]) -> None:
    """Bars beside each other for each row, one for each measure that has a label; no bar where there is no value."""
    height = 0.8 / len(measures)
    for index, (measure, label) in enumerate(measures.items()):
        places = np.arange(len(rows)) + (index - (len(measures) - 1) / 2) * height
        axes.barh(places, [_known(row[measure]) for row in rows.values()], height, label=label)
    if any(measures.values()):
        _legend(axes)
    axes.set(title=title)


def _grouped(axes: Any, groups: list[str], series: Mapping[str, list[float]]) -> None:
    width = 0.8 / len(series)
    for index, (label, values) in enumerate(series.items()):
        places = np.arange(len(groups)) + (index - (len(series) - 1) / 2) * width
        axes.bar(places, values, width, label=label)
    axes.set_xticks(np.arange(len(groups)), groups)
    _legend(axes, below=0.2)  # under labels of several lines


def _legend(axes: Any, below: float = 0.12) -> None:
    """Outside of the axes, where no bar is; ``below`` is their distance in heights of the axes."""
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -below), ncols=3, frameon=False)


def _known(value: float | None) -> float:
    return np.nan if value is None else value
