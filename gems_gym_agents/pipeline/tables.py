"""A study's table for a terminal and for a page: the same cells."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from gems_gym import plugins
from gems_gym.commands.output import markdown_table
from gems_gym_agents.pipeline.results import OfflineRow, Row, is_offline, offline_rows_of, rows_of, runs_in
from gems_gym_agents.pipeline.summary import has_trade_off
from gems_gym_agents.pipeline.summary_tables import (
    BEYOND_TEXT,
    PRIVILEGED,
    beyond_table,
    score_table,
    score_text,
)

_HEADER = [
    "policy",
    "clicks per session",
    "normalised score",
    "worst session",
    "published",
    "interactions",
    "CPU-minutes",
    "seed by seed",
]
_OFFLINE_HEADER = [
    "agent", "peak", "worst session", "final", "behaviour", "peak − behaviour", "max abs(Q) / bound",
    "CPU-minutes", "seed by seed",
]  # fmt: skip

_MARKS = (10_000, 100_000)
_Q_HEADER = ["agent", *(f"{what} at {step:,}" for step in _MARKS for what in ("abs(Q) / bound", "clicks"))]


@dataclass(frozen=True)
class WorldTable:
    """The cells of one world.

    Attributes:
        world: Its name.
        header: The columns' names.
        rows: The cells.
    """

    world: str
    header: list[str]
    rows: list[list[str]]


def world_tables(results: dict[str, Any]) -> list[WorldTable]:
    """One table for each world that something is known about.

    Columns of other packages, the entry points of ``gems_gym.table_columns``, stand before the seeds one by one: each
    is a function of a :class:`~gems_gym_agents.pipeline.results.Row` or ``OfflineRow`` that gives the cell's text, and
    its name, with spaces for underscores, is the header.
    """
    offline = is_offline(results)
    rows: list[Any] = [*offline_rows_of(results)] if offline else [*rows_of(results)]
    worlds = dict.fromkeys(row.world for row in rows)
    header, cells = (_OFFLINE_HEADER, _offline_cells) if offline else (_HEADER, _cells)
    columns = {
        name: plugins.load(plugins.TABLE_COLUMNS, name) for name in plugins.names(plugins.TABLE_COLUMNS)
    }

    def with_columns(row: Any) -> list[str]:
        *known, by_seed = cells(row)
        return [*known, *(column(row) for column in columns.values()), by_seed]

    names = [*header[:-1], *(name.replace("_", " ") for name in columns), header[-1]]
    return [
        WorldTable(world, names, [with_columns(row) for row in rows if row.world == world])
        for world in worlds
    ]


def terminal_tables(results: dict[str, Any]) -> RenderableType:
    """The tables for a terminal: without the columns that would not fit."""
    tables = [
        _terminal_table(
            f"{one.world}, {results['test_users']} test users",
            one.header[:-1],
            [row[:-1] for row in one.rows],
        )
        for one in world_tables(results)
    ]
    for summary in results.get("summary", ()):
        group, (header, rows) = summary["group"], score_table(summary)
        kept = [header.index(column) for column in ("policy", "IQM", "difference", "p")]
        header, *rows = ([line[index] for index in kept] for line in (header, *rows))
        title = f"{group}, normalised scores" + (
            f", difference to {summary['baseline']}" if summary["baseline"] else ""
        )
        tables.append(_terminal_table(title, header, rows))
        header, rows = beyond_table(summary)
        if rows:
            tables.append(_terminal_table(f"{group}, beyond clicks", header, rows))
    if not tables:
        return f"{results['study']}: no run is finished yet"
    return Group(*tables, "* holds privileged information")


def _terminal_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=escape(title), title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column(header[0], no_wrap=True)
    for index, column in enumerate(header[1:], start=1):
        # cells stay on a line, headers break between words
        table.add_column(column, justify="right", min_width=max(len(row[index]) for row in rows))
    for policy, *row in rows:
        table.add_row(policy.replace(PRIVILEGED, " *"), *row)
    return table


def markdown_section(results: dict[str, Any], picture: str, trade_off: str) -> str:
    """The section of a page on a study: tables over all worlds and of each world, pictures, and what made them.

    Args:
        results: See :func:`gems_gym_agents.pipeline.results.collect_results`.
        picture: Address of the learning curves, relative to the page.
        trade_off: Address of the picture of scores against diversity, which is there if both are known.
    """
    made = _how(results)
    parts = [_descriptions(results)]
    for summary in results.get("summary", ()):
        header, rows = score_table(summary)
        table = markdown_table(header, rows, numbers=True)
        parts += [f"**{summary['group']}**", table, f"*{score_text(summary)} {made}*"]
        header, rows = beyond_table(summary)
        if rows:
            parts += [markdown_table(header, rows, numbers=True), f"*{BEYOND_TEXT} {made}*"]
    if has_trade_off(results):
        parts += [
            f"![Scores against diversity: {results['title']}]({trade_off})",
            f"*{_TRADE_OFF_TEXT} {made}*",
        ]
    for one in world_tables(results):
        parts += [
            _heading(results, one.world),
            markdown_table(one.header, one.rows, numbers=True),
            f"*{made}*",
        ]
    parts += [markdown_table(one.header, one.rows, numbers=True) for one in q_tables(results)]
    parts += [f"![Learning curves: {results['title']}]({picture})", f"*{_picture_text(results)} {made}*"]
    if results["published"]:
        parts.append(_sources(results["published"]))
    return "\n\n".join(parts)


def _heading(results: Mapping[str, Any], name: str) -> str:
    """A world's name, and what it is where it is not a preset's own world."""
    world = next(one for one in results["worlds"] if one["name"] == name)
    changes = [f"`{parameter}` {value}" for parameter, value in world.get("overrides", {}).items()]
    changes += ["the dynamics of `-v1`"] if world.get("version") else []
    return f"**{name}**" + (f": {world['preset']} with {', '.join(changes)}" if changes else "")


def q_tables(results: dict[str, Any]) -> list[WorldTable]:
    """|Q| / bound and clicks on validation users after 10,000 and 100,000 updates, means over seeds.

    One table for each world of a study whose agents learn so long from datasets; a cell is empty where a training was
    stopped before.
    """
    tables = []
    for world in results["worlds"] if is_offline(results) else ():
        runs = {one["name"]: runs_in(results, world["name"], one["name"]) for one in results["variants"]}
        reached = {step for some in runs.values() for run in some for step in run["history"]["step"]}
        if reached >= set(_MARKS):
            rows = [
                [name, *(cell for step in _MARKS for cell in _at(some, step))] for name, some in runs.items()
            ]
            tables.append(WorldTable(world["name"], _Q_HEADER, [row for row in rows if any(row[1:])]))
    return tables


def _at(runs: Sequence[dict[str, Any]], step: int) -> tuple[str, str]:
    """|Q| / bound and clicks at an update."""
    keys = ("step", "score", "q_abs_max", "q_bound")
    lines = [line for run in runs for line in zip(*(run["history"][key] for key in keys), strict=True)]
    found = [(q / bound, score) for at, score, q, bound in lines if at == step and None not in (q, score)]
    if not found:
        return "", ""
    share, clicks = np.mean(found, axis=0)
    return f"{share:.2f}", f"{clicks:.1f}"


def _cells(row: Row) -> list[str]:
    return [
        row.policy + (PRIVILEGED if row.privileged else ""),
        with_interval(row.mean_return, row.ci95),
        "" if row.normalized_score is None else f"{row.normalized_score:.1f}",
        _whole(row.worst),
        "" if row.published is None else f"{row.published:.1f}",
        _interactions(row),
        f"{row.cpu_minutes:.1f}" if row.interactions else "",
        _one_by_one(row.by_seed),
    ]


def _offline_cells(row: OfflineRow) -> list[str]:
    return [
        row.policy,
        with_interval(*row.peak),
        _whole(row.worst),
        with_interval(*row.final),
        with_interval(*row.behaviour),
        with_interval(*row.difference, sign="+"),
        _q_share(row),
        f"{row.cpu_minutes:.1f}",
        _one_by_one(row.by_seed),
    ]


def _q_share(row: OfflineRow) -> str:
    if row.q_share is None:
        return ""
    return f"{row.q_share:.2f}" + (f" ({row.diverged} of {len(row.by_seed)} stopped)" if row.diverged else "")


def with_interval(mean: float, ci95: float, sign: str = "") -> str:
    """A mean with its interval, without one that is infinite (of a single value)."""
    return f"{mean:{sign}.1f}" + (f" ± {ci95:.1f}" if math.isfinite(ci95) else "")


def _interactions(row: Row) -> str:
    if not row.interactions:
        return ""
    logged = f" + {row.logged_interactions / 1e6:.2f}" if row.logged_interactions else ""
    return f"{row.interactions / 1e6:.2f}{logged} M"


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _one_by_one(values: Sequence[float]) -> str:
    """Each seed's mean, and how far the best is from the worst."""
    listed = ", ".join(f"{value:.0f}" for value in values)
    return f"{listed} (range {max(values) - min(values):.0f})" if len(values) > 1 else listed


