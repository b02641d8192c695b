"""``gems-gym dev world-study``: whether fitted worlds rank policies as the worlds do that made their logs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gems_gym.commands import options
from gems_gym.commands.output import note, rows_table, show_result
from gems_gym.commands.worlds import ALL, chosen_worlds, in_world
from gems_gym.common.checks import checked_arguments
from gems_gym.common.files import read_json, write_json
from gems_gym.common.machine import check_out_folder
from gems_gym.errors import require
from gems_gym.user_splits import Users
from gems_gym_agents.ope.world_study import QUICK, Sizes, measure, summary


@checked_arguments
def world_study(
    out: Annotated[
        Path, typer.Option(help="Folder of the fitted worlds and the results, two files a world.")
    ],
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Environment id; repeatable; all six worlds if not given."),
    ] = None,
    sessions: Annotated[Users, typer.Option(help="Sessions of each log.")] = Sizes.sessions,
    batches: options.Batches = Sizes.batches,
    users: Annotated[Users, typer.Option(help="Users on whom each policy is played.")] = Sizes.users,
    quick: Annotated[bool, typer.Option("--quick", help="A trial: few sessions and users.")] = False,
    as_json: options.Json = False,
) -> None:
    """Measure whether fitted worlds rank policies as the true ones do.

    In each world, a mixture of policies makes a log; a world is fitted to it, and five policies are played in both. If
    interrupted, rerun the same command to resume.

    Examples:
        gems-gym dev world-study --out study --quick
    """
    require("torch")
    check_out_folder(out)
    sizes = QUICK if quick else Sizes(sessions, batches, users)
    measured = []
    for spec in chosen_worlds(env or [ALL]):
        file = out / f"{spec.id}.json"
        if file.is_file():
            kept = read_json(file)
            if kept.get("sizes") != asdict(sizes):
                raise ValueError(f"{str(file)!r} is of a study with other options; give another --out")
            note(f"{file.name}: kept")
        else:
            out.mkdir(parents=True, exist_ok=True)
            kept = measure(spec, in_world("{preset}", spec), file.with_suffix(".safetensors"), sizes)
            write_json(file, kept)
        measured.append(kept)
    rows = summary(measured)
    show_result({"summary": rows, "measured": measured}, rows_table("world", rows), as_json)
