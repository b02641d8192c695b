"""``gems-gym pretrain embeddings``: item embeddings to learn with, made, made again, or compared."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from annotated_types import Interval

from gems_gym import plugins
from gems_gym.artifacts.unfinished import Unfinished
from gems_gym.commands import options
from gems_gym.commands.arguments import refuse
from gems_gym.commands.output import rows_table, show_result
from gems_gym.commands.pretrain.reports import world_of
from gems_gym.commands.pretrain.work import Wanted, check_places, reproduce_shipped, show_file
from gems_gym.commands.worlds import chosen_world
from gems_gym.common.checks import checked_arguments
from gems_gym.embeddings import EmbeddingKind, LogRecipe, Sources, make_embeddings
from gems_gym.embeddings.report import compare_embeddings
from gems_gym.pretraining.session_log import LogPlan, SessionLog
from gems_gym.simulator import Catalog


@checked_arguments
def embeddings(
    env: options.EnvIfNew = None,
    env_option: options.EnvOptions = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; with --reproduce a folder; not with --report.")
    ] = None,
    kind: Annotated[
        str, typer.Option(help="scratch, co_click, session_co_click, matrix_factorization, belief or ideal.")
    ] = "co_click",
    belief: Annotated[
        str | None,
        typer.Option(metavar="NAME_OR_FILE", help="Belief to take them from: --kind belief, and --report."),
    ] = None,
    log: options.Log = None,
    sessions: options.Sessions = None,
    seed: options.RandomSeed = 0,
    size: Annotated[
        int | None,
        Interval(ge=1, le=2**16),
        typer.Option(help="Numbers per item, where the kind leaves it open; 20 if not given."),
    ] = None,
    catalogue: options.Catalogue = None,
    reproduce: options.Reproduce = None,
    report: Annotated[
        bool, typer.Option("--report", help="Compare all kinds with the simulator's own; write nothing.")
    ] = False,
    overwrite: options.StartAnew = False,
    as_json: options.Json = False,
) -> None:
    r"""Make item embeddings to learn with.

    Those that are learned from slates and clicks are made from sessions of an ε-greedy oracle, session_co_click from
    sessions of random slates.

    Examples:
        gems-gym pretrain embeddings --env GemsSlate-diffuse_mix-v0 \
            --kind session_co_click --out items.safetensors
        gems-gym pretrain embeddings --env GemsSlate-diffuse_mix-v0 --report
    """
    if reproduce is not None:
        refuse(
            "does not go with --reproduce",
            env_option=env_option, belief=belief, log=log, sessions=sessions, size=size, catalogue=catalogue,
            report=report or None,
        )  # fmt: skip
        reproduce_shipped(reproduce, "embeddings", env, out, overwrite, as_json)
        return
    world = chosen_world(env, env_option, catalogue)
    if (out is None) != report:
        raise ValueError("give --out FILE to make item embeddings, or --report to compare their kinds")
    if out is None:
        refuse("does not go with --report, as kinds learn from different logs", log=log)
    else:
        check_places(out, log)
    chosen: EmbeddingKind = plugins.load(plugins.EMBEDDINGS, kind)
    if chosen.needs == "belief" and belief is None and not report:
        raise ValueError(
            f"--kind {kind} requires --belief, a file of 'gems-gym pretrain belief' or a shipped name"
        )
    if chosen.needs != "belief" and not report:
        refuse(f"goes with --kind belief and --report, not with --kind {kind}", belief=belief)
    config, catalog = made_in = world_of(world)

    def plan(recipe: LogRecipe) -> LogPlan:
        count = recipe.sessions if sessions is None else sessions
        return LogPlan(world.id, log, {recipe.policy: 1.0}, count, seed, session_length=recipe.session_length)

    @cache
    def logged(recipe: LogRecipe, work: Unfinished | None) -> SessionLog:
        return plan(recipe).session_log(*made_in, work)

    def sources_of(name: str, work: Unfinished | None = None) -> Sources:
        needed: EmbeddingKind = plugins.load(plugins.EMBEDDINGS, name)
        session_log = logged(needed.log_recipe, work) if needed.needs == "log" else None
        return Sources(config.num_items, catalog.hash, session_log, catalog.item_embeddings, belief)

    if out is None:
        _compare(sources_of, catalog, belief is not None, size, seed, as_json)
        return
    trained_on = {"embeddings": kind, "size": size, "belief": None if belief is None else str(belief)}
    with Wanted(out, made_in, plan(chosen.log_recipe), trained_on).unfinished(overwrite) as work:
        made = make_embeddings(kind, sources_of(kind, work), size=size, seed=seed)
        sha256 = work.publish(made.save, out)
    settings = {"kind": kind, "size": made.vectors.shape[1], "privileged": made.privileged, "seed": seed}
    show_file(sha256, out, settings, {}, as_json)


def _compare(
    sources_of: Callable[[str], Sources],
    catalog: Catalog,
    with_belief: bool,
    size: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Compare all kinds, those of a belief if there is one."""
    rows: dict[str, Any] = {}
    for name in plugins.names(plugins.EMBEDDINGS):
        if with_belief or plugins.load(plugins.EMBEDDINGS, name).needs != "belief":
            rows |= compare_embeddings(sources_of(name), catalog.item_topics, [name], size=size, seed=seed)
    show_result(rows, rows_table("embeddings", rows), as_json)
