"""Work in other processes, which are forked so that they need not import and compile anything."""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any


def in_another_process(work: Callable[..., object], *arguments: Any) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work, args=arguments)
    process.start()
    return process


def wait_until(condition: Callable[[], object], process: BaseProcess) -> None:
    """Waits for a condition that a living process brings about."""
    while not condition():
        assert process.is_alive(), f"ended with {process.exitcode}"
        time.sleep(0.005)


def _hold(make: Callable[[], AbstractContextManager[object]], held: Path) -> None:
    with make():
        held.touch()
        time.sleep(60)


@contextmanager
def held_elsewhere(make: Callable[[], AbstractContextManager[object]], folder: Path) -> Iterator[BaseProcess]:
    """Another process is inside a context for the length of the block; then it is killed."""
    held = folder / f"held-{os.urandom(4).hex()}"
    process = in_another_process(_hold, make, held)
    try:
        wait_until(held.exists, process)
        held.unlink()
        yield process
    finally:
        process.kill()
        process.join()


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def is_killed(process: BaseProcess) -> bool:
    """Waits for the end of a process: whether it was killed."""
    process.join()
    return process.exitcode == -signal.SIGKILL
