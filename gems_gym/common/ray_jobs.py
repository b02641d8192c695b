"""Jobs on a Ray cluster: the same jobs as on one machine, on any node that sees the folder of their logs."""

from __future__ import annotations

import json
import os
import traceback
import uuid
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gems_gym.common.fingerprints import KERNEL_CHOICES
from gems_gym.common.jobs import ONE_THREAD, Job, Schedule
from gems_gym.common.progress import is_shown, note, track
from gems_gym.errors import require

RETRIES = 3
"""How often a job is begun again whose process or machine died; it resumes from what it has saved."""


def do_jobs(title: str, jobs: Sequence[Job], processes: int, address: str | None = None) -> dict[str, str]:
    """Do all jobs on a Ray cluster, each on one core; as :func:`gems_gym.common.jobs.do_jobs` otherwise.

    Args:
        title: What is being done.
        jobs: The jobs, in the order in which they begin.
        processes: How many run at once, on all nodes together.
        address: The cluster's, "auto" for the one that this machine belongs to; a cluster of this machine alone if
            None.

    Returns:
        Name of each job that failed -> why.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: There is no cluster at the address.
    """
    ray = require("ray")
    schedule = Schedule(jobs)
    with _connected(ray, address), _shared_token(jobs) as (file, token), track(title, len(jobs)) as advance:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES, runtime_env={"env_vars": _variables()})(_do)
        running: dict[Any, Job] = {}
        try:
            while schedule.waiting or running:
                while len(running) < processes and (job := schedule.next_ready(running.values())) is not None:
                    asked = {
                        "job": {**asdict(job), "log": str(job.log.absolute())},
                        "folder": str(Path.cwd()),
                    }
                    running[remote.remote(json.dumps(asked), str(file), token)] = job
                (ready,), _ = ray.wait(list(running), num_returns=1)
                for job, outcome in _ended(ray, schedule, running.pop(ready), ready):
                    advance()
                    if is_shown():
                        note(f"{job.name}: {outcome}")
        except BaseException:  # Ctrl-C included
            for one in running:
                ray.cancel(one, force=True)
            raise
    return schedule.failures


def _variables() -> dict[str, str]:
    """Environment variables of the jobs: what a job's result or place depends on is as it is here, but no keys."""
    names = {"MINARI_DATASETS_PATH", *KERNEL_CHOICES}
    names |= {
        name
        for name in os.environ
        if name.startswith(("GEMS_GYM_", "WANDB_", "SWANLAB_")) and "KEY" not in name
    }
    return {name: os.environ[name] for name in sorted(names) if name in os.environ} | dict(ONE_THREAD)


def _ended(ray: Any, schedule: Schedule, job: Job, ready: Any) -> Iterator[tuple[Job, str]]:
    """A job that has ended, with how, and those that can't be done without it."""
    try:
        answer = json.loads(ray.get(ready))
    except ray.exceptions.RayError as error:  # its process or machine died, too often
        answer = {"failed": f"it died {RETRIES + 1} times ({type(error).__name__})"}
    yield from [(job, answer["done"])] if "done" in answer else schedule.fail(job, answer["failed"])


def _do(asked: str, token_file: str, token: str) -> str:
    """What a worker does: JSON in, JSON out."""
    given = json.loads(asked)
    job = Job(**{**given["job"], "log": Path(given["job"]["log"])})
    try:
        if Path(token_file).read_text("utf-8") != token:
            raise FileNotFoundError(token_file)
    except OSError:
        why = f"this worker does not see {Path(token_file).parent}, which must be on a file system that all nodes share"
        return json.dumps({"failed": why})
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("a") as log, redirect_stdout(log), redirect_stderr(log), _inside(given["folder"]):
        try:
            return json.dumps({"done": job.find()(job.request)})
        except Exception as error:
            traceback.print_exc()
            return json.dumps({"failed": f"{type(error).__name__}: {error}"})


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    """Relative paths mean what they mean on the machine that asked, if its working folder is here, too."""
    with chdir(folder) if Path(folder).is_dir() else nullcontext():
        yield


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster for the block, unless this process is connected already."""
    if ray.is_initialized():
        yield
        return
    # "local", as Ray would otherwise join a cluster that somebody else has started on this machine
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _shared_token(jobs: Sequence[Job]) -> Iterator[tuple[Path, str]]:
    """A file in the folder of the jobs' logs by which a worker knows that it sees the same folder as this process."""
    token = uuid.uuid4().hex
    folder = _common_folder([job.log.absolute() for job in jobs])
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f".seen-by-all-{token}"
    file.write_text(token, "utf-8")
    try:
        yield file, token
    finally:
        file.unlink(missing_ok=True)


def _common_folder(files: Sequence[Path]) -> Path:
    parents = [set(file.parents) for file in files]
    return max(set.intersection(*parents), key=lambda folder: len(folder.parts))
