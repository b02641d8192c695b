"""Processes that are forked from one that has imported what takes seconds: functions, and ``gems-gym`` commands."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from gems_gym.commands import program
from gems_gym.common.jobs import ONE_THREAD

_LIMIT = 300  # seconds that a command may take
_context = multiprocessing.get_context("forkserver")
_PRELOADED = [
    "gems_gym_agents.pipeline.preloaded",
    "gems_gym_agents.commands.train",
    "gems_gym_agents.offline.agent",
    "gems_gym_agents.offline.replay_buffer",
    "gems_gym.commands.collect",
    "gems_gym.commands.datasets",
    "gems_gym.commands.pretrain.ranker",
    __name__,
]


def prepare() -> None:
    """Start the process that others are forked from: it imports while tests run, and serves the jobs of studies, too.

    So it has the environment variables that jobs want.
    """
    _context.set_forkserver_preload(_PRELOADED)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ONE_THREAD.items():
            patch.setenv(name, value)
        forkserver.ensure_running()


def begin(function: Callable[..., object], *arguments: Any) -> BaseProcess:
    """Start a function, which has to be one of a module, in a process that has done nothing yet but import."""
    prepare()
    process = _context.Process(target=function, args=arguments)
    process.start()
    return process


def start(folder: Path, *arguments: str) -> BaseProcess:
    """Start a command in a folder; its datasets are in ``datasets`` there, and what it says goes to ``said.txt``."""
    return begin(_run, folder, arguments)


def finish(folder: Path, *arguments: str) -> None:
    """Run a command, which has to succeed."""
    process = start(folder, *arguments)
    process.join(_LIMIT)
    if process.exitcode is None:
        kill(process)
    assert process.exitcode == 0, said(folder)


def kill(process: BaseProcess) -> None:
    """Kill a command and all processes that it has started."""
    assert process.pid
    process.kill()
    with suppress(ProcessLookupError):  # killed before it had a group
        os.killpg(process.pid, signal.SIGKILL)
    process.join()


def said(folder: Path) -> str:
    """The end of what the last command in a folder said."""
    return (folder / "said.txt").read_text(errors="replace")[-2000:]


def _run(folder: Path, arguments: tuple[str, ...]) -> None:
    os.setsid()  # a group of processes of its own
    os.chdir(folder)
    os.environ |= {"MINARI_DATASETS_PATH": str(folder / "datasets"), "GEMS_GYM_TRACKERS": ""}
    with Path("said.txt").open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = ["gems-gym", *arguments]
    program.main()
