"""Options of a part that the program does not know beforehand: ``--option name=value``."""

import json
from collections.abc import Iterable
from typing import Any


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
