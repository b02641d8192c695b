"""``gems-gym compare``: a study from its first run to its table."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym.commands.options import ExecutorName, RayAddress, chosen_executor, read_seeds
from gems_gym.commands.output import note, show_result
from gems_gym.common.checks import Threads, checked_arguments
from gems_gym.common.files import whole_file, write_json
from gems_gym.common.locks import locked_folder
from gems_gym.common.machine import check_out_folder
from gems_gym.errors import missing_dependency, unknown_name
from gems_gym_agents.comparison.studies import DATASETS, STUDIES, read_study


@checked_arguments
def compare(
    study: Annotated[
        str,
        typer.Argument(metavar="STUDY", help=f"One of {', '.join(STUDIES)}, or the .toml file of another."),
    ],
    item_embeddings: Annotated[
        Path | None, typer.Option(help="The catalogue of the study 'published', an .npy file.")
    ] = None,
    datasets: Annotated[
        str, typer.Option(help="Ids of the study 'offline'; {preset} and {level} are the world's.")
    ] = DATASETS,
    worlds: Annotated[
        str | None, typer.Option(help="Run these only, e.g. focused_mix,focused_divpen.")
    ] = None,
    variants: Annotated[str | None, typer.Option(help="Run these only, e.g. sac_gems.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Run these only (others than the study's too), e.g. 0,1.")
    ] = None,
    jobs: Annotated[Threads, typer.Option(help="Runs at the same time, one thread each.")] = 1,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    rerun_stale: Annotated[
        bool, typer.Option(help="Run again what other code or another type of processor finished.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The study's folder; runs/compare/STUDY if not given.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Run worlds × variants × seeds, and set what is finished beside trivial policies and published numbers.

    A finished run is not repeated: after an interruption the same command resumes. The folder gets results.json,
    table.md and curves.png, of all that is finished there. Exit code 1 if a run failed.
    """
    if study not in STUDIES and not study.endswith(".toml"):
        raise unknown_name("study", study, STUDIES)
    do_jobs = chosen_executor(executor, ray_address)
    for module in ("torch", "stable_baselines3", "d3rlpy", "minari", "matplotlib"):
        if find_spec(module) is None:  # said before any work is done
            raise missing_dependency(module, "all")
    from gems_gym_agents.comparison.running import Selection, on_this_machine, run_study

    chosen = STUDIES[study] if study in STUDIES else read_study(Path(study))
    out = out or Path("runs/compare") / chosen.name
    check_out_folder(out)
    whole = on_this_machine(chosen, item_embeddings, datasets)
    selection = Selection(_names(worlds), _names(variants), None if seeds is None else read_seeds(seeds))
    given = {"item-embeddings": item_embeddings and item_embeddings.name, "datasets": datasets}
    options = [
        f"--{name} {shlex.quote(value)}" for name, value in given.items() if value and value != DATASETS
    ]
    with locked_folder(out, f"--out {out}"):
        failures = run_study(selection.of(whole), out, jobs, rerun_stale=rerun_stale, executor=do_jobs)
        results = write_results(whole, out, " ".join(["gems-gym compare", study, *options]))
    show_result(*_shown(results, failures, out), as_json)
    for name, reason in failures.items():
        note(f"failed: {name}: {reason}")
    if failures:
        raise typer.Exit(1)


def write_results(study: Any, out: Path, command: str) -> dict[str, Any]:
    """Write results.json, table.md and curves.png of what is finished in a study's folder; returns the results."""
    from gems_gym_agents.comparison.curves import draw_curves
    from gems_gym_agents.comparison.results import RESULTS_FILE, collect_results
    from gems_gym_agents.comparison.tables import markdown_section

    results = collect_results(study, out, command)
    write_json(out / RESULTS_FILE, results)
    draw_curves(results, out / "curves.png")
    with whole_file(out / "table.md") as file:
        file.write(f"## {results['title']}\n\n{markdown_section(results, 'curves.png')}\n".encode())
    return results


def _shown(results: dict[str, Any], failures: dict[str, str], out: Path) -> tuple[dict[str, Any], Any]:
    """The results as JSON and for a person."""
    from dataclasses import asdict

    from gems_gym_agents.comparison.results import is_offline
    from gems_gym_agents.comparison.rows import offline_rows_of, rows_of
    from gems_gym_agents.comparison.tables import terminal_tables

    rows: Sequence[Any] = offline_rows_of(results) if is_offline(results) else rows_of(results)
    named = {key: results[key] for key in ("study", "command", "gems_gym", "test_users")}
    shown = {**named, "rows": [asdict(row) for row in rows], "failures": failures, "directory": str(out)}
    return shown, terminal_tables(results)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]
