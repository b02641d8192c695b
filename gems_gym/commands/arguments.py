"""What was typed, read: seeds, names, ``name=value`` pairs, and options that do not go together."""

import json
from collections.abc import Callable, Iterable
from functools import partial, wraps
from pathlib import Path
from typing import Any

from gems_gym import plugins
from gems_gym.common.jobs import Executor
from gems_gym.common.locks import locked_folder
from gems_gym.common.machine import check_out_folder
from gems_gym.errors import require
from gems_gym.user_splits import PIPELINE_SEEDS


def read_seeds(text: str) -> list[int]:
    """Seeds with commas between them.

    Args:
        text: What ``--seeds`` was given.

    Raises:
        ValueError: Other than integers from 0 to 262,143, or one of them twice.

    Examples:
        >>> read_seeds("0,1,2")
        [0, 1, 2]
    """
    try:
        seeds = [int(one) for one in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--seeds must be integers with commas between them, got {text!r}") from error
    if not 0 <= min(seeds) <= max(seeds) < PIPELINE_SEEDS:
        raise ValueError(f"--seeds must be from 0 to {PIPELINE_SEEDS - 1}, got {text!r}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds must be different seeds, got {text!r}")
    return seeds


def read_options(given: Iterable[str] | None, option: str = "--option") -> dict[str, Any]:
    """``name=value`` pairs, values as JSON where they are JSON, else as text.

    Args:
        given: The pairs as typed.
        option: What they are given by, for the message.

    Raises:
        ValueError: A text without a name or without ``=``, or a name twice.

    Examples:
        >>> read_options(["k=5", "deduplicate=false", "name=x"])
        {'k': 5, 'deduplicate': False, 'name': 'x'}
    """
    options: dict[str, Any] = {}
    for pair in given or ():
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise ValueError(f"{option} must be name=value, got {pair!r}")
        if name in options:
            raise ValueError(f"{option} gives {name} twice, the second time {pair!r}: give it once")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def read_names(text: str | None) -> list[str] | None:
    """Names with commas between them; None if nothing was given.

    Examples:
        >>> read_names("focused_mix, focused_divpen")
        ['focused_mix', 'focused_divpen']
    """
    return None if text is None else [name.strip() for name in text.split(",")]


def refuse(why: str, **options: Any) -> None:
    """Raises a ValueError that names the first option that is given though it should not, and why."""
    for name, value in options.items():
        if value not in (None, []):
            raise ValueError(f"--{name.replace('_', '-')} {why}")


def given(**options: Any) -> dict[str, Any]:
    """The options that were given, so that what is called keeps its own defaults for the others.

    Examples:
        >>> given(seed=0, sessions=None)
        {'seed': 0}
    """
    return {name: value for name, value in options.items() if value is not None}


def chosen_executor(executor: str, ray_address: str | None) -> Executor:
    """What does a command's jobs.

    Args:
        executor: A name in the entry-point group ``gems_gym.executors``.
        ray_address: See :func:`gems_gym.common.ray_jobs.do_jobs`.

    Raises:
        ValueError: An unknown name, or an address for another executor than Ray.
        ImportError: Ray is not installed.
    """
    found: Executor = plugins.load(plugins.EXECUTORS, executor)
    if executor == "ray":
        require("ray")
        return partial(found, address=ray_address)  # type: ignore[call-arg]
    if ray_address is not None:
        raise ValueError(f"--ray-address {ray_address} goes with --executor ray")
    return found


def alone_in_its_folder(command: Callable[..., None]) -> Callable[..., None]:
    """Lets one process at a time run a command in a folder: a second one ends with an error before it does anything.

    Args:
        command: Has an option ``out``, the folder.
    """

    @wraps(command)
    def locking(*, out: Path, **given: Any) -> None:
        check_out_folder(out)
        with locked_folder(out, f"--out {out}"):
            command(out=out, **given)

    return locking
