"""The ``gems-gym`` program: what exists, pretraining and collection; other packages add commands by entry point."""

import sys
from dataclasses import asdict
from typing import Annotated, Any

import gymnasium
import typer
from gymnasium import Space
from gymnasium.envs.registration import EnvSpec
from typer.core import TyperGroup

from gems_gym import plugins
from gems_gym.cli_collect import collect
from gems_gym.cli_datasets import dataset as dataset_commands
from gems_gym.cli_pretrain import pretrain
from gems_gym.output import key_value_table, note, show_result
from gems_gym.registration import environment_ids, is_latent, latent_environment_ids


class Program(TyperGroup):
    """The program; it says what an interruption leaves, which typer turns into a bare exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command: Ctrl-C is told in a line and becomes exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _tell("interrupted", error)
            raise typer.Exit(130) from error


app = typer.Typer(
    name="gems-gym",
    cls=Program,
    help="Slate recommendation as Gymnasium environments: worlds, rankers, beliefs, datasets and agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(pretrain, name="pretrain")
app.add_typer(dataset_commands, name="dataset")
app.command()(collect)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("list")
def list_parts(as_json: Json = False) -> None:
    """List environments, and the rankers, beliefs, policies and agents that are installed."""
    environments = [*environment_ids(), *latent_environment_ids()]
    parts = {
        kind: [asdict(info) for info in plugins.describe(group)] for group, kind in plugins.GROUPS.items()
    }
    readable = key_value_table(
        {
            "environments": "\n".join(environments),
            **{kind: "\n".join(one["name"] for one in found) for kind, found in parts.items() if found},
        }
    )
    show_result({"environments": environments, **parts}, readable, as_json)


@app.command()
def info(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="An environment or a local dataset.")],
    as_json: Json = False,
) -> None:
    """Show what an environment or a local dataset is."""
    result = _environment_info(identifier) if identifier.find("/") < 0 else _dataset_info(identifier)
    show_result(result, key_value_table(result, title=identifier), as_json)


def _environment_info(env_id: str) -> dict[str, Any]:
    env: Any = gymnasium.make(env_id).unwrapped
    return {
        "id": env_id,
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


def main() -> None:
    """Run the program: known errors become one line on stderr and exit code 2, Ctrl-C exit code 130."""
    for name in plugins.names(plugins.COMMANDS):
        app.command(name)(plugins.load(plugins.COMMANDS, name))
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, gymnasium.error.Error) as error:
        _tell(f"error: {error}", error)
        sys.exit(2)


def _tell(line: str, error: BaseException) -> None:
    """Print what happened, and what was noted on the way up, such as what is kept."""
    for text in (line, *getattr(error, "__notes__", ())):
        note(text)
