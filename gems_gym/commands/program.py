"""The ``gems-gym`` program: what exists; all other commands are imported when they are called."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Annotated, Any

import gymnasium
import typer
from gymnasium import Space
from gymnasium.envs.registration import EnvSpec

from gems_gym import __version__, plugins
from gems_gym.commands.arguments import refuse
from gems_gym.commands.command import Command, CommandGroup, current_words
from gems_gym.commands.lazy import DEV, LazyCommand, plugin_commands
from gems_gym.commands.options import EnvOptions, Json
from gems_gym.commands.output import key_value_table, note, show_result
from gems_gym.commands.terminals import print_anywhere
from gems_gym.commands.worlds import chosen_world
from gems_gym.common.dataset_folders import local_dataset_ids
from gems_gym.policies.base import chosen_by, observed_by
from gems_gym.registration import FITTED_ID, environment_ids, is_latent, latent_environment_ids


class Program(CommandGroup):
    """The program; it says what an interruption leaves, which typer turns into a bare exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command: Ctrl-C is reported in one line and becomes exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _report("interrupted", error)
            raise typer.Exit(130) from error


app = typer.Typer(
    name="gems-gym",
    cls=Program,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

OWN_COMMANDS = (
    LazyCommand(
        "pretrain",
        "Train a ranker, a belief or item embeddings on logged sessions.",
        "gems_gym.commands.pretrain:pretrain",
    ),
    LazyCommand(
        "dataset",
        "Report on datasets, verify, export, import, relabel, merge or share them, or take a subset.",
        "gems_gym.commands.datasets:dataset",
    ),
    LazyCommand(
        "logs",
        "Import impression logs of a running recommender as datasets, and fit models and worlds to them.",
        "gems_gym.commands.logs:logs",
    ),
    LazyCommand(
        "collect",
        "Play sessions with a policy and write them as a Minari dataset.",
        "gems_gym.commands.collect:collect",
    ),
    LazyCommand(
        "recommend",
        "Answer users' histories with their next slates; no learning library is loaded.",
        "gems_gym.commands.recommend:recommend",
    ),
    LazyCommand(
        f"{DEV}ship",
        "Train the rankers, beliefs and item embeddings that the package ships for the six worlds.",
        "gems_gym.commands.dev:ship",
    ),
)
"""The commands of gems_gym itself; other packages, gems_gym_agents among them, register theirs by entry point."""


_DEV_HELP = """Make the files that the package ships; for maintainers.

Examples:
    gems-gym dev ship --help
    gems-gym dev levels --help
"""


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gems-gym {__version__}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Slate recommendation as Gymnasium environments: worlds, rankers, beliefs, datasets and agents.

    Examples:
        gems-gym list
        gems-gym quickstart
        gems-gym train --help
    """


@app.command("list", cls=Command)
def list_parts(as_json: Json = False) -> None:
    """List environments, and the rankers, beliefs, policies and agents that are installed.

    Of agents it says what they learn from, what they see and what they choose. Those that are expected to fail, in
    modules called negative_controls, stand apart.

    Examples:
        gems-gym list
        gems-gym list --json
    """
    environments = [*environment_ids(), *latent_environment_ids(), FITTED_ID]
    parts = {
        kind: [asdict(info) for info in plugins.describe(group)] for group, kind in plugins.GROUPS.items()
    }
    parts["agent"] = [part | _agent(part["name"]) for part in parts["agent"]]
    rows: dict[str, list[str]] = {"environments": environments}
    for kind, found in parts.items():
        for part in found:
            control = part["target"].partition(":")[0].endswith(".negative_controls")
            rows.setdefault("negative control" if control else kind, []).append(_shown(part))
    readable = key_value_table({kind: "\n".join(lines) for kind, lines in rows.items()})
    show_result({"environments": environments, **parts}, readable, as_json)


def _agent(name: str) -> dict[str, str]:
    """What an agent learns from, sees and chooses; or why it can't be imported."""
    try:
        agent = plugins.load(plugins.AGENTS, name)
    except plugins.PluginError as error:
        return {"error": str(error)}
    return {
        "learns_from": getattr(agent, "learns_from", ""),
        "observes": observed_by(agent),
        "actions": chosen_by(agent),
    }


def _shown(part: dict[str, str]) -> str:
    if "observes" not in part:
        return part["name"]
    return f"{part['name']:<20} {part['learns_from']}: {part['observes']} to {part['actions']}"


@app.command(cls=Command)
def info(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="An environment or a local dataset.")],
    env_option: EnvOptions = None,
    as_json: Json = False,
) -> None:
    """Show what an environment or a local dataset is.

    Examples:
        gems-gym info GemsSlate-diffuse_mix-v0 --env-option omega=0.95
        gems-gym info gems-slate/diffuse_mix/expert-v0
    """
    if "/" in identifier or (identifier not in gymnasium.registry and identifier in local_dataset_ids()):
        refuse("goes with an environment, and a dataset's world is the recorded one", env_option=env_option)
        result = _dataset_info(identifier)
    else:
        result = _environment_info(chosen_world([identifier], env_option))
    show_result(result, key_value_table(result, title=identifier), as_json)


