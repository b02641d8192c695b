"""Running a study: which jobs are left, in which order, and what the finished ones found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from gems_gym.commands.output import note
from gems_gym.common.jobs import Executor, Job, do_jobs
from gems_gym.errors import unknown_name
from gems_gym_agents.pipeline.references import measure_references, references_stage
from gems_gym_agents.pipeline.runs import OfflineRun, OnlineRun
from gems_gym_agents.pipeline.studies import DATASETS
from gems_gym_agents.pipeline.study import (
    OfflineVariant,
    OnlineVariant,
    RecordedWorld,
    Study,
    World,
    as_data,
    study_of_data,
)

_PRELOADED = "gems_gym_agents.pipeline.preloaded"


@dataclass(frozen=True)
class Selection:
    """What of a study is to be run; None means all.

    Attributes:
        worlds: Names of worlds.
        variants: Names of variants.
        seeds: Seeds, also others than the study's.
    """

    worlds: Sequence[str] | None = None
    variants: Sequence[str] | None = None
    seeds: Sequence[int] | None = None

    def of(self, study: Study) -> Study:
        """The study with the chosen worlds, variants and seeds only.

        Raises:
            ValueError: A name that the study does not know.
        """
        chosen: dict[str, Any] = {}
        for kind, names in (("worlds", self.worlds), ("variants", self.variants)):
            known = {one.name: one for one in getattr(study, kind)}
            for name in names or ():
                if name not in known:
                    raise unknown_name(f"{kind[:-1]} of the study {study.name!r}:", name, known)
            chosen[kind] = tuple(known[name] for name in names or known)
        seeds = study.seeds if self.seeds is None else tuple(self.seeds)
        return replace(study, seeds=seeds, **chosen)


def on_this_machine(study: Study, item_embeddings: Path | None = None, datasets: str = DATASETS) -> Study:
    """The study with the files and datasets that its worlds are made of here.

    Args:
        study: As :data:`~gems_gym_agents.pipeline.studies.STUDIES` has it.
        item_embeddings: The catalogue that its worlds are on, an .npy file.
        datasets: Ids of the datasets; ``{preset}`` and ``{level}`` stand for the world's.

    Raises:
        ValueError: A catalogue that is missing, not asked for, or another one than it should be; datasets that are not
            asked for.
        FileNotFoundError: No file at the path.
    """
    if any(isinstance(world, RecordedWorld) for world in study.worlds):
        if item_embeddings is not None:
            raise ValueError(
                f"the study {study.name!r} is on its datasets' catalogues: leave --catalogue out"
            )
        worlds = tuple(
            replace(
                world, dataset_id=datasets.replace("{preset}", world.preset).replace("{level}", world.level)
            )
            for world in cast(tuple[RecordedWorld, ...], study.worlds)
        )
        return replace(study, worlds=worlds)
    if datasets != DATASETS:
        raise ValueError(f"the study {study.name!r} learns from no datasets: leave --datasets out")
    needed = any(world.catalog_hash is not None for world in cast(tuple[World, ...], study.worlds))
    if needed != (item_embeddings is not None):
        raise ValueError(
            f"the study {study.name!r} is on a catalogue that is no part of gems-gym: give --catalogue FILE"
            if needed
            else f"the study {study.name!r} is on catalogues of its own: leave --catalogue out"
        )
    return replace(study, worlds=tuple(_with_catalog(world, item_embeddings) for world in study.worlds))


def _with_catalog(world: Any, item_embeddings: Path | None) -> World:
    if item_embeddings is None:
        return cast(World, world)
    complete = replace(world, item_embeddings=str(item_embeddings))
    found = complete.parameters[1].hash
    if found != world.catalog_hash:
        raise ValueError(
            f"--catalogue {item_embeddings} is another catalogue (hash {found}) than the world {world.name!r} is "
            f"on (hash {world.catalog_hash})"
        )
    return cast(World, complete)


def runs_of(study: Study, out: Path) -> list[OnlineRun | OfflineRun]:
    """All runs of a study; the first seed of everything comes before the second of anything."""
    runs: list[OnlineRun | OfflineRun] = []
    for seed in study.seeds:
        for world in study.worlds:
            for variant in study.variants:
                if isinstance(world, World) and isinstance(variant, OnlineVariant):
                    runs.append(OnlineRun(study, world, variant, seed, out))
                elif isinstance(world, RecordedWorld) and isinstance(variant, OfflineVariant):
                    runs.append(OfflineRun(study, world, variant, seed, out))
    return runs


def finished_runs(study: Study, out: Path) -> list[tuple[OnlineRun | OfflineRun, dict[str, Any]]]:
    """The finished runs in a study's folder with their results, those of seeds that it does not name included."""
    found = (re.fullmatch(r"seed-(\d+)", folder.name) for folder in out.glob("*/seed-*"))
    seeds = sorted({int(one[1]) for one in found if one})
    finished: list[tuple[OnlineRun | OfflineRun, dict[str, Any]]] = []
    for run in runs_of(replace(study, seeds=tuple(seeds)), out):
        try:
            result = run.result()
        except (ValueError, FileNotFoundError) as error:  # of other settings, or of a dataset that is gone
            note(f"{run.name} is left out: {error}")
            continue
        if result is not None:
            finished.append((run, result))
    return finished


