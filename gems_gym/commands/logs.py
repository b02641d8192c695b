"""``gems-gym logs``: impression logs of a running recommender, imported as datasets, and what is fitted to them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from gems_gym.commands.arguments import given, refuse
from gems_gym.commands.command import Command, CommandGroup
from gems_gym.commands.logs_fit import fit
from gems_gym.commands.logs_world import world
from gems_gym.commands.options import Json
from gems_gym.commands.output import key_value_table, note, rows_table, show_result

if TYPE_CHECKING:
    from gems_gym.logs import ImportReport

_SLOTS_SHOWN = 20
"""Slots in the table; --json has all of them."""


def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A parquet, csv or tsv file, .gz or not, or an .npz of FINN.no's."
        ),
    ],
    out: Annotated[str, typer.Option(metavar="ID", help="Id of the new dataset, namespace/name-vN.")],
    preset: Annotated[
        str, typer.Option(help="The log's form: long, lists, finn, ebnerd, mind, rl4rs, kuairand or obd.")
    ] = "lists",
    columns: Annotated[
        str | None,
        typer.Option(metavar="MEANING=COLUMN,...", help="Columns with other names than the preset's."),
    ] = None,
    session_gap: Annotated[
        str | None,
        typer.Option(
            help="A user who is away for longer begins a new session, such as 30m; if not given, sessions are the "
            "log's, or 30m apart where it has none."
        ),
    ] = None,
    time_unit: Annotated[
        str | None,
        typer.Option(help="Of times that are numbers, if not the preset's: s, ms or us since 1970."),
    ] = None,
    items: Annotated[
        Path | None,
        typer.Option(
            help="Item table, parquet, csv or tsv, with features or embeddings: the only items there are."
        ),
    ] = None,
    item_column: Annotated[
        str | None, typer.Option(help="The item table's column with the ids; item if not given.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the import report into this file, .png, .pdf or .svg.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a dataset of this id.")] = False,
    as_json: Json = False,
) -> None:
    r"""Make a dataset of sessions of an impression log, and report what came in and what was left out, and why.

    The dataset holds slates, clicks and masks, and, where the log has them, propensities. Beside it are the maps of
    items and users, and the report. Memory does not grow with the file.

    Examples:
        gems-gym logs import log.parquet --out my/log-v0
        gems-gym logs import log.csv.gz --preset long --out my/log-v0 \
            --columns user=uid,time=ts --time-unit ms --session-gap 30m
        gems-gym logs import behaviors.tsv --preset mind --out my/news-v0 \
            --picture report.png
    """
    from gems_gym.common.pictures import check_picture
    from gems_gym.logs import import_log
    from gems_gym.logs.picture import draw_import_report

    check_picture(picture, "--picture")
    if items is None:
        refuse("goes with --items FILE", item_column=item_column)
    report = import_log(
        file,
        dataset_id=out,
        preset=preset,
        columns=read_columns(columns),
        items=items,
        overwrite=overwrite,
        **given(session_gap=session_gap, time_unit=time_unit, item_column=item_column),
    )
    if picture is not None:
        draw_import_report(report, picture)
    drawn = {"picture": str(picture)} if picture is not None else {}
    show_result(report.as_dict() | drawn, _readable(report, drawn), as_json)
    for warning in report.warnings:
        note(f"warning: {warning}")


def read_columns(text: str | None) -> dict[str, str]:
    """Pairs ``meaning=column`` with commas between them.

    Raises:
        ValueError: One without ``=`` or with nothing on one of its sides, or a meaning twice.

    Examples:
        >>> read_columns("user=uid,item=article id")
        {'user': 'uid', 'item': 'article id'}
    """
    found: dict[str, str] = {}
    for pair in text.split(",") if text is not None else ():
        meaning, _, column = pair.partition("=")
        if not meaning or not column or meaning in found:
            raise ValueError(f"--columns must be MEANING=COLUMN, each meaning once, got {pair!r} in {text!r}")
        found[meaning] = column
    return found


def _readable(report: "ImportReport", drawn: dict[str, str]) -> Group:
    lengths, sizes, spread = report.session_lengths, report.slate_sizes, report.concentration
    lost = report.rows_read - report.rows_kept
    rows: dict[str, Any] = {
        "rows": f"{report.rows_read:,} read, {report.rows_kept:,} kept, {lost:,} left out",
        "impressions": f"{report.impressions:,}, {report.out_of_order:,} of them were out of order",
        "sessions": f"{report.sessions:,} of {lengths.mean:.1f} impressions, median {lengths.quantiles['0.5']:.0f}, "
        f"longest {lengths.maximum:.0f}",
        "users": f"{report.users:,}, {report.users_with_one_impression:,} with one impression; the busiest 1 % have "
        f"{report.busiest_users:.0%} of all",
        "slates": f"{sizes.mean:.1f} items, at most {sizes.maximum:.0f}",
        "clicks": f"{report.clicks:,}; {report.without_click:.0%} of the impressions without one",
        "items": f"{report.items:,}, {report.items_shown:,} shown, {report.items_shown_once:,} once; "
        f"{spread.effective_number:.0f} effective, Gini {spread.gini:.2f}",
        "propensities": _propensities(report),
        **drawn,
    }
    parts: list[Table] = [key_value_table(rows, title=report.dataset_id)]
    if report.dropped:
        parts.append(rows_table("left out", report.dropped))
    slots = {
        str(slot): {"shown": one.shown, "clicks": one.clicks, "ctr": one.ctr}
        for slot, one in enumerate(report.slots[:_SLOTS_SHOWN], 1)
    }
    return Group(*parts, rows_table("slot", slots))


def _propensities(report: "ImportReport") -> str:
    found = report.propensities
    if found is None:
        return "none"
    return (
        f"from {found.smallest:.2g}, mean {found.mean:.3g}, of 1 / propensity {found.mean_inverse:.1f}; effective "
        f"share {found.effective_share:.1%}"
    )


_HELP = """Import impression logs of a running recommender as datasets, and fit models and worlds to them.

Examples:
    gems-gym logs import log.parquet --out my/log-v0
    gems-gym logs fit my/log-v0 --out fitted
    gems-gym logs world my/log-v0 --out fitted
"""

logs = typer.Typer(cls=CommandGroup, help=_HELP, no_args_is_help=True)
logs.command("import", cls=Command)(import_file)
logs.command(cls=Command)(fit)
logs.command(cls=Command)(world)
