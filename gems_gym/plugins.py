"""The one place that reads entry points: rankers, beliefs, trainers, agents, commands and the rest of :data:`GROUPS`.

A package adds a part of its own by naming it in its metadata; ours stand in the same groups (see
``setup.cfg``)::

    [options.entry_points]
    gems_gym.rankers =
        my_ranker = my_package.ranking:MyRanker

Nothing is imported until :func:`load` is asked for it, so a broken plugin hurts only those who want it, and
listing all plugins costs no import of torch or of the agents' libraries.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gems_gym.errors import EXTRA_OF_MODULE, missing_dependency, unknown_name

RANKERS = "gems_gym.rankers"
BELIEFS = "gems_gym.beliefs"
EMBEDDINGS = "gems_gym.embeddings"
TRAINERS = "gems_gym.trainers"
POLICIES = "gems_gym.policies"
AGENTS = "gems_gym.agents"
PRESETS = "gems_gym.presets"
CLICK_MODELS = "gems_gym.click_models"
DYNAMICS = "gems_gym.dynamics"
DATASET_FIELDS = "gems_gym.dataset_fields"
EXECUTORS = "gems_gym.executors"
TABLE_COLUMNS = "gems_gym.table_columns"
TRACKERS = "gems_gym.trackers"
COMMANDS = "gems_gym.commands"

GROUPS: dict[str, str] = {
    RANKERS: "ranker",
    BELIEFS: "belief",
    EMBEDDINGS: "embeddings",
    TRAINERS: "trainer",
    POLICIES: "policy",
    AGENTS: "agent",
    PRESETS: "preset",
    CLICK_MODELS: "click model",
    DYNAMICS: "dynamics",
    DATASET_FIELDS: "dataset field",
    EXECUTORS: "executor",
    TABLE_COLUMNS: "table column",
    TRACKERS: "tracker",
    COMMANDS: "command",
}
"""Every entry-point group that gems-gym reads -> what one member is called in messages."""


class PluginError(ImportError):
    """A plugin is registered, but can't be had: its import fails, or two distributions claim its name."""


@dataclass(frozen=True)
class PluginInfo:
    """What the metadata say about one plugin, known without importing it.

    Attributes:
        group: The entry-point group, one of :data:`GROUPS`.
        name: The name that it is asked for by.
        distribution: The installed distribution that registers it, as pip knows it.
        version: That distribution's version.
        target: Where its object is, ``module:attribute``.
    """

    group: str
    name: str
    distribution: str
    version: str
    target: str


def names(group: str) -> list[str]:
    """Lists the plugins of a group, built-in and third-party.

    Args:
        group: One of :data:`GROUPS`, e.g. ``"gems_gym.rankers"``.

    Returns:
        The names, sorted, each once.

    Raises:
        ValueError: If the group is unknown.
    """
    return sorted({entry_point.name for entry_point in _registered(group)})


def describe(group: str) -> list[PluginInfo]:
    """Says who registers what in a group, without importing any of it.

    Args:
        group: One of :data:`GROUPS`.

    Returns:
        One record a registration, sorted by name, then by distribution.

    Raises:
        ValueError: If the group is unknown.
    """
    records = [
        PluginInfo(group, found.name, *_distribution(found), target=found.value)
        for found in _registered(group)
    ]
    return sorted(records, key=lambda record: (record.name, record.distribution))


def load(group: str, name: str) -> Any:
    """Imports one plugin.

    Args:
        group: One of :data:`GROUPS`.
        name: The plugin's name in that group.

    Returns:
        The object that the entry point names: a class, for commands a function, for presets a ``SlateConfig``.

    Raises:
        ValueError: If the group or the name is unknown; the text holds the nearest names.
        PluginError: If the plugin's import fails (the text names it, its distribution, the error and, for
            a missing optional dependency of gems-gym, the extra to install), or if several distributions
            register the name.
    """
    registered = _registered(group)
    found = [entry_point for entry_point in registered if entry_point.name == name]
    if not found:
        # gems-gym itself registers no presets, which are data, and no fields
        if not registered and group not in (PRESETS, DATASET_FIELDS):
            raise ValueError(
                f"unknown {GROUPS[group]} {name!r}: nothing is registered in the entry-point group "
                f"{group!r}. gems-gym itself registers there once it is installed: pip install -e ."
            )
        raise unknown_name(GROUPS[group], name, [entry_point.name for entry_point in registered])
    if len(found) > 1:
        # Choosing one would make results depend on the order of the search path.
        owners = " and ".join(sorted(_owner(entry_point) for entry_point in found))
        raise PluginError(
            f"the {GROUPS[group]} {name!r} is registered by {owners}: "
            "a name must have one owner; uninstall all but one"
        )
    return _import(found[0])


def module_of(group: str, name: str) -> str:
    """The module that a plugin is in, known without importing it.

    Raises:
        ValueError: If the group or the name is unknown.
    """
    targets = {found.name: found.module for found in _registered(group)}
    if name not in targets:
        raise unknown_name(GROUPS[group], name, targets)
    return targets[name]


def _import(found: EntryPoint) -> Any:
    """Imports what an entry point names; whatever goes wrong there is reported with its owner."""
    try:
        return found.load()
    except Exception as error:
        message = (
            f"the {GROUPS[found.group]} {found.name!r} ({found.value}) of {_owner(found)} can't be loaded: "
            f"{type(error).__name__}: {error}"
        )
        missing = _missing_optional_module(error)
        if missing is not None and "pip install" not in message:
            message += f"; {missing_dependency(missing, EXTRA_OF_MODULE[missing])}"
        raise PluginError(message, name=missing) from error


def _missing_optional_module(error: BaseException | None) -> str | None:
    """The optional dependency whose absence is at the root of an error, if that is what happened."""
    while error is not None:
        if isinstance(error, ImportError) and error.name is not None:
            top = error.name.partition(".")[0]
            if top in EXTRA_OF_MODULE:
                return top
        error = error.__cause__ or error.__context__
    return None


def _registered(group: str) -> list[EntryPoint]:
    if group not in GROUPS:
        raise unknown_name("plugin group", group, GROUPS)
    return list(entry_points(group=group))


def _distribution(found: EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution that registers an entry point, as far as its metadata say."""
    distribution = found.dist
    if distribution is None:
        return "an unknown distribution", "unknown"
    metadata = distribution.metadata
    return metadata["Name"] or "an unnamed distribution", metadata["Version"] or "unknown"


def _owner(found: EntryPoint) -> str:
    name, version = _distribution(found)
    return f"{name} {version}"
