"""``gems-gym quickstart``: the pipeline once, from logging to a table of policies."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym.commands import options
from gems_gym.commands.arguments import alone_in_its_folder, read_seeds
from gems_gym.commands.output import show_result
from gems_gym.commands.worlds import chosen_world
from gems_gym.common.checks import checked_arguments
from gems_gym.common.machine import check_out_folder
from gems_gym.registration import environment_id, is_latent, slate_spec
from gems_gym.user_splits import PipelineSeed, Users


@alone_in_its_folder
@checked_arguments
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("runs/quickstart"),
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Environment id; GemsSlate-diffuse_topdown-v0 if not given."),
    ] = None,
    env_option: options.EnvOptions = None,
    seed: Annotated[PipelineSeed, typer.Option(help="Random seed.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Run once for each of these seeds, such as 0,1,2: mean and range.")
    ] = None,
    episodes: Annotated[Users, typer.Option(help="Test users.")] = 500,
    as_json: options.Json = False,
) -> None:
    r"""Run the pipeline once: log, pretrain, train online, collect, train offline, evaluate; minutes on two cores.

    If interrupted, rerun the same command to resume; finished parts are not repeated.

    Examples:
        gems-gym quickstart
        gems-gym quickstart --env GemsSlate-focused_mix-v0 --seeds 0,1,2 \
            --out runs/focused_mix
    """
    from gems_gym_agents.pipeline.quickstart import run_quickstart, run_quickstarts

    check_out_folder(out)
    world = chosen_world(env or [environment_id("diffuse_topdown")], env_option)
    if is_latent(world):
        raise ValueError(
            f"the quickstart trains a ranker and a belief of its own: give --env {slate_spec(world).id}"
        )
    if seeds is not None and seed:
        raise ValueError(f"give --seed {seed} or --seeds {seeds}, not both")
    results: Any = (
        run_quickstart(out, world, seed=seed, episodes=episodes)
        if seeds is None
        else run_quickstarts(out, world, read_seeds(seeds), episodes=episodes)
    )
    show_result(results.as_dict(), results.as_table(), as_json)