def run_study(
    study: Study, out: Path, processes: int = 1, *, rerun_stale: bool = False, executor: Executor = do_jobs
) -> dict[str, str]:
    """Run what is not finished yet of a study.

    Args:
        study: Complete, see :func:`on_this_machine`.
        out: The study's folder.
        processes: How many run at once.
        rerun_stale: Also runs what other code, or another type of processor, finished. Otherwise a note names it, and
            every table says what made its numbers.
        executor: Does the jobs.

    Returns:
        Name of each job that failed -> why.

    Raises:
        ValueError: A finished run of other settings, or options that an agent does not have.
        FileNotFoundError: A dataset that is not there.
        KeyboardInterrupt: Ctrl-C, once all processes have ended; the same call resumes.
    """
    if processes < 1:
        raise ValueError(f"--jobs must be at least 1, got {processes}")
    runs = runs_of(study, out)
    finished = [(run, result) for run in runs if (result := run.result()) is not None]
    stale = [run for run, result in finished if run.stage.is_stale(result)]
    _check_references(study, out, rerun_stale)
    if stale and not rerun_stale:
        note(
            f"{study.name}: {len(stale)} of {len(finished)} finished runs were made by other code or on another type "
            f"of processor, and are kept ({', '.join(run.name for run in stale)}); --rerun-stale runs them again"
        )
    for run in stale if rerun_stale else ():
        run.stage.discard()
    left = [run for run in runs if run.result() is None]
    for run in left:
        run.settings()  # what is wrong with a run is said before the first begins
    if len(left) < len(runs):
        note(f"{study.name}: {len(runs) - len(left)} of {len(runs)} runs are finished already")
    jobs = [*_reference_jobs(study, out), *_run_jobs(left)]
    return executor(study.name, jobs, processes) if jobs else {}


def _check_references(study: Study, out: Path, rerun_stale: bool) -> None:
    """Name measured references that other code made, or remove them if they are to be measured again."""
    stages = [references_stage(study, world, out) for world in study.worlds if isinstance(world, World)]
    stale = [one for one in stages if (record := one.kept()) is not None and one.is_stale(record)]
    if stale and not rerun_stale:
        note(
            f"{study.name}: {', '.join(one.name for one in stale)} were measured by other code or on another type of "
            "processor, and are kept; --rerun-stale measures them again"
        )
    for one in stale if rerun_stale else ():
        one.discard()


def _reference_jobs(study: Study, out: Path) -> list[Job]:
    return [
        Job(
            f"{world.name} references",
            f"{__name__}:measure_references_of",
            _request(study, out, worlds=[world.name]),
            out / world.name / "references.log",
            preload=_PRELOADED,
        )
        for world in study.worlds
        if isinstance(world, World) and references_stage(study, world, out).kept() is None
    ]


def _run_jobs(runs: Sequence[OnlineRun | OfflineRun]) -> list[Job]:
    """Each run after its parts; a part that several need is one job."""
    jobs: dict[str, Job] = {}
    for run in runs:
        request = _request(
            run.study, run.out, worlds=[run.world.name], variants=[run.variant.name], seeds=[run.seed]
        )
        parts = _part_jobs(run, request) if isinstance(run, OnlineRun) else []
        jobs |= {part.name: part for part in parts if part.name not in jobs}
        needs = tuple(part.name for part in parts)
        jobs[run.name] = Job(run.name, f"{__name__}:play", request, run.folder / "log.txt", needs, _PRELOADED)
    return list(jobs.values())


def _part_jobs(run: OnlineRun, request: Mapping[str, Any]) -> list[Job]:
    return [
        Job(
            f"{run.world.name} {part.name} seed {run.seed}",
            f"{__name__}:make_part",
            {**request, "part": kind},
            run.folder.parent / f"{part.name}.log",
            preload=_PRELOADED,
        )
        for kind, part in run.parts.items()
    ]


def _request(study: Study, out: Path, **chosen: Any) -> dict[str, Any]:
    """What a job is asked for: a part of a study, and its folder."""
    return {"study": as_data(Selection(**chosen).of(study)), "out": str(out.absolute())}


def measure_references_of(request: Mapping[str, Any]) -> str:
    """A job: the policies that need no training, in the request's world; returns a line for people."""
    study = study_of_data(request["study"])
    return measure_references(study, cast(World, study.worlds[0]), Path(request["out"]))


def make_part(request: Mapping[str, Any]) -> str:
    """A job: the belief or the ranker of the request's run; returns a line for people."""
    run = cast(OnlineRun, _run_of(request))
    made = run.parts[request["part"]].make()
    return f"{made['cpu_seconds'] / 60:.1f} CPU-minutes"


def play(request: Mapping[str, Any]) -> str:
    """A job: the request's run; returns a line for people."""
    return _run_of(request).play()


def _run_of(request: Mapping[str, Any]) -> OnlineRun | OfflineRun:
    return runs_of(study_of_data(request["study"]), Path(request["out"]))[0]
