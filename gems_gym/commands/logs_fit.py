"""``gems-gym logs fit``: what can be learned from a dataset of sessions without a simulator."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_types import Interval
from rich.console import Group

from gems_gym.commands import options
from gems_gym.commands.output import key_value_table, rows_table, show_result
from gems_gym.common.checks import checked_arguments

if TYPE_CHECKING:
    from gems_gym.logs import FitReport


@checked_arguments
def fit(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Id of the dataset.")],
    out: Annotated[Path, typer.Option(help="Folder for what is fitted, and the report, fit.json.")],
    held_out: Annotated[
        float,
        Interval(gt=0, lt=1),
        typer.Option(help="Share of the sessions, the latest, that everything is scored on."),
    ] = 0.2,
    batches: options.Batches = None,
    seed: options.RandomSeed = 0,
    overwrite: options.StartAnew = False,
    as_json: options.Json = False,
) -> None:
    """Fit click models, item embeddings, a belief and a ranker to earlier sessions; score them on the later ones.

    Says where users look, and whether what was shown and clicked before tells anything about the next clicks: if it
    does not, a bandit is enough. What the log lacks something for is left out, with the reason.

    Examples:
        gems-gym logs fit my/log-v0 --out fitted
    """
    from gems_gym.logs import fit_log

    report = fit_log(dataset, out, held_out=held_out, batches=batches, seed=seed, overwrite=overwrite)
    show_result(report.as_dict(), _readable(report, out), as_json)


def _readable(report: "FitReport", out: Path) -> Group:
    losses = {
        name: {
            "log_loss": one.mean,
            "95 %": f"{one.low:.4f} to {one.high:.4f}",
            "perplexity": math.exp(one.mean),
        }
        for name, one in report.log_loss.items()
    }
    order = "later in time" if report.by_time else "the last of the file, which says no times"
    cut = f", {report.slates_cut:,} after a session's 100th left out" if report.slates_cut else ""
    rows: dict[str, Any] = {
        "sessions": f"{report.earlier:,} to learn from, {report.later:,} to score on, {order}",
        "slates": f"{report.slates:,}{cut}",
        "propensities": "[" + ",".join(f"{one:.3g}" for one in report.propensities) + "]",
        "looks on after a click": f"{report.continuation:.2f}, in the cascade model",
    }
    if len(report.comparable) > 1:
        groups = " | ".join(",".join(map(str, group)) for group in report.comparable)
        rows["propensities"] += f"; no item was shown in positions of two of these groups: {groups}"
    if report.embeddings:
        rows["embeddings"] = (
            f"{report.embeddings['kind']}, AUC of later clicks {_number(report.embeddings['auc'])}"
        )
    if report.slot_accuracy is not None:
        score = report.slot_accuracy
        rows["ranker"] = (
            f"decodes {score.mean:.1%} of the slots as they were, {score.low:.1%} to {score.high:.1%}"
        )
    rows |= {f"no {name}": reason for name, reason in report.left_out.items()}
    rows |= {"verdict": report.verdict, "files": ", ".join(report.files), "folder": out}
    return Group(rows_table("nats a slot of later clicks", losses), key_value_table(rows))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
