"""``gems-gym dev levels``: the policies that datasets of a level are recorded with."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gems_gym.artifacts.shipped import Entry
from gems_gym.commands import options
from gems_gym.commands.output import note, rows_table, show_result
from gems_gym.commands.worlds import ALL, chosen_worlds
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.common.machine import check_out_folder
from gems_gym.registration import latent_environment_ids
from gems_gym_agents.base import DivergedError

_STEPS = {"sac": 300_000, "planner": 6_336_000}


@checked_arguments
def levels(
    out: Annotated[Path, typer.Option(help="Folder of the policies and their manifest.")],
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="A GemsSlateLatent environment, for the planner a GemsSlate one; repeatable; all six if not given.",
        ),
    ] = None,
    env_option: options.EnvOptions = None,
    agent: Annotated[
        Literal["sac", "planner"],
        typer.Option(help="sac makes the levels medium and expert, planner the level planner."),
    ] = "sac",
    steps: Annotated[
        Count | None,
        typer.Option(
            help="Interactions of each training; if not given 300,000, of the planner's search 6,336,000."
        ),
    ] = None,
    seed: options.RandomSeed = 0,
    runs: Annotated[Path, typer.Option(help="Folder of the trainings.")] = Path("runs/levels"),
    as_json: options.Json = False,
) -> None:
    r"""Train agents in worlds, and write the policies that levels of datasets are played by, with a manifest.

    SAC makes medium-WORLD and expert-WORLD: expert is the best policy on validation users, medium the first one of its
    training past half of expert's normalised score. The planner makes planner-WORLD. If interrupted, rerun the same
    command to resume; finished trainings are not repeated. Exit code 1 if a world has no such policies.

    Examples:
        gems-gym dev levels --env GemsSlateLatent-diffuse_mix-v0 --out levels
        gems-gym dev levels --agent planner --out levels
    """
    from gems_gym_agents.pipeline.levels import NoLevelsError, Training, make_levels
    from gems_gym_agents.pipeline.planner_levels import PlannerTraining, make_planner_level

    check_out_folder(out)
    check_out_folder(runs, "--runs")
    rows: dict[str, dict[str, Any]] = {}
    failures = {}
    every = latent_environment_ids() if agent == "sac" else None
    worlds = chosen_worlds(env or [ALL], env_option, everything=every)
    steps = steps or _STEPS[agent]
    makers: dict[str, Callable[[], dict[str, Entry]]] = {}
    for spec in worlds:
        if agent == "sac":
            makers[spec.id] = partial(make_levels, Training.of(spec, steps, seed), out, runs)
        else:
            makers[spec.id] = partial(make_planner_level, PlannerTraining.of(spec, steps, seed), out, runs)
    for world, make in makers.items():
        try:
            made = make()
        except (NoLevelsError, DivergedError) as error:
            failures[world] = str(error)
            continue
        for name, entry in made.items():
            shown = {
                key: entry.metrics[key] for key in ("interactions", "validation_return", "normalized_score")
            }
            rows[name] = shown | {"kilobytes": (out / entry.file).stat().st_size / 1e3}
    result = {"policies": rows, "failures": failures, "directory": str(out)}
    show_result(result, rows_table("policy", rows), as_json)
    for name, reason in failures.items():
        note(f"failed: {name}: {reason}")
    if failures:
        raise typer.Exit(1)
