"""Commands that are imported when they are called, so that a slow or broken one costs only those who call it."""

import ast
import importlib.util
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from gems_gym import plugins
from gems_gym.commands.command import Command

DEV = "dev."
"""What the names of entry points begin with whose commands are called as ``gems-gym dev NAME``."""


class LazyCommand(TyperCommand):
    """Stands for a command in the program's help, and becomes it when it is called.

    Args:
        name: What it is called by; of a maintainers' command with :data:`DEV` before it.
        summary: Its line in the program's help.
        target: The module and the attribute that hold it, ``module:attribute``; if None, the entry point of this name
            in the group ``gems_gym.commands`` says so.
    """

    def __init__(self, name: str, summary: str, target: str | None = None) -> None:
        super().__init__(name.removeprefix(DEV), short_help=summary)
        self.for_maintainers = name.startswith(DEV)
        self._registered_as = name
        self._target = target

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command: what the program asks for when this one is called."""
        return self._load().make_context(info_name, args, parent, **extra)

    def _load(self) -> Any:
        assert self.name is not None
        if self._target is None:
            return _as_command(self.name, plugins.load(plugins.COMMANDS, self._registered_as))
        module, _, attribute = self._target.partition(":")
        return _as_command(self.name, getattr(importlib.import_module(module), attribute))


def plugin_commands() -> list[LazyCommand]:
    """The commands of the entry-point group ``gems_gym.commands``; none of them is imported.

    A summary is the first line of the function's docstring, or for a group of commands of its module's, read from the
    source, and for a command of another distribution than gems-gym its name.
    """
    commands = []
    for found in plugins.describe(plugins.COMMANDS):
        owner = "" if found.distribution == "gems-gym" else f"(from {found.distribution} {found.version})"
        text = _first_line_of_docstring(found.target) or ""
        commands.append(LazyCommand(found.name, f"{text} {owner}".strip()))
    return commands


def _as_command(name: str, made_of: Any) -> Any:
    """A command made of a function or of a Typer application.

    Raises:
        gems_gym.plugins.PluginError: What is neither, or a function with parameters that can't be options.
    """
    program = typer.Typer()
    try:
        if isinstance(made_of, typer.Typer):
            program.add_typer(made_of, name=name)
        else:
            program.command(name, cls=Command)(made_of)
        return typer.main.get_group(program).commands[name]
    except Exception as error:
        owners = [found for found in plugins.describe(plugins.COMMANDS) if found.name in (name, DEV + name)]
        owner = "".join(f" ({one.target}) of {one.distribution} {one.version}" for one in owners)
        raise plugins.PluginError(
            f"the command {name!r}{owner} can't be used: it must be a function whose parameters can be options, or a "
            f"typer.Typer ({type(error).__name__}: {error})"
        ) from error


def _first_line_of_docstring(target: str) -> str | None:
    """The first line of the docstring of what an entry point names, None if there is none to be found.

    A ``typer.Typer`` is described by its module.
    """
    module, _, name = target.partition(":")
    try:
        tree = ast.parse(_source(module))
    except (OSError, SyntaxError, ValueError, ImportError):
        return None
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]:
            return (ast.get_docstring(tree) or "").partition("\n")[0]
    return None


def _source(module: str) -> str:
    """The text of a module's file; neither it nor the packages that it lies in are imported."""
    top, *parts = module.split(".")
    spec = importlib.util.find_spec(top)
    for part in parts:
        if spec is not None:
            spec = PathFinder.find_spec(f"{spec.name}.{part}", spec.submodule_search_locations)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"there is no source of {module}")
    return Path(spec.origin).read_text(encoding="utf-8")
