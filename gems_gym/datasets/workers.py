"""Plays chunks of a dataset in several processes; what they play lands in files, never in a pipe."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, cast

from gems_gym.beliefs import load_belief
from gems_gym.common.progress import reporting_to
from gems_gym.datasets.players import MakePolicy, name_of, open_player
from gems_gym.datasets.unfinished import Chunks
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE, as_artefact, environment_spec
from gems_gym.policies import Policy
from gems_gym.rankers import load_ranker

_KINDS = {kind.__name__: kind for kind in (ValueError, TypeError, OSError, ImportError, MemoryError)}
"""What an error in a worker is raised as in its parent: the first of these that it is, else a RuntimeError."""

_LOADERS = {RANKER_FILE: load_ranker, BELIEF_FILE: load_belief}


@dataclass(frozen=True)
class Job:
    """What a process needs to play.

    Attributes:
        env_id: A registered environment; an id that names its module is registered by importing that.
        env_kwargs: Overrides for it.
        policy: See :func:`~gems_gym.datasets.players.open_player`.
        files: The ranker's and the belief's file by the name it has in a dataset, or nothing.
        num_envs: Users stepped together.
        chunks: Where what was played goes.
    """

    env_id: str
    env_kwargs: Mapping[str, Any]
    policy: str | Policy | MakePolicy
    files: Mapping[str, Path]
    num_envs: int
    chunks: Chunks


class WorkerError(Exception):
    """Where an error arose in a worker process; the cause of the error that is raised in its parent."""

    def __str__(self) -> str:
        """The traceback on lines of its own."""
        return "\n" + str(self.args[0])


def check_can_be_handed_over(policy: str | Policy | MakePolicy) -> None:
    """Raises a clear error for a policy that no other process can be given.

    Raises:
        TypeError: A closure, a lambda, or an object that holds one.
    """
    try:
        ForkingPickler.dumps(policy)
    except Exception as error:  # whatever the object's own code raises when it is taken apart
        raise TypeError(
            f"policy {name_of(policy)!r} can't be handed to worker processes ({error}): give a registered name, a "
            "function or class that can be imported, or an object without lambdas and open files; or leave workers at 1"
        ) from error


def play_in_processes(job: Job, missing: Sequence[int], workers: int) -> Generator[int]:
    """Plays chunks in worker processes, which end with the iterator, and with their parent even if it is killed.

    Args:
        job: What is played.
        missing: Which chunks.
        workers: How many processes, ≥ 1.

    Yields:
        Each chunk once it is finished; each process plays its own in order.

    Raises:
        RuntimeError: If a process died.
        Exception: What was raised in a process, as one of the classes that our commands report in one line.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy threads and compiled code in mid-air
    processes: dict[Connection, BaseProcess] = {}
    try:
        for number in range(min(workers, len(missing))):
            reports, sender = context.Pipe(duplex=False)
            process: BaseProcess = context.Process(
                target=_work,
                args=(job, list(missing[number::workers]), sender),
                name=f"gems-gym-collect-{number}",
                daemon=True,
            )
            process.start()
            sender.close()  # the worker's copy is the last: when it dies, reading says so
            processes[reports] = process
        while processes:
            for ready in cast(list[Connection], wait(list(processes))):
                report = _received(ready, processes[ready])
                if report is None:
                    del processes[ready]
                else:
                    yield report
    finally:
        for process in processes.values():
            process.terminate()
            process.join()


def _received(reports: Connection, process: BaseProcess) -> int | None:
    """The next chunk that a worker has finished; None when it has finished all of its own."""
    try:
        report = reports.recv()
    except EOFError:
        process.join()
        raise RuntimeError(
            f"a worker process died ({_cause(process.exitcode)}) before its sessions were finished; what it wrote to "
            'stderr stands above. A script that asks for workers must keep its own work under if __name__ == "__main__"'
        ) from None
    if isinstance(report, tuple):
        kind, message, where = report
        raise _KINDS.get(kind, RuntimeError)(message) from WorkerError(where)
    if report is None:
        process.join()
    return cast("int | None", report)


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}{', out of memory?' if name == 'SIGKILL' else ''}"
    return f"exit code {exit_code}"


def _work(job: Job, indices: list[int], sender: Connection) -> None:
    """What a worker process does."""
    # Ctrl-C reaches all processes of a terminal; this one is ended by its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        spec = environment_spec(job.env_id, job.env_kwargs)
        artefacts = {name: as_artefact(file, _LOADERS[name], file) for name, file in job.files.items()}
        with reporting_to(_nobody), open_player(spec, job.policy, artefacts, job.num_envs) as player:
            for index in indices:
                job.chunks.save(index, player.play(job.chunks.users(index)))
                sender.send(index)
        sender.send(None)
    except Exception as error:
        kind = next((name for name, one in _KINDS.items() if isinstance(error, one)), "")
        message = str(error) if kind else f"{type(error).__name__}: {error}"
        sender.send((kind, message, traceback.format_exc()))


def _nobody(*progress: Any) -> None:
    """Hears of progress in a worker, such as a policy's own search: the bar is the parent's to draw."""


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
