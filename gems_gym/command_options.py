"""Options of a part that the program does not know beforehand: ``--option name=value``."""

import json
from collections.abc import Iterable
from typing import Any


def read_seeds(text: str) -> list[int]:
    """Seeds with commas between them.

    Args:
        text: What ``--seeds`` was given.

    Raises:
        ValueError: Other than whole numbers of at least 0, or one of them twice.

    Examples:
        >>> read_seeds("0,1,2")
        [0, 1, 2]
    """
    try:
        seeds = [int(one) for one in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--seeds must be whole numbers with commas between them, got {text!r}") from error
    if min(seeds) < 0:
        raise ValueError(f"--seeds must be at least 0, got {text!r}")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds must be different seeds, got {text!r}")
    return seeds


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
