"""``gems-gym dataset``: reports on recorded sessions, and datasets made of datasets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gems_gym.commands.arguments import read_options
from gems_gym.commands.command import Command, CommandGroup
from gems_gym.commands.options import EnvOptions, Json
from gems_gym.commands.output import columns_table, key_value_table, note, show_result
from gems_gym.commands.sharing import pull, push
from gems_gym.common.machine import check_out_file

if TYPE_CHECKING:
    from gems_gym.datasets.measures import Coverage, Slates
    from gems_gym.datasets.report import DatasetReport

Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of local datasets.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a local dataset.")]
NewId = Annotated[str, typer.Option(help="Id of the new dataset, namespace/name-vN.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a dataset of this id.")]

LOST = ["infos: slates, clicks, boredom and user states"]
"""What an .npz file of D4RL's form has no place for."""


def report(
    identifiers: Ids,
    out: Annotated[
        Path | None, typer.Option(help="Draw the report into this file, .png, .pdf or .svg.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure datasets, side by side: returns, clicks per rank, concentration, boredom, coverage, duplicates.

    Examples:
        gems-gym dataset report my/slates-v0 --out report.png
        gems-gym dataset report my/slates-v0 my/latents-v0 --json
    """
    from gems_gym.common.pictures import check_picture
    from gems_gym.datasets import draw_report, report_dataset
    from gems_gym.datasets.reader import open_sessions

    check_picture(out)
    opened = [open_sessions(identifier) for identifier in dict.fromkeys(identifiers)]
    reports = [report_dataset(one) for one in opened]
    if out is not None:
        draw_report(reports, out)
    picture = {"picture": str(out)} if out is not None else {}
    if len(reports) == 1:
        readable = key_value_table(_readable(reports[0]) | picture, title=reports[0].dataset_id)
        show_result(reports[0].as_dict() | picture, readable, as_json)
    else:
        columns = _with_all_fields({one.dataset_id: _readable(one) | picture for one in reports})
        result = {"datasets": [one.as_dict() for one in reports], **picture}
        show_result(result, columns_table("measure", columns), as_json)


def verify(identifiers: Ids, as_json: Json = False) -> None:
    """Check that datasets are what they say: hash, counts, lengths, ranges, slates, beliefs, users.

    Exit code 1, and a line on stderr for each check that fails.

    Examples:
        gems-gym dataset verify my/slates-v0
    """
    from gems_gym.common.dataset_folders import data_folder
    from gems_gym.datasets.verify import verify_dataset

    for identifier in identifiers:
        data_folder(identifier)  # a mistyped id is reported before the others are read
    found = [verify_dataset(identifier) for identifier in dict.fromkeys(identifiers)]
    passed = all(one.passed for one in found)
    columns = {
        one.dataset_id: {
            **one.checks,
            "sessions": one.episodes,
            "transitions": one.transitions,
            "content hash now": one.content_hash,
        }
        for one in found
    }
    result = {"passed": passed, "datasets": [one.as_dict() for one in found]}
    show_result(result, columns_table("check", _with_all_fields(columns)), as_json)
    for one in found:
        for failure in one.failures:
            note(f"{one.dataset_id}: {failure}")
    if not passed:
        raise typer.Exit(1)


def export(
    identifier: Id,
    out: Annotated[Path, typer.Option(help="The .npz file to write.")],
    as_json: Json = False,
) -> None:
    """Write a latent dataset as an .npz file in D4RL's format, without its infos.

    Examples:
        gems-gym dataset export my/latents-v0 --out latents.npz
    """
    from gems_gym.datasets.d4rl import export_d4rl

    check_out_file(out)
    file = export_d4rl(identifier, out)
    result = {
        "file": str(out),
        "dataset_id": identifier,
        "episodes": int(file.ends.sum()),
        "transitions": len(file.rewards),
        "megabytes": round(out.stat().st_size / 1e6, 1),
        "content_hash": file.metadata["content_hash"],
        "holds": [*file.artefacts],
        "lost": LOST,
    }
    _show(result, as_json)


def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An .npz or HDF5 file in D4RL's format.")],
    dataset_id: NewId,
    env: Annotated[
        str | None, typer.Option(help="Environment id, if the file was not exported by gems-gym.")
    ] = None,
    env_option: EnvOptions = None,
    ranker: Annotated[
        str | None, typer.Option(help="Ranker's file or shipped name, if the file does not hold it.")
    ] = None,
    belief: Annotated[
        str | None, typer.Option(help="Belief's file or shipped name, if the file does not hold it.")
    ] = None,
    terminals_are_timeouts: Annotated[
        bool,
        typer.Option(
            "--terminals-are-timeouts",
            help="The file's terminals are the ends of sessions by time, not terminal states.",
        ),
    ] = False,
    rescale_actions: Annotated[
        bool,
        typer.Option(
            "--rescale-actions",
            help="Divide actions by the largest of them, which the metadata keep as action_scale; with a ranker, map "
            "its latents into its bounds.",
        ),
    ] = False,
    episode_length: Annotated[
        int | None,
        typer.Option(help="Steps in a session, if not the environment's; cuts a file that marks no ends."),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Make a dataset, without infos, from an .npz or HDF5 file in D4RL's format.

    Examples:
        gems-gym dataset import latents.npz --dataset-id my/again-v0
        gems-gym dataset import other.hdf5 --dataset-id my/other-v0 \
            --env GemsSlateLatent-diffuse_mix-v0 --terminals-are-timeouts
    """
    from gems_gym.datasets.d4rl import import_d4rl

    made = import_d4rl(
        file,
        dataset_id=dataset_id,
        env_id=env,
        env_kwargs=read_options(env_option, "--env-option"),
        ranker=ranker,
        belief=belief,
        terminals_are_timeouts=terminals_are_timeouts,
        rescale_actions=rescale_actions,
        episode_length=episode_length,
        overwrite=overwrite,
    )
    metadata = made.storage.metadata
    done = {"steps": metadata["derived_from"].get("steps", []), "action_scale": metadata.get("action_scale")}
    _show(_described(made) | done | {"lacks": LOST}, as_json)


def relabel(
    identifier: Id,
    ranker: Annotated[str, typer.Option(help="The new ranker's file or shipped name.")],
    dataset_id: NewId,
    belief: Annotated[
        str | None, typer.Option(help="Belief's file or shipped name; needed for a dataset of slates.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Write the same sessions with other actions: the latents that another ranker encodes the slates into.

    Examples:
        gems-gym dataset relabel my/slates-v0 --ranker gems-diffuse_mix \
            --belief gru-diffuse_mix --dataset-id my/latents-v0
    """
    from gems_gym.datasets.relabelling import relabel as make

    made = make(identifier, ranker, dataset_id=dataset_id, belief=belief, overwrite=overwrite)
    _show(_described(made), as_json)


def merge(
    identifiers: Ids,
    dataset_id: NewId,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Join several datasets of the same environment, ranker and belief into one, in the order given.

    Examples:
        gems-gym dataset merge my/drawn-v0 my/good-v0 --dataset-id my/mixture-v0
    """
    from gems_gym.datasets.derive import merge as make

    _show(_described(make(identifiers, dataset_id=dataset_id, overwrite=overwrite)), as_json)


def subset(
    identifier: Id,
    dataset_id: NewId,
    episodes: Annotated[int | None, typer.Option(help="Sessions to draw.")] = None,
    min_return: Annotated[
        float | None, typer.Option(help="Only sessions with at least so many clicks.")
    ] = None,
    earliest: Annotated[
        float | None,
        typer.Option(metavar="SHARE", help="Of an imported log: the share of its sessions that began first."),
    ] = None,
    latest: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Likewise: the share that began last.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Random seed of the draw.")] = 0,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    r"""Write some of a dataset's sessions: drawn at random, those with enough clicks, or drawn from these.

    Of a log, those before a time, to learn from, or after it, to estimate by.

    Examples:
        gems-gym dataset subset my/latents-v0 --episodes 400 --seed 1 \
            --dataset-id my/drawn-v0
        gems-gym dataset subset my/latents-v0 --min-return 110 \
            --dataset-id my/good-v0
        gems-gym dataset subset my/log-v0 --earliest 0.7 \
            --dataset-id my/earlier-v0
    """
    from gems_gym.datasets.derive import subset as make

    part = make(
        identifier,
        dataset_id=dataset_id,
        episodes=episodes,
        min_return=min_return,
        earliest=earliest,
        latest=latest,
        seed=seed,
        overwrite=overwrite,
    )
    _show(_described(part), as_json)


def _with_all_fields(columns: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Columns that have the fields of all, in their order; None where a dataset has none."""
    fields = dict.fromkeys(field for column in columns.values() for field in column)
    return {name: {field: column.get(field) for field in fields} for name, column in columns.items()}


def _described(made: Any) -> dict[str, Any]:
    metadata = made.storage.metadata
    named = ("content_hash", "policy", "ranker_sha256", "belief_sha256", "derived_from")
    return {
        "dataset_id": made.id,
        "episodes": int(made.total_episodes),
        "transitions": int(made.total_steps),
        **{name: metadata.get(name) for name in named},
    }


def _show(result: dict[str, Any], as_json: bool) -> None:
    readable = dict(result)
    derived = readable.pop("derived_from", {})
    if "reconstruction" in derived:
        shares = derived["reconstruction"]
        readable["reconstruction"] = (
            f"{shares['slots']:.1%} of the slots, {shares['slates']:.1%} of the slates are shown again"
        )
    for name, value in readable.items():
        if isinstance(value, list):
            readable[name] = "\n".join(value)
    show_result(result, key_value_table(readable), as_json)


def _readable(report: "DatasetReport") -> dict[str, str]:
    returns = report.returns
    score = "" if report.normalized_score is None else f", normalised score {report.normalized_score:.1f}"
    left = f", {report.left:,} sessions ended as the user left" if report.left else ""
    rows = {
        "environment": report.env or "none: a log of another recommender",
        "policy": str(report.policy),
        "sessions": f"{report.episodes:,}, {report.transitions:,} transitions{left}",
        "clicks per session": f"{returns.mean:.1f} ± {returns.ci95:.1f} (95 %), sd {returns.sd:.1f}{score}",
        "quantiles": ", ".join(
            [
                f"min {returns.minimum:g}",
                *(f"{float(share):.0%} {value:.0f}" for share, value in returns.quantiles.items()),
                f"max {returns.maximum:g}",
            ]
        ),
    }
    if report.slates is not None:
        rows |= _readable_slates(report.slates)
    else:
        rows["slates"] = "no infos" if report.env else "see its import report"
    for name, coverage in (("beliefs", report.states), ("latents", report.actions)):
        if coverage is not None:
            rows[name] = _readable_coverage(coverage)
    return rows | {"content hash": str(report.content_hash)}


def _readable_slates(slates: "Slates") -> dict[str, str]:
    items, topics = slates.items, slates.topics
    return {
        "clicks per rank": " ".join(f"{clicks:.2f}" for clicks in slates.clicks_per_rank),
        "topics": f"{topics.effective_number:.1f} effective, Gini {topics.gini:.2f}, {topics.share_shown:.0%} shown",
        "items": f"{items.effective_number:.0f} effective, Gini {items.gini:.2f}, {items.share_shown:.0%} shown",
        "boredom": f"in {slates.bored_steps:.1%} of the steps, {slates.bored_topics:.2f} topics a step",
        "duplicates": f"in {slates.slates_with_duplicates:.1%} of the slates, {slates.duplicates_per_slate:.2f} each",
    }


def _readable_coverage(coverage: "Coverage") -> str:
    return (
        f"{coverage.effective_dimensions:.1f} effective dimensions of {len(coverage.sd)}, sd {min(coverage.sd):.2f} to "
        f"{max(coverage.sd):.2f}, {coverage.at_border:.1%} at the border"
    )


_HELP = """Report on datasets, verify, export, import, relabel, merge or share them, or take a subset.

Examples:
    gems-gym dataset report my/slates-v0
    gems-gym dataset verify my/slates-v0
"""

dataset = typer.Typer(cls=CommandGroup, help=_HELP, no_args_is_help=True)
for _command in (report, verify, export, import_file, relabel, merge, subset, push, pull):
    dataset.command("import" if _command is import_file else None, cls=Command)(_command)
