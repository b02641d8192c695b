"""``gems-gym compare``: a study from its first run to its table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym.commands.arguments import chosen_executor, read_names, read_seeds
from gems_gym.commands.options import ExecutorName, Json, RayAddress, Trackers
from gems_gym.commands.output import note, plain, show_result
from gems_gym.common.checks import Threads, checked_arguments
from gems_gym.common.files import whole_file, write_json
from gems_gym.common.locks import locked_folder
from gems_gym.common.machine import check_out_folder
from gems_gym.errors import missing_dependency, unknown_name
from gems_gym.trackers import choose_trackers
from gems_gym_agents.pipeline.studies import DATASETS, STUDIES, read_study


@checked_arguments
def compare(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help=f"One of {', '.join(STUDIES)}, or the .toml file of another."),
    ],
    catalogue: Annotated[
        Path | None, typer.Option(help="With the study 'published': its catalogue, an .npy file.")
    ] = None,
    datasets: Annotated[
        str,
        typer.Option(help="Of studies of datasets: their ids; {preset} and {level} are filled in."),
    ] = DATASETS,
    worlds: Annotated[
        str | None, typer.Option(help="Run these worlds only, such as focused_mix,focused_divpen.")
    ] = None,
    variants: Annotated[
        str | None, typer.Option(help="Run these variants only, such as sac_gems,sac_topk_ideal.")
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Run these seeds, which need not be the study's, such as 0,1.")
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="A trial: two worlds, two seeds, a fifth of the steps and users; in STUDY_quick."
        ),
    ] = False,
    jobs: Annotated[Threads, typer.Option(help="Runs at the same time, one thread each.")] = 1,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    rerun_stale: Annotated[
        bool,
        typer.Option(
            "--rerun-stale", help="Rerun what was finished by other code or on another type of processor."
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; runs/compare/STUDY if not given.")
    ] = None,
    tracker: Trackers = None,
    as_json: Json = False,
) -> None:
    r"""Run a study, worlds × variants × seeds, and compare it with trivial policies and published numbers.

    Finished runs are not repeated: if interrupted, rerun the same command to resume. The folder gets results.json,
    table.md, curves.png and trade_off.png of all its finished runs. Exit code 1 if a run failed.

    The largest studies, matrix (agents × rankers × worlds) and matrix_offline (agents × datasets of four levels ×
    worlds), take up to a night with --jobs 2 on two cores; with --quick up to 20 minutes.

    Examples:
        gems-gym compare own --worlds focused_mix --seeds 0,1 --jobs 2
        gems-gym compare matrix --quick --jobs 2
        gems-gym compare study.toml --executor ray --ray-address auto --jobs 64 \
            --out /shared/study
    """
    choose_trackers(tracker)
    if study not in STUDIES and not study.endswith(".toml"):
        raise unknown_name("study", study, STUDIES)
    do_jobs = chosen_executor(executor, ray_address)
    for module in ("torch", "stable_baselines3", "d3rlpy", "minari", "matplotlib"):
        if find_spec(module) is None:  # said before any work is done
            raise missing_dependency(module, "all")
    from gems_gym_agents.pipeline.running import Selection, on_this_machine, run_study
    from gems_gym_agents.pipeline.study import shortened

    chosen = STUDIES[study] if study in STUDIES else read_study(Path(study))
    chosen = shortened(chosen) if quick else chosen
    out = out or Path("runs/compare") / chosen.name
    check_out_folder(out)
    complete = on_this_machine(chosen, catalogue, datasets)
    selection = Selection(
        read_names(worlds), read_names(variants), None if seeds is None else read_seeds(seeds)
    )
    given = {"catalogue": catalogue and catalogue.name, "datasets": datasets}
    options = [
        f"--{name} {shlex.quote(value)}" for name, value in given.items() if value and value != DATASETS
    ] + ["--quick"] * quick
    with locked_folder(out, f"--out {out}"):
        failures = run_study(selection.of(complete), out, jobs, rerun_stale=rerun_stale, executor=do_jobs)
        results = write_results(complete, out, " ".join(["gems-gym compare", study, *options]))
    show_result(*_shown(results, failures, out), as_json)
    for name, reason in failures.items():
        note(f"failed: {name}: {reason}")
    if failures:
        raise typer.Exit(1)


def write_results(study: Any, out: Path, command: str) -> dict[str, Any]:
    """Write results.json, table.md and the pictures of what is finished in a study's folder; returns the results."""
    from gems_gym_agents.pipeline.pictures import draw_curves, draw_trade_off
    from gems_gym_agents.pipeline.results import RESULTS_FILE, collect_results
    from gems_gym_agents.pipeline.summary import has_trade_off, summarise
    from gems_gym_agents.pipeline.tables import markdown_section

    results = collect_results(study, out, command)
    results["summary"] = summarise(results)
    write_json(out / RESULTS_FILE, plain(results))
    draw_curves(results, out / "curves.png")
    if has_trade_off(results):
        draw_trade_off(results, out / "trade_off.png")
    with whole_file(out / "table.md") as file:
        section = markdown_section(results, "curves.png", "trade_off.png")
        file.write(f"## {results['title']}\n\n{section}\n".encode())
    return results


def _shown(results: dict[str, Any], failures: dict[str, str], out: Path) -> tuple[dict[str, Any], Any]:
    """The results as JSON and for a reader."""
    from dataclasses import asdict

    from gems_gym_agents.pipeline.results import is_offline, offline_rows_of, rows_of
    from gems_gym_agents.pipeline.tables import terminal_tables

    rows: Sequence[Any] = offline_rows_of(results) if is_offline(results) else rows_of(results)
    named = {key: results[key] for key in ("study", "command", "gems_gym", "test_users", "summary")}
    shown = {**named, "rows": [asdict(row) for row in rows], "failures": failures, "directory": str(out)}
    return shown, terminal_tables(results)
