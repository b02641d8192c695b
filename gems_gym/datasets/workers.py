"""Plays chunks of a dataset by jobs, here or on a cluster; what they play lands in files, never in a pipe."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from gems_gym.beliefs import load_belief
from gems_gym.common.files import read_json_object, write_json
from gems_gym.common.jobs import Executor, Job, do_jobs
from gems_gym.common.progress import not_reported, reporting_to, track
from gems_gym.datasets.described_policies import DescribedPolicy
from gems_gym.datasets.hidden_folder import Chunks
from gems_gym.datasets.recording import MakePolicy, dataset_fields, name_of, open_player
from gems_gym.datasets.world import BELIEF_FILE, RANKER_FILE, as_artefact, environment_spec
from gems_gym.policies import Policy
from gems_gym.rankers import load_ranker
from gems_gym.user_splits import user_seeds

_KINDS = {kind.__name__: kind for kind in (ValueError, TypeError, OSError, ImportError, MemoryError)}
"""What an error in a job is raised as by its asker: the first of these that it is, else a RuntimeError."""

_LOADERS = {RANKER_FILE: load_ranker, BELIEF_FILE: load_belief}


@dataclass(frozen=True)
class Playing:
    """What is needed to play the chunks of a dataset.

    Attributes:
        env_id: A registered environment.
        env_kwargs: Overrides for it.
        policy: See :func:`~gems_gym.datasets.recording.open_player`.
        files: The ranker's and the belief's file by the name it has in a dataset, or nothing.
        num_envs: Users stepped together.
        users: Arguments of :func:`~gems_gym.user_splits.user_seeds`.
        directory: Where the chunks go.
        chunk: Sessions in a chunk.
        fields: See :func:`~gems_gym.datasets.recording.dataset_fields`.
        propensities: See :func:`~gems_gym.datasets.recording.open_player`.
    """

    env_id: str
    env_kwargs: Mapping[str, Any]
    policy: str | Policy | MakePolicy
    files: Mapping[str, Path]
    num_envs: int
    users: tuple[Any, int, int]
    directory: Path
    chunk: int
    fields: Sequence[str]
    propensities: bool

    def request(self) -> dict[str, Any]:
        """What a job is asked for; JSON types if the policy is a name or described."""
        policy = (
            self.policy.as_data(self.directory) if isinstance(self.policy, DescribedPolicy) else self.policy
        )
        own = {
            "env_kwargs": dict(self.env_kwargs),
            "policy": policy,
            "files": {name: str(file) for name, file in self.files.items()},
            "directory": str(self.directory),
            "fields": list(self.fields),
        }
        return {**vars(self), **own}


class WorkerError(Exception):
    """Where an error arose in a job; the cause of the error that its asker raises."""

    def __str__(self) -> str:
        """The traceback on lines of its own."""
        return "\n" + str(self.args[0])


def check_can_be_handed_over(policy: str | Policy | MakePolicy, executor: Executor) -> None:
    """Raises a clear error for a policy that no other process can be given.

    Args:
        policy: See :func:`~gems_gym.datasets.recording.open_player`.
        executor: Plays. Processes of this machine may be given objects, others names and data.

    Raises:
        TypeError: A closure, a lambda, or an object that holds one; on other machines, any object.
    """
    if executor is not do_jobs:
        if not isinstance(policy, str | DescribedPolicy):
            raise TypeError(
                f"policy {name_of(policy)!r} can't be handed to other machines, which are given no objects: give a "
                "registered name or a gems_gym.datasets.DescribedPolicy, or leave executor out"
            )
        return
    try:
        ForkingPickler.dumps(policy)
    except Exception as error:  # whatever the object's own code raises when it is taken apart
        raise TypeError(
            f"policy {name_of(policy)!r} can't be handed to worker processes ({error}): give a registered name, a "
            "function or class that can be imported, or an object without lambdas and open files; or leave workers at 1"
        ) from error


def play_by_jobs(
    playing: Playing, missing: Sequence[int], workers: int, executor: Executor, title: str, shown: bool
) -> None:
    """Plays chunks by jobs, each of which plays some of them in order.

    Args:
        playing: What is played.
        missing: Which chunks.
        workers: How many jobs there are at a time, ≥ 1.
        executor: Does them.
        title: What is being done.
        shown: Whether to show progress.

    Raises:
        RuntimeError: If a process died.
        Exception: What was raised in a job, as one of the classes that our commands tell in one line. The other jobs
            have played what is theirs.
    """
    count, request = min(workers, len(missing)), playing.request()
    jobs = [
        Job(
            f"part {number + 1} of {count}",
            f"{__name__}:play_chunks",
            {**request, "indices": missing[number::count], "failure": f"failure-{number}.json"},
            playing.directory / f"log-{number}.txt",
        )
        for number in range(count)
    ]
    for job in jobs:
        (playing.directory / job.request["failure"]).unlink(missing_ok=True)
    with nullcontext() if shown else reporting_to(not_reported):
        failures = executor(title, jobs, workers)
    for job in jobs:
        if job.name in failures:
            raise _error_of(playing.directory / job.request["failure"], job, failures[job.name])


def play_chunks(request: Mapping[str, Any]) -> str:
    """A job: plays the request's chunks that are not there yet; returns a line for people."""
    directory = Path(request["directory"])
    try:
        return _play(request, Chunks(directory, user_seeds(*request["users"]), request["chunk"]))
    except Exception as error:
        kind = next((name for name, one in _KINDS.items() if isinstance(error, one)), "")
        message = str(error) if kind else f"{type(error).__name__}: {error}"
        with suppress(OSError):  # the first error is the one to be told
            told = {"kind": kind, "message": message, "where": traceback.format_exc()}
            write_json(directory / request["failure"], told)
        raise


def _play(request: Mapping[str, Any], chunks: Chunks) -> str:
    kept = set(chunks.kept())
    indices = [index for index in request["indices"] if index not in kept]  # an earlier attempt was killed
    total = sum(len(chunks.users(index)) for index in indices)
    policy = request["policy"]
    if isinstance(policy, dict):
        policy = DescribedPolicy(**policy)
    spec = environment_spec(request["env_id"], request["env_kwargs"])
    artefacts = {
        name: as_artefact(file, _LOADERS[name], Path(file)) for name, file in request["files"].items()
    }
    fields = dataset_fields(request["fields"])
    with (
        open_player(spec, policy, artefacts, request["num_envs"], fields, request["propensities"]) as player,
        track("playing", total) as advance,
    ):
        for index in indices:
            chunks.save(index, player.play(chunks.users(index)))
            advance(len(chunks.users(index)))
    return f"{total} sessions"


def _error_of(file: Path, job: Job, reason: str) -> Exception:
    """The error of a job that failed."""
    told = read_json_object(file, ("kind", "message", "where"))
    if told is not None:
        error = _KINDS.get(told["kind"], RuntimeError)(told["message"])
        error.__cause__ = WorkerError(told["where"])
        return error
    error = RuntimeError(
        f"{job.name} of the sessions was not finished: {reason}. A script that asks for workers must keep its own work "
        'under if __name__ == "__main__"'
    )
    with suppress(OSError):
        error.__cause__ = WorkerError(job.log.read_text("utf-8", errors="replace")[-2000:])
    return error
