"""Push trained agents and tuned settings to where others can pull them."""

from pathlib import Path
from typing import Annotated

import typer

from gems_gym.commands.command import Command, CommandGroup
from gems_gym.commands.options import Json, PullFrom, PushTo
from gems_gym.commands.output import key_value_table, show_result
from gems_gym.commands.sharing import show_pushed
from gems_gym.common.files import read_json
from gems_gym_agents.sharing import pull_agent, push_agent


def push(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="A trained agent's folder, a policy's .safetensors or a preset's .json file."
        ),
    ],
    to: PushTo,
    name: Annotated[str, typer.Option(help="What it is pulled by: name or namespace/name.")],
    as_json: Json = False,
) -> None:
    """Put a trained agent, or settings found by 'tune', where others can pull them.

    Examples:
        gems-gym agents push runs/sac --to hf://me --name sac-diffuse_mix
        gems-gym agents push runs/tune/preset.json --to /shared --name sac-tuned
    """
    show_pushed(push_agent(path, name, to), to, as_json)


def pull(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As it was pushed.")],
    source: PullFrom,
    out: Annotated[Path, typer.Option(help="The folder to make.")],
    as_json: Json = False,
) -> None:
    r"""Fetch a trained agent or settings; nothing in their files is run.

    Examples:
        gems-gym agents pull sac-diffuse_mix --from hf://them --out runs/theirs
    """
    pulled = pull_agent(name, source, out)
    if pulled.suffix == ".json":
        use = f"gems-gym train {read_json(pulled)['agent']} --preset {pulled}"
    else:
        use = f"gems-gym evaluate {pulled}"
    result = {"name": name, "remote": source, "path": str(pulled), "use": use}
    show_result(result, key_value_table(result), as_json)


_HELP = """Push trained agents and tuned settings to where others can pull them.

Examples:
    gems-gym agents push runs/sac --to hf://me --name sac-diffuse_mix
    gems-gym agents pull sac-diffuse_mix --from hf://them --out runs/theirs
"""

agents = typer.Typer(cls=CommandGroup, help=_HELP, no_args_is_help=True)
for _command in (push, pull):
    agents.command(cls=Command)(_command)
