"""Jobs in processes of their own, some at a time, in order and after what they require, with a bar for each.

Every job gets a ``concurrent.futures.ProcessPoolExecutor`` of one process. In one pool of all jobs, a process that dies
would end the jobs of all others, and nobody would know which job it was. What the executor can't do is done here: it
neither ends a job that runs, nor says how a process died, nor ends its processes when the parent is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext, ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeAlias

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from gems_gym.common.machine import environment
from gems_gym.common.progress import is_shown, note, reporting_to, stderr

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
        request: What it is asked for; JSON types only, so that nothing is shared that could run code. Jobs for
            processes of this machine alone may hold what can be pickled.
        log: The file that gets what it writes to stdout and stderr.
        needs: Names of the jobs that must have been done before; those that are not among the jobs have been.
        preload: A module to import before, if that takes long: on one machine it is imported once for all jobs.
    """

    name: str
    function: str
    request: Mapping[str, Any]
    log: Path
    needs: tuple[str, ...] = ()
    preload: str | None = None

    def find(self) -> Callable[[Mapping[str, Any]], str]:
        """Import what does it."""
        if self.preload is not None:
            import_module(self.preload)
        module, _, name = self.function.partition(":")
        found: Callable[[Mapping[str, Any]], str] = getattr(import_module(module), name)
        return found


Executor: TypeAlias = Callable[[str, Sequence[Job], int], dict[str, str]]
"""Does jobs, with the arguments and the result of :func:`do_jobs`: what the group ``gems_gym.executors`` names."""


class Schedule:
    """Which jobs wait, in which order, and which have failed.

    Args:
        jobs: The jobs, in the order in which they begin.

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
        """Note that a job failed; yields it and those that can't be done without it, with the reason."""
        yield job, reason
        self.failures[job.name] = f"{reason} (see {job.log})"
        for other in [one for one in self.waiting if job.name in one.needs]:
            if other not in self.waiting:  # it needs another one, too, that could not be done
                continue
            self.waiting.remove(other)
            yield from self.fail(other, f"not done, as it needs {job.name!r}")


def do_jobs(title: str, jobs: Sequence[Job], processes: int) -> dict[str, str]:
    """Do all jobs, each with one thread for linear algebra.

    A job that fails, or whose process dies, does not stop the others, only those that need it. Ctrl-C stops all, and
    passes on once they have ended.

    Args:
        title: What is being done.
        jobs: The jobs, in the order in which they begin.
        processes: How many run at once, at least 1.

    Returns:
        Name of each job that failed -> why.
    """
    schedule, running = Schedule(jobs), dict[Connection, _Running]()
    with Progress(*_columns(), console=stderr, expand=True, disable=not is_shown()) as bars:
        total = bars.add_task(title, total=len(jobs), note=f"{len(jobs)} to do")
        try:
            while schedule.waiting or running:
                while len(running) < processes:
                    job = schedule.next_ready(one.job for one in running.values())
                    if job is None:
                        break
                    # a process that has begun is always among those to be ended
                    with _without_interruption():
                        begun = _Running(job, bars)
                        running[begun.reports] = begun
                if not running:
                    names = ", ".join(repr(job.name) for job in schedule.waiting)
                    raise RuntimeError(f"these jobs wait for one another: {names}")
                for ready in wait(list(running)):
                    assert isinstance(ready, Connection)
                    if (ended := running[ready].listen()) is None:
                        continue
                    job, (done, text) = running.pop(ready).job, ended
                    for one, outcome in [(job, text)] if done else schedule.fail(job, text):
                        bars.update(total, advance=1, note=f"{len(schedule.waiting) + len(running)} to do")
                        if is_shown():
                            note(f"{one.name}: {outcome}")
        finally:
            with _without_interruption():
                _end(list(running.values()))
    return schedule.failures


def _columns() -> tuple[Any, ...]:
    """Narrow columns, and what is left for the notes: a long one is cut and pushes nothing aside."""
    notes = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return (
        TextColumn("{task.description}"), BarColumn(10), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", table_column=notes),
    )  # fmt: skip