def _environment_info(spec: EnvSpec) -> dict[str, Any]:
    env: Any = gymnasium.make(spec).unwrapped
    return {
        "id": spec.id,
        "versions": [one.id for one in gymnasium.registry.values() if one.name == env.spec.name],
        "observation_space": str(env.observation_space),
        "action_space": str(env.action_space),
        "catalog_hash": env.catalog.hash,
        **{part: env.spec.kwargs[part] for part in ("ranker", "belief") if is_latent(env.spec)},
        **asdict(env.config),
    }


def _dataset_info(dataset_id: str) -> dict[str, Any]:
    from gems_gym.datasets import open_dataset

    metadata = open_dataset(dataset_id).storage.metadata
    # spaces and the environment's spec are objects; numbers and texts stay what they are
    return {
        key: str(value) if isinstance(value, Space | EnvSpec) else value for key, value in metadata.items()
    }


def complete_program() -> Any:
    """The program with the commands that are imported when they are called, as a click group."""
    dev = CommandGroup(name="dev", help=_DEV_HELP, no_args_is_help=True)
    root: Any = typer.main.get_command(app)
    for command in (*OWN_COMMANDS, *plugin_commands()):
        group: Any = dev if command.for_maintainers else root
        group.commands.setdefault(command.name, command)  # no plugin takes the place of our own
    root.add_command(dev)
    return root


def main() -> None:
    """Run the program: known errors become one line on stderr and exit code 2, Ctrl-C exit code 130."""
    print_anywhere()
    root = complete_program()
    try:
        arguments = current_words(sys.argv[1:])
        _check_not_empty(arguments)
        root(arguments, prog_name="gems-gym")
    except MemoryError as error:
        _report(f"error: not enough memory{f' ({error})' if str(error) else ''}", error)
        sys.exit(2)
    except (
        ValueError,
        TypeError,
        OSError,
        ImportError,
        RuntimeError,
        ArithmeticError,
        gymnasium.error.Error,
    ) as error:
        _report(f"error: {_in_words(error)}", error)
        sys.exit(2)


def _in_words(error: BaseException) -> str:
    """An error's text; of the operating system's on a file, what it means."""
    if isinstance(error, FileNotFoundError | IsADirectoryError) and error.filename is not None:
        found = (
            "does not exist" if isinstance(error, FileNotFoundError) else "is a folder; a file was expected"
        )
        return f"{str(error.filename)!r} {found}"
    return str(error)


def _check_not_empty(arguments: Sequence[str]) -> None:
    """Refuse ``--out ""``, which an unset variable of a shell script makes, and which as a path means this folder."""
    for option, value in pairwise(arguments):
        if value == "" or (value.startswith("--") and value.endswith("=")):
            name = (value or option).rstrip("=")
            raise ValueError(
                f"{name if name.startswith('--') else f'the argument after {name!r}'} must not be empty"
            )


def _report(line: str, error: BaseException) -> None:
    """Print what happened, and what was noted on the way up, such as which results are kept."""
    for text in (line, *getattr(error, "__notes__", ())):
        note(text)
