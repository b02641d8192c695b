"""``gems-gym pretrain ranker --report`` and ``gems-gym pretrain belief --report``: measured by themselves."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts import shipped
from gems_gym.beliefs import load_belief
from gems_gym.commands.output import columns_table, show_result
from gems_gym.common.pictures import check_picture
from gems_gym.embeddings import load_embeddings
from gems_gym.errors import require
from gems_gym.pretraining.ranker_report import compare_rankers, draw_rankers
from gems_gym.rankers import load_ranker, make_ranker
from gems_gym.registration import slate_spec
from gems_gym.simulator import Catalog
from gems_gym.world_config import WorldConfig

_UNTRAINED = ("topk", "k_head_argmax")
"""Rankers that a report makes from item embeddings, for comparison."""

_Part = TypeVar("_Part")


def world_of(spec: EnvSpec) -> tuple[WorldConfig, Catalog]:
    """The configuration and the catalogue of an environment."""
    world: Any = gymnasium.make(slate_spec(spec)).unwrapped
    return world.config, world.catalog


def report_rankers(
    world: EnvSpec,
    compare: list[str],
    embeddings: str | None,
    out: Path | None,
    as_json: bool,
    **measuring: Any,
) -> None:
    """Measure rankers in a world and show the table.

    Args:
        world: The world's spec.
        compare: Shipped names or files; the world's shipped rankers if empty.
        embeddings: Item embeddings that rankers without training are made of, for comparison: a file or a shipped
            name.
        out: Picture to draw, a .png, .pdf or .svg file.
        as_json: Whether to print JSON.
        **measuring: Handed to :func:`~gems_gym.pretraining.ranker_report.compare_rankers`.

    Raises:
        ValueError: Nothing to measure, or what does not fit the world.
    """
    check_picture(out)
    config, catalog = world_of(world)
    rankers = _loaded(load_ranker, "ranker", world, compare)
    if embeddings is not None:
        table = load_embeddings(embeddings, catalog.hash)
        rankers |= {name: make_ranker(name, table, config.slate_size) for name in _UNTRAINED}
    rows = compare_rankers(rankers, config, catalog, **measuring)
    if out is not None:
        draw_rankers(rows, world.id, out)
    show_result(rows, columns_table("measure", rows), as_json)


def report_beliefs(
    world: EnvSpec,
    compare: list[str],
    out: Path | None,
    as_json: bool,
    **measuring: Any,
) -> None:
    """Measure beliefs in a world and show the table; arguments and errors as of :func:`report_rankers`."""
    check_picture(out)
    require("torch")
    from gems_gym.pretraining.belief_report import compare_beliefs, draw_beliefs

    config, catalog = world_of(world)
    rows = compare_beliefs(_loaded(load_belief, "belief", world, compare), config, catalog, **measuring)
    if out is not None:
        draw_beliefs(rows, world.id, out)
    show_result(rows, columns_table("measure", belief_columns(rows)), as_json)


def belief_columns(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """The report on beliefs as a table: what is known of every measure, and what each belief has.

    Args:
        rows: What :func:`~gems_gym.pretraining.belief_report.compare_beliefs` returned.

    Returns:
        "base rate", the beliefs' names and "truth" -> measure -> value. The truth is the simulator's click
        probabilities, for boredom its counts of recent clicks.
    """
    reports = {name: row["clicks"] for name, row in rows.items() if "clicks" in row}
    known = next(iter(reports.values()))
    exact = next(row for row in rows.values() if "clicks" not in row)

    def column(report: Mapping[str, Any], suffix: str, boredom: float | None) -> dict[str, float | None]:
        losses = {f"log-loss, {policy}": one[f"log_loss{suffix}"] for policy, one in report.items()}
        areas = {f"AUC, {policy}": one.get(f"auc{suffix}", 0.5) for policy, one in report.items()}
        return {**losses, **areas, "AUC, boredom": boredom}

    return {
        "base rate": column(known, "_base", 0.5),
        **{name: column(report, "", rows[name]["boredom_auc"]) for name, report in reports.items()},
        "truth": column(known, "_truth", exact["boredom_auc"]),
    }


def _loaded(
    load: Callable[[str], _Part], family: str, world: EnvSpec, compare: list[str]
) -> dict[str, _Part]:
    """What is compared, by its name or file."""
    preset = world.kwargs.get("preset")
    names = compare or (shipped.names(family, preset) if preset else [])
    if not names:
        raise ValueError(f"no {family} is shipped for {world.id}; give --compare with the files to measure")
    return {name: load(name) for name in names}
