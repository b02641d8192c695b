"""``gems-gym dev ope-study``: how far the estimators of ``gems-gym ope`` are from the truth."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gems_gym.commands import options
from gems_gym.commands.output import note, rows_table, show_result
from gems_gym.commands.worlds import ALL, changed_parameters, chosen_worlds
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.common.files import read_json, write_json
from gems_gym.common.machine import check_out_folder
from gems_gym.user_splits import Users
from gems_gym_agents.ope.study import LOGGING, QUICK, Sizes, measure, summary, true_returns


@checked_arguments
def ope_study(
    out: Annotated[Path, typer.Option(help="Folder of the results, a file a world and logging policy.")],
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Environment id; repeatable; all six worlds if not given."),
    ] = None,
    env_option: options.EnvOptions = None,
    sessions: Annotated[Users, typer.Option(help="Sessions of each log.")] = Sizes.sessions,
    repetitions: Annotated[
        Count, typer.Option(help="Logs of each world and logging policy.")
    ] = Sizes.repetitions,
    truth_users: Annotated[
        Users, typer.Option(help="Users on whom each target is played.")
    ] = Sizes.truth_users,
    quick: Annotated[bool, typer.Option("--quick", help="A trial: few sessions and repetitions.")] = False,
    as_json: options.Json = False,
) -> None:
    r"""Measure the estimators' bias, error, coverage and choices where the truth is known.

    In each world, three logging policies make logs, and five targets are estimated by each and played. If interrupted,
    rerun the same command to resume. With sessions of one step (episode_length=1) what is estimated of an impression is
    the truth of a session, too.

    Examples:
        gems-gym dev ope-study --out study --quick
        gems-gym dev ope-study --out study --env-option episode_length=1
    """
    check_out_folder(out)
    sizes = QUICK if quick else Sizes(sessions, repetitions, truth_users)
    measured = []
    for spec in chosen_worlds(env or [ALL], env_option):
        truth: dict[str, float] = {}
        for logging in LOGGING:
            file = out / f"{spec.id}-{logging}.json"
            asked = {"env_options": changed_parameters(spec), "sizes": asdict(sizes)}
            if file.is_file():
                kept = read_json(file)
                if {name: kept.get(name) for name in asked} != asked:
                    raise ValueError(f"{str(file)!r} is of a study with other options; give another --out")
                note(f"{file.name}: kept")
            else:
                out.mkdir(parents=True, exist_ok=True)
                truth = truth or true_returns(spec, sizes)
                kept = {**measure(spec, logging, sizes, truth), **asked}
                write_json(file, kept)
            measured.append(kept)
    rows = summary(measured)
    show_result({"summary": rows, "measured": measured}, rows_table("estimator", rows), as_json)