class _Running:
    """A job that has begun.

    Args:
        job: What is to be done.
        bars: Get a bar for it.

    Attributes:
        job: The job, as given.
        reports: Says something when :meth:`listen` is to be called.
        process: What it is done in.
        pool: The executor of this one process.
    """

    def __init__(self, job: Job, bars: Progress) -> None:
        # Jobs that preload something are forked from a server that has imported it, once.
        context: _Spawn | _ForkServer = _Spawn() if job.preload is None else _ForkServer()
        if job.preload is not None:
            context.set_forkserver_preload([job.preload])
        self.job = job
        self.reports, self._its = context.Pipe(duplex=False)
        self.pool = ProcessPoolExecutor(1, context, _begin, (self._its,))
        with environment(ONE_THREAD):
            self._outcome = self.pool.submit(_do, job)
        self._outcome.add_done_callback(lambda _: self._its.send(None))  # whatever ended it
        self.process = context.process
        self._bars, self._bar = bars, bars.add_task(job.name, total=None, note="starting")

    def listen(self) -> tuple[bool, str] | None:
        """Take a report; once the job has ended, returns whether it is done, and a line for people."""
        if (progress := self.reports.recv()) is not None:
            what, done, total, text = progress
            self._bars.update(self._bar, completed=done, total=total, note=f"{what}  {text}")
            return None
        self._bars.remove_task(self._bar)
        self.pool.shutdown()  # from here on nobody else asks for the exit code, which can be had only once
        self.reports.close()
        self._its.close()
        error = self._outcome.exception()
        if error is None:
            return self._outcome.result()
        if isinstance(error, BrokenProcessPool):
            return False, f"its process ended with {_cause(self.process.exitcode)}"
        return False, f"{type(error).__name__}: {error}"


class _OneProcess(BaseContext):
    """Keeps the process that it makes: an executor hands out neither its processes nor how they ended."""

    process: BaseProcess

    def Process(self, *args: Any, **kwargs: Any) -> BaseProcess:  # noqa: N802
        """Make a process, as the context's attribute of this name does."""
        self.process = super().Process(*args, **kwargs)  # type: ignore[misc]  # each kind of context has one
        return self.process


class _Spawn(_OneProcess, SpawnContext):  # type: ignore[misc]  # there, Process is a class
    pass


class _ForkServer(_OneProcess, ForkServerContext):  # type: ignore[misc]
    pass


def _end(running: Sequence[_Running]) -> None:
    """End jobs: they may tidy up first."""
    for one in running:
        one.process.terminate()
        one.pool.shutdown(wait=False)
    deadline = time.monotonic() + _PATIENCE
    for one in running:
        one.process.join(max(0.0, deadline - time.monotonic()))
        if one.process.is_alive():
            one.process.kill()
        one.pool.shutdown()
        # the pool's thread waits for the process too: it may have been given the exit code, and be about to keep it
        while one.process.exitcode is None and time.monotonic() < deadline + _PATIENCE:
            time.sleep(0.001)


def _cause(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    return f"exit code {exit_code} ({name}{', out of memory?' if name == 'SIGKILL' else ''})"


@contextmanager
def _without_interruption() -> Iterator[None]:
    """Ctrl-C waits for the end of the block."""
    if threading.current_thread() is not threading.main_thread():  # the only one that Ctrl-C interrupts
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


# -- in the job's process ----------------------------------------------------------------------------------------------

_reports: list[Connection] = []
"""What the parent reads progress from."""


def _begin(reports: Connection) -> None:
    """Prepare the process. A job that is ended while it starts has nothing to tidy up: SIGTERM just ends it."""
    # Ctrl-C reaches the whole group; the parent says who is to end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _reports.append(reports)


def _do(job: Job) -> tuple[bool, str]:
    """Do the job: whether it is done, and a line for people. Texts only, which can always be sent, and in one piece."""
    try:
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        function = job.find()
        signal.signal(signal.SIGTERM, _interrupt)
        with reporting_to(_Reporter(_reports[0])):
            return True, function(job.request)
    except KeyboardInterrupt:
        return False, "it was interrupted"
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        return False, f"{type(error).__name__}: {error}"
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout.flush()


def _end_with_parent() -> None:
    """Wait for the parent's end: the job ends too. It is interrupted first, and killed if it tidies up for too long."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_PATIENCE_OF_ORPHANS)
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupt(*_: object) -> None:
    """Let the job tidy up on its way out, once: what tidies up is not interrupted again."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


class _Reporter:
    """Tells the parent of progress, now and then. A parent that is gone makes it fail, and the job with it."""

    def __init__(self, reports: Connection) -> None:
        self._reports = reports
        self._last = 0.0

    def __call__(self, what: str, done: float, total: float, text: str) -> None:
        now = time.monotonic()
        if now - self._last >= _REPORT_EVERY or done >= total:
            self._last = now
            self._reports.send((what, done, total, text))
