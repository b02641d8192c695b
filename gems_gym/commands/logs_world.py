"""``gems-gym logs world``: a world of users like those of a log."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from annotated_types import Interval
from rich.console import Group

from gems_gym.commands import options
from gems_gym.commands.output import key_value_table, rows_table, show_result
from gems_gym.common.checks import checked_arguments

if TYPE_CHECKING:
    from gems_gym.logs import FidelityReport


@checked_arguments
def world(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Id of the dataset.")],
    out: Annotated[
        Path, typer.Option(help="Folder for the world, world.safetensors, and the report, world.json.")
    ],
    held_out: Annotated[
        float,
        Interval(gt=0, lt=1),
        typer.Option(help="Share of the sessions, the latest, that the world is measured on."),
    ] = 0.2,
    batches: options.Batches = None,
    seed: options.RandomSeed = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the report into this file, .png, .pdf or .svg.")
    ] = None,
    overwrite: options.StartAnew = False,
    as_json: options.Json = False,
) -> None:
    """Fit a world to earlier sessions: users click and leave as the log's did; measure it on the later ones.

    Commands take it by --env GemsSlate-fitted-v0 --env-option world=FILE, gymnasium.make by world=FILE. The report says
    how far the world is from the log, and where it must not be trusted.

    Examples:
        gems-gym logs world my/log-v0 --out fitted
        gems-gym logs world my/log-v0 --out fitted --picture fidelity.png
    """
    from gems_gym.common.pictures import check_picture
    from gems_gym.logs import fit_world
    from gems_gym.logs.picture import draw_fidelity_report

    check_picture(picture, "--picture")
    report = fit_world(dataset, out, held_out=held_out, batches=batches, seed=seed, overwrite=overwrite)
    if picture is not None:
        draw_fidelity_report(report, picture)
    show_result(report.as_dict() | {"verdict": report.verdict}, _readable(report, out), as_json)


def _readable(report: "FidelityReport", out: Path) -> Group:
    losses = {
        name: {"log_loss": one.mean, "95 %": f"{one.low:.4f} to {one.high:.4f}"}
        for name, one in report.log_loss.items()
    }
    distances = {
        name: {"distance": one.distance.mean, "95 %": f"{one.distance.low:.4f} to {one.distance.high:.4f}"}
        for name, one in report.compared.items()
    }
    order = "later in time" if report.by_time else "the last of the file, which says no times"
    rows = {
        "sessions": f"{report.earlier:,} to learn from, {report.later:,} to measure on, {order}",
        "verdict": report.verdict,
        "folder": out,
    }
    return Group(
        rows_table("nats a slot of later clicks", losses),
        rows_table("world and log", distances),
        key_value_table(rows),
    )
