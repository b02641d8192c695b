"""Errors that say what is wrong, which value was given, and what would be right.

Two helpers are shared by all of the package, so that the same mistake reads the same everywhere: a name that
is unknown (:func:`unknown_name`), and an optional dependency that is not installed (:func:`require`).
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Iterable
from types import ModuleType

SHORT_LIST = 16
"""Up to this many known names are all shown; beyond it only the nearest."""

EXTRA_OF_MODULE: dict[str, str] = {
    "minari": "data",
    "h5py": "data",
    "torch": "pretrain",
    "d3rlpy": "offline",
    "stable_baselines3": "online",
    "sb3_contrib": "online",
    "tensorboard": "online",
    "matplotlib": "plot",
    "PIL": "render",
    "pygame": "render",
    "moviepy": "render",
    "ray": "cluster",
    "optuna": "tune",
    "polars": "logs",
    "faiss": "search",
    "wandb": "wandb",
    "swanlab": "swanlab",
}
"""Top-level module of every optional dependency -> the smallest extra of setup.cfg that installs it."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Makes the error for a name that is not among the known ones.

    The error is returned, not raised, so that the line that raises it shows in the traceback:
    ``raise unknown_name("preset", name, PRESETS)``.

    Args:
        kind: What the name should have named, in the singular: ``"preset"``, ``"policy"``, ``"agent"``.
        name: The name as given (anything: a value of a wrong type is shown as it is).
        known: Every name that would have been right.

    Returns:
        A ``ValueError`` that shows the name, the nearest known names and, if they are few, all of them.

    Examples:
        >>> print(unknown_name("policy", "randon", ["random", "constant_slate"]))
        unknown policy 'randon': did you mean 'random'? Known: 'constant_slate', 'random'.
    """
    names = sorted(set(known))
    message = f"unknown {kind} {name!r}"
    if not names:
        return ValueError(f"{message}: there are none here.")
    near = nearest_names(name, names)
    if near:
        message += f": did you mean {' or '.join(repr(candidate) for candidate in near)}?"
    else:
        message += ": no known name is near it."
    if len(names) <= SHORT_LIST:
        message += f" Known: {', '.join(repr(candidate) for candidate in names)}."
    elif not near:
        message += (
            f" {len(names)} are known, among them {', '.join(repr(name) for name in names[:SHORT_LIST])}."
        )
    return ValueError(message)


def nearest_names(name: object, known: Iterable[str], count: int = 3) -> list[str]:
    """Finds the known names that look most like a given one, whatever its case and separators.

    Args:
        name: The name as given.
        known: The names to choose from.
        count: How many to return at most.

    Returns:
        Up to ``count`` names, nearest first; an empty list if none is near.
    """
    plain: dict[str, str] = {}
    for candidate in known:
        plain.setdefault(_plain(candidate), candidate)
    return [
        plain[match] for match in difflib.get_close_matches(_plain(str(name)), plain, n=count, cutoff=0.6)
    ]


def _plain(name: str) -> str:
    """Lower case, with one kind of separator: 'TD3+BC' and 'td3_plus_bc' should be near each other."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().replace("+", " plus ")).strip("_")


def require(module: str, extra: str | None = None) -> ModuleType:
    """Imports an optional dependency, or says how to install it.

    Args:
        module: The module to import, e.g. ``"minari"`` or ``"torch.nn"``.
        extra: The extra of gems-gym that installs it; looked up in :data:`EXTRA_OF_MODULE` when ``None``.

    Returns:
        The imported module.

    Raises:
        ImportError: If the module is not installed; the text holds the ``pip install`` line. A module that is
            installed but breaks while it is imported keeps its own error: no extra would help.

    Examples:
        >>> require("json").__name__
        'json'
    """
    top = module.partition(".")[0]
    if extra is None:
        extra = EXTRA_OF_MODULE.get(top)
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != top:
            raise  # the dependency is there, one of its own dependencies is not
        raise missing_dependency(top, extra) from error


def missing_dependency(module: str, extra: str | None) -> ImportError:
    """Makes the error for an optional dependency that is not installed.

    Args:
        module: The module that could not be found.
        extra: The extra that installs it, or ``None`` if no extra of gems-gym does.

    Returns:
        An ``ImportError`` with the ``pip install`` line in its text and ``module`` in its ``name``.
    """
    command = f"pip install 'gems-gym[{extra}]'" if extra else f"pip install {module}"
    return ImportError(
        f"this requires the module {module!r}, which is not installed; install it with: {command}",
        name=module,
    )
