"""Pictures: a study's learning curves, its scores against diversity, and clicks at every step of the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gems_gym.common.pictures import new_figure, save_figure
from gems_gym_agents.evaluation import Evaluation
from gems_gym_agents.pipeline.results import is_offline, q_shares, rows_of, runs_in

_COLUMNS = 3
_AVERAGED = "mean of late policies"
_REFERENCES = {
    "constant_slate": "best constant slate",
    "boredom_aware_oracle": "boredom-aware oracle (privileged)",
}


def draw_curves(results: dict[str, Any], path: Path) -> None:
    """Draw mean over seeds and range from the lowest to the highest seed.

    Agents that learn from users stand beside the best constant slate, the boredom-aware oracle and what was published
    (dotted, in the variant's colour). Of agents that learn from datasets a second row of panels shows |Q| against
    its bound.

    Args:
        results: See :func:`gems_gym_agents.pipeline.results.collect_results`.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    begun = {run["world"] for run in results["runs"]}
    worlds = [world["name"] for world in results["worlds"] if world["name"] in begun]
    offline = is_offline(results)
    columns = max(1, min(len(worlds), _COLUMNS))
    blocks = max(1, -(-len(worlds) // columns))
    rows = blocks * (2 if offline else 1)
    figure = new_figure(4.5 * columns + 1, 3.5 * rows + 0.8)
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel in panels.flat[len(worlds) if not offline else rows * columns :]:
        panel.set_visible(False)
    for index, world in enumerate(worlds):
        block, column = divmod(index, columns)
        draw_world(panels[block, column], results, world)
        if offline:
            _draw_q(panels[blocks + block, column], results, world)
    handles: dict[str, Any] = {}
    for panel in panels.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize="small")
    save_figure(figure, path, dpi=100)


def draw_world(panel: Any, results: dict[str, Any], world: str) -> None:
    """Draw one world's learning curves into a panel of matplotlib."""
    offline = is_offline(results)
    what, steps, curve = ("updates", "step", "history") if offline else ("interactions",) * 2 + ("curve",)
    for index, variant in enumerate(results["variants"]):
        curves = [run[curve] for run in runs_in(results, world, variant["name"])]
        _draw_range(panel, [(one[steps], one["score"]) for one in curves], f"C{index}", variant["name"])
        if not offline:
            _draw_averaged(panel, runs_in(results, world, variant["name"]), f"C{index}")
    if offline:
        _draw_behaviour(panel, results, world)
    else:
        _draw_levels(panel, results, world)
    panel.set(title=world, xlabel=f"thousand {what}", ylabel="clicks per session")
    panel.grid(alpha=0.3)


def _draw_range(panel: Any, curves: list[tuple[list[float], list[float]]], colour: str, name: str) -> None:
    """Mean, lowest and highest of several seeds' curves, where all of them have a point."""
    if not any(steps for steps, _ in curves):
        return
    shared = sorted(set.intersection(*(set(steps) for steps, _ in curves)))
    # of a training that was stopped, the last policy has no score: NaN, which is not drawn
    values = np.array([[dict(zip(*curve, strict=True))[step] for step in shared] for curve in curves], float)
    thousands = np.array(shared) / 1000
    panel.plot(thousands, values.mean(axis=0), color=colour, label=name)  # values: (num_seeds, num_points)
    panel.fill_between(
        thousands, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0
    )


def _draw_averaged(panel: Any, runs: list[dict[str, Any]], colour: str) -> None:
    """A star for the mean of late policies, where it is: at the end of the curve."""
    scores = [run["averaged"]["score"] for run in runs if run.get("averaged")]
    if scores:
        end = max(run["curve"]["interactions"][-1] for run in runs) / 1000
        panel.plot(
            end, np.mean(scores), "*", color=colour, markersize=10, label=_AVERAGED, markeredgecolor="0.2"
        )


def _draw_levels(panel: Any, results: dict[str, Any], world: str) -> None:
    """Horizontal lines: references, agents without a curve, and what was published.

    A number is drawn once, also if several variants stand beside it.
    """
    names = [variant["name"] for variant in results["variants"]]
    drawn: set[float] = set()
    for row in rows_of(results):
        if row.world != world:
            continue
        if row.policy in _REFERENCES:
            style = "--" if row.policy == "constant_slate" else "-."
            panel.axhline(row.mean_return, color="0.4", linestyle=style, label=_REFERENCES[row.policy])
        # no curve: it was scored only in the end
        elif row.policy in names and not any(
            run["curve"]["interactions"] for run in runs_in(results, world, row.policy)
        ):
            index = names.index(row.policy)
            panel.axhline(row.mean_return, color=f"C{index}", label=row.policy)
        elif row.published is not None and row.policy in names and row.published not in drawn:
            drawn.add(row.published)
            index = names.index(row.policy)
            label = f"{results['variants'][index]['published_as']}, published"
            panel.axhline(row.published, color=f"C{index}", linestyle=":", label=label)


def _draw_behaviour(panel: Any, results: dict[str, Any], world: str) -> None:
    runs = [run for run in results["runs"] if run["world"] == world]
    if runs:
        panel.axhline(runs[0]["behaviour"]["mean_return"], color="0.4", linestyle="--", label="behaviour")


def _draw_q(panel: Any, results: dict[str, Any], world: str) -> None:
    for index, variant in enumerate(results["variants"]):
        runs = [run for run in runs_in(results, world, variant["name"]) if q_shares(run)]
        curves = [(run["history"]["step"], q_shares(run)) for run in runs]
        _draw_range(panel, curves, f"C{index}", variant["name"])
    panel.axhline(1.0, color="0.4", linestyle=":", label="bound of |Q|")
    panel.set(title=world, xlabel="thousand updates", ylabel="max |Q| / bound", ylim=(0, None))
    panel.grid(alpha=0.3)


def draw_trade_off(results: Mapping[str, Any], path: Path) -> None:
    """Draw scores against the diversity of slates: a point a variant with its interval, a cross a reference.

    Args:
        results: With the ``summary`` of :func:`gems_gym_agents.pipeline.summary.summarise`; a panel a group of worlds.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    summaries = results["summary"]
    figure = new_figure(9, 6 * len(summaries))
    for panel, summary in zip(figure.subplots(len(summaries), squeeze=False).flat, summaries, strict=True):
        for kind, marker, colour, above in (("references", "x", "0.4", 2), ("variants", "o", "C0", -9)):
            for one in summary[kind]:
                _draw_policy(panel, one, marker, colour, above)
        panel.margins(x=0.15)  # room for names
        panel.set(
            title=summary["group"],
            xlabel="diversity of slates",
            ylabel="normalised score, interquartile mean",
        )
        panel.grid(alpha=0.3)
    save_figure(figure, path, dpi=100)


def _draw_policy(panel: Any, policy: Mapping[str, Any], marker: str, colour: str, above: int) -> None:
    """A policy's point, its interval, and its name so far above, if its diversity is known."""
    if (diversity := policy["intra_slate_diversity"]) is None:
        return
    score, low, high = policy["iqm"].values()
    panel.plot(diversity, score, marker, color=colour, markersize=5)
    if low is not None:
        panel.plot([diversity] * 2, [low, high], color=colour, alpha=0.5, linewidth=1)
    panel.annotate(
        policy["policy"], (diversity, score), (4, above), textcoords="offset points", fontsize="x-small"
    )


def draw_clicks_per_step(evaluations: Sequence[Evaluation], title: str, path: Path) -> None:
    """Draw mean clicks at every step of the session, a line for each policy.

    Args:
        evaluations: In the order of the legend.
        title: Above the picture.
        path: The .png, .pdf or .svg file to write.

    Raises:
        ImportError: Matplotlib is not installed; the message names the extra.
    """
    figure = new_figure(9, 5)
    axes = figure.add_subplot()
    for evaluation in evaluations:
        steps = range(1, len(evaluation.clicks_per_step) + 1)
        axes.plot(
            steps, evaluation.clicks_per_step, label=f"{evaluation.name} ({evaluation.mean_return:.0f})"
        )
    axes.set(xlabel="step of the session", ylabel="clicks per slate", title=title, ylim=(0, None))
    axes.legend(
        title="policy (clicks per session)", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5)
    )
    axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=120)
