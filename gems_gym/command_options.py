"""What several commands' options have in common: ``--option name=value``, and a folder ``--out`` of their own."""

import json
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

from gems_gym.locks import locked_folder


def read_options(given: Iterable[str]) -> dict[str, Any]:
    """``name=value`` pairs, values as JSON where they are JSON, else as text.

    Args:
        given: The pairs as typed.

    Raises:
        ValueError: A text without a name or without ``=``.

    Examples:
        >>> read_options(["k=5", "deduplicate=false", "name=x"])
        {'k': 5, 'deduplicate': False, 'name': 'x'}
    """
    options: dict[str, Any] = {}
    for pair in given:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            raise ValueError(f"--option must be name=value, got {pair!r}")
        try:
            options[name] = json.loads(text)
        except ValueError:
            options[name] = text
    return options


def alone_in_its_folder(command: Callable[..., None]) -> Callable[..., None]:
    """Lets one process at a time run a command in a folder: a second one ends with an error before it does anything.

    Args:
        command: Has an option ``out``, the folder.
    """

    @wraps(command)
    def locking(*, out: Path, **given: Any) -> None:
        with locked_folder(out, f"--out {out}"):
            command(out=out, **given)

    return locking