def _descriptions(results: dict[str, Any]) -> str:
    return "\n".join(f"- `{one['name']}`: {one['description']}." for one in results["variants"])


def _how(results: dict[str, Any]) -> str:
    machines = ", ".join(sorted({run["machine"] for run in results["runs"]}))
    made = Counter(_maker(run) for run in results["runs"])
    makers = "; ".join(
        maker if len(made) == 1 else f"{maker}: {count} runs" for maker, count in sorted(made.items())
    )
    return f"`{results['command']}`, gems-gym {results['gems_gym']}, {machines}; {makers}."


def _maker(run: dict[str, Any]) -> str:
    """Which code made a run, on which type of processor."""
    if "code" not in run:
        return "code and type of processor not recorded"
    return f"code {run['code']} on {run['processor']} ({run['cpu']})"


def _picture_text(results: dict[str, Any]) -> str:
    what = "updates" if is_offline(results) else "interactions"
    text = (
        f"Clicks per session of {results['validation_users']} validation users against {what}: mean over seeds, and "
        "the range from the lowest seed to the highest."
    )
    stars = " Stars: the policy whose weights are the mean of the late policies', one more to choose from."
    return text + stars * any(run.get("averaged") for run in results["runs"])


_TRADE_OFF_TEXT = (
    "Normalised score (IQM with its interval) against the diversity of slates, as in the tables above; crosses are "
    "policies that need no training."
)


def _sources(published: list[dict[str, Any]]) -> str:
    by_source: dict[str, list[str]] = {}
    for one in published:
        by_source.setdefault(one["source"], []).append(f"{one['policy']} {one['world']} {one['clicks']:.1f}")
    lines = [f"- {source}: {', '.join(numbers)}." for source, numbers in by_source.items()]
    return "\n".join(["Where the published numbers stand:", "", *lines])
