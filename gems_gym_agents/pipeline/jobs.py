"""Jobs in processes of their own, some at a time, in order and after what they need, with a bar for each."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeAlias

from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from gems_gym.commands.output import note
from gems_gym.common.progress import reporting_to, stderr

ONE_THREAD: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Environment variables of every job: its result must not depend on the number of cores."""

_REPORT_EVERY = 0.2  # seconds between two reports of a job's progress
_PATIENCE = 10.0  # seconds that an interrupted job has to tidy up
_PATIENCE_OF_ORPHANS = 0.5  # the same, of a job whose parent was killed


@dataclass(frozen=True)
class Job:
    """Something to be done in a process of its own, here or on another machine.

    Attributes:
        name: What it is called in messages.
        function: Does it, and returns a line for people: ``module:name`` of a function of ``request``.
        request: What it is asked for; JSON types only, so that nothing is shared that could run code.
        log: The file that gets what it writes to stdout and stderr.
        needs: Names of the jobs that must have been done before; those that are not among the jobs have been.
    """

    name: str
    function: str
    request: Mapping[str, Any]
    log: Path
    needs: tuple[str, ...] = ()

    def do(self) -> str:
        """Do it here."""
        module, _, name = self.function.partition(":")
        done: str = getattr(import_module(module), name)(self.request)
        return done


Executor: TypeAlias = Callable[[str, Sequence[Job], int], dict[str, str]]
"""Does jobs, with the arguments and the result of :func:`do_jobs`: what the group ``gems_gym.executors`` names."""


class Schedule:
    """Which jobs wait, in which order, and which have failed.

    Args:
        jobs: In the order to begin them in.

    Attributes:
        waiting: Those that have not begun.
        failures: Name of each job that failed -> why.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.waiting = list(jobs)
        self.failures: dict[str, str] = {}

    def next_ready(self, running: Iterable[Job]) -> Job | None:
        """Take the first job that needs none of those that are not done, None if there is none.

        Args:
            running: Those that have begun and not ended.
        """
        open_jobs = {job.name for job in (*self.waiting, *running)}
        for job in self.waiting:
            if not open_jobs.intersection(job.needs):
                self.waiting.remove(job)
                return job
        return None

    def fail(self, job: Job, reason: str) -> Iterator[tuple[Job, str]]:
        """Note that a job failed; yields those that can't be done without it, with the reason."""
        self.failures[job.name] = f"{reason} (see {job.log})"
        for other in [one for one in self.waiting if job.name in one.needs]:
            self.waiting.remove(other)
            why = f"not done, as it needs {job.name!r}"
            yield other, why
            yield from self.fail(other, why)


def do_jobs(title: str, jobs: Sequence[Job], processes: int) -> dict[str, str]:
    """Do all jobs, each with one thread for linear algebra.

    A job that fails does not stop the others, only those that need it. Ctrl-C stops all, and passes on once they have
    ended.

    Args:
        title: What is being done.
        jobs: In the order to begin them in.
        processes: How many run at once, at least 1.

    Returns:
        Name of each job that failed -> why.
    """
    crew = _Processes(jobs)
    with Progress(*_columns(), console=stderr, expand=True) as bars:
        total = bars.add_task(title, total=len(jobs), note=f"{len(jobs)} to do")
        try:
            while not crew.idle:
                while len(crew.running) < processes and (job := crew.next_ready()) is not None:
                    crew.start(job, bars)
                for job, outcome in crew.listen(bars):
                    bars.update(total, advance=1, note=f"{crew.left} to do")
                    note(f"{job.name}: {outcome}")
        except BaseException:  # Ctrl-C included
            crew.stop()
            raise
    return crew.schedule.failures


def _columns() -> tuple[Any, ...]:
    """Narrow columns, and what is left for the notes: a long one is cut and pushes nothing aside."""
    notes = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return (
        TextColumn("{task.description}"), BarColumn(10), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", table_column=notes),
    )  # fmt: skip


class _Processes:
    """The jobs that run in processes of their own, and those that wait."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        # One server imports what all jobs need, once; each job is forked from it.
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(["gems_gym_agents.pipeline.preloaded"])
        self.schedule = Schedule(jobs)
        self.running: dict[Connection, tuple[Job, Any, TaskID]] = {}

    @property
    def left(self) -> int:
        """How many jobs have not ended."""
        return len(self.schedule.waiting) + len(self.running)

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to do."""
        return self.left == 0

    def next_ready(self) -> Job | None:
        """Take the first job that can begin, None if there is none."""
        return self.schedule.next_ready(job for job, _, _ in self.running.values())

    def start(self, job: Job, bars: Progress) -> None:
        """Begin a job in a process of its own."""
        mine, its = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_work, args=(job, its), name=job.name)
        with _environment(ONE_THREAD):
            process.start()
        its.close()  # so that its end of the pipe is closed when the process ends, whatever ends it
        self.running[mine] = (job, process, bars.add_task(job.name, total=None, note="starting"))

    def listen(self, bars: Progress) -> Iterator[tuple[Job, str]]:
        """Wait for news of the running jobs; yields those that have ended, with how."""
        for ready in wait(list(self.running)):
            assert isinstance(ready, Connection)
            job, process, bar = self.running[ready]
            try:
                kind, *news = ready.recv()
            except (EOFError, OSError):
                process.join()
                kind, news = "failed", [f"its process ended with exit code {process.exitcode}"]
            if kind == "progress":
                what, done, total, text = news
                bars.update(bar, completed=done, total=total, note=f"{what}  {text}")
                continue
            process.join()
            bars.remove_task(bar)
            del self.running[ready]
            yield job, news[0]
            if kind == "failed":
                yield from self.schedule.fail(job, news[0])

    def stop(self) -> None:
        """End all processes."""
        processes = [process for _, process, _ in self.running.values()]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _PATIENCE
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for processes that are started in the block (read when libraries are loaded there)."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(job: Job, reports: Connection) -> None:
    """What a job's process does."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches all of the group; the parent says who is to end
    signal.signal(signal.SIGTERM, _interrupt)  # half-written files are removed on the way out
    job.log.parent.mkdir(parents=True, exist_ok=True)
    threading.Thread(target=_end_with_parent, args=(reports.fileno(),), daemon=True).start()
    with job.log.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        with reporting_to(_Reporter(reports)):
            reports.send(("done", job.do()))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGTERM)
    except Exception as error:
        traceback.print_exc()
        reports.send(("failed", f"{type(error).__name__}: {error}"))


def _end_with_parent(descriptor: int) -> None:
    """Wait until no process listens to the reports any more: then the parent was killed, and the job ends too.

    It is interrupted first, so that it tidies up, and killed if that takes longer.
    """
    closed = select.poll()
    closed.register(descriptor, 0)  # POLLERR and POLLHUP are always reported
    closed.poll()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_OF_ORPHANS)
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


class _Reporter:
    """Reports progress to the parent, now and then. A parent that is gone makes it fail, and the job with it."""

    def __init__(self, reports: Connection) -> None:
        self._reports = reports
        self._last = 0.0

    def __call__(self, what: str, done: float, total: float, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_EVERY or done >= total:
            self._last = now
            self._reports.send(("progress", what, done, total, text))
