"""``gems-gym dev levels``: the policies that datasets of a level are recorded with."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym.commands import options
from gems_gym.commands.output import note, rows_table, show_result
from gems_gym.commands.worlds import ALL, chosen_worlds
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.common.machine import check_out_folder
from gems_gym.registration import latent_environment_ids
from gems_gym_agents.base import DivergedError


@checked_arguments
def levels(
    out: Annotated[Path, typer.Option(help="Folder of the policies and their manifest.")],
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A GemsSlateLatent environment; repeatable; all six if not given."),
    ] = None,
    env_option: options.EnvOptions = None,
    steps: Annotated[Count, typer.Option(help="Interactions of each training.")] = 300_000,
    seed: options.RandomSeed = 0,
    runs: Annotated[Path, typer.Option(help="Folder of the trainings.")] = Path("runs/levels"),
    as_json: options.Json = False,
) -> None:
    r"""Train SAC in worlds, and write the policies medium-WORLD and expert-WORLD of each, with a manifest.

    Expert is the best policy on validation users, medium the first one of its training past half of expert's
    normalised score. If interrupted, rerun the same command to resume; finished trainings are not repeated. Exit code
    1 if a world has no such policies.

    Examples:
        gems-gym dev levels --env GemsSlateLatent-diffuse_mix-v0 --out levels
    """
    from gems_gym_agents.pipeline.levels import NoLevelsError, Training, make_levels

    check_out_folder(out)
    check_out_folder(runs, "--runs")
    rows: dict[str, dict[str, Any]] = {}
    failures = {}
    worlds = chosen_worlds(env or [ALL], env_option, everything=latent_environment_ids())
    for training in [Training.of(one, steps, seed) for one in worlds]:
        try:
            made = make_levels(training, out, runs)
        except (NoLevelsError, DivergedError) as error:
            failures[training.world.spec.id] = str(error)
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
