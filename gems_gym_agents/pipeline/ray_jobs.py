"""Jobs on a Ray cluster: the same jobs as on one machine, on any node that sees the study's folder."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gems_gym.commands.output import note
from gems_gym.common.progress import track
from gems_gym.errors import require
from gems_gym_agents.pipeline.jobs import ONE_THREAD, Job, Schedule

RETRIES = 3
"""How often a job is begun again whose process or machine died; it resumes from what it has saved."""


def do_jobs(title: str, jobs: Sequence[Job], processes: int, address: str | None = None) -> dict[str, str]:
    """Do all jobs on a Ray cluster, each on one core; as :func:`gems_gym_agents.pipeline.jobs.do_jobs` otherwise.

    Args:
        title: What is being done.
        jobs: In the order to begin them in.
        processes: How many run at once, on all nodes together.
        address: The cluster's, "auto" for the one that this machine belongs to; a cluster of this machine alone if
            None.

    Returns:
        Name of each job that failed -> why.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: There is no cluster at the address.
    """
    ray = require("ray", extra="cluster")
    schedule = Schedule(jobs)
    with _connected(ray, address), _shared_token(jobs) as (file, token), track(title, len(jobs)) as advance:
        remote = ray.remote(num_cpus=1, max_retries=RETRIES, runtime_env={"env_vars": dict(ONE_THREAD)})(_do)
        running: dict[Any, Job] = {}
        try:
            while schedule.waiting or running:
                while len(running) < processes and (job := schedule.next_ready(running.values())) is not None:
                    described = {**asdict(job), "log": str(job.log.absolute())}
                    running[remote.remote(json.dumps(described), str(file), token)] = job
                (ready,), _ = ray.wait(list(running), num_returns=1)
                for job, outcome in _ended(ray, schedule, running.pop(ready), ready):
                    advance()
                    note(f"{job.name}: {outcome}")
        except BaseException:  # Ctrl-C included
            for one in running:
                ray.cancel(one, force=True)
            raise
    return schedule.failures


def _ended(ray: Any, schedule: Schedule, job: Job, ready: Any) -> Iterator[tuple[Job, str]]:
    """A job that has ended, with how, and those that can't be done without it."""
    try:
        answer = json.loads(ray.get(ready))
    except ray.exceptions.RayError as error:  # its process or machine died, too often
        answer = {"failed": f"it died {RETRIES + 1} times ({type(error).__name__})"}
    if "failed" not in answer:
        yield job, answer["done"]
        return
    yield job, answer["failed"]
    yield from schedule.fail(job, answer["failed"])


def _do(described: str, token_file: str, token: str) -> str:
    """What a worker does: JSON in, JSON out."""
    from gems_gym_agents.pipeline import preloaded  # noqa: F401  (the same settings of libraries as in local processes)

    job = Job(**json.loads(described))
    try:
        if Path(token_file).read_text("utf-8") != token:
            raise FileNotFoundError(token_file)
    except OSError:
        return json.dumps(
            {
                "failed": f"this worker does not see {Path(token_file).parent}: all nodes require the study's folder"
            }
        )
    log = Path(job.log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file, redirect_stdout(file), redirect_stderr(file):
        try:
            return json.dumps({"done": job.do()})
        except Exception as error:
            import traceback

            traceback.print_exc()
            return json.dumps({"failed": f"{type(error).__name__}: {error}"})


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connect to a cluster for the block, unless this process is connected already."""
    if ray.is_initialized():
        yield
        return
    local = {"include_dashboard": False} if address is None else {}
    ray.init(address=address, log_to_driver=False, configure_logging=False, **local)
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
