"""``gems-gym dev``: what maintainers need to make what the package comes with."""

from pathlib import Path
from typing import Annotated

import typer

from gems_gym.commands.options import Json, StartAnew
from gems_gym.commands.output import key_value_table, show_result
from gems_gym.common.checks import checked_arguments
from gems_gym.common.machine import check_out_folder
from gems_gym.errors import require, unknown_name
from gems_gym.registration import LATENT_PRESETS


@checked_arguments
def ship(
    out: Annotated[Path, typer.Option(help="Folder of the files and their manifest.")],
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Make this one, instead of all; repeatable.")
    ] = None,
    overwrite: StartAnew = False,
    as_json: Json = False,
) -> None:
    """Train the rankers, beliefs and item embeddings that the package ships for the six worlds.

    Examples:
        gems-gym dev ship --out shipped
        gems-gym dev ship --out shipped --only gems-diffuse_mix
    """
    require("torch")
    check_out_folder(out)
    from gems_gym.pretraining.recipes import shipped_recipes
    from gems_gym.pretraining.shipping import ship as make

    recipes = shipped_recipes(LATENT_PRESETS)
    for name in only or []:
        if name not in recipes:
            raise unknown_name("artefact to ship", name, recipes)
    made = {name: make(name, recipes[name], out, overwrite=overwrite) for name in only or recipes}
    result = {name: {"file": str(out / entry.file), "sha256": entry.sha256} for name, entry in made.items()}
    show_result(result, key_value_table({name: one["sha256"] for name, one in result.items()}), as_json)
