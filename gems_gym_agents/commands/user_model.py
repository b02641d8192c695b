"""``gems-gym user-model``: what a planner has learned of users, and whether it fits them."""

from pathlib import Path
from typing import Annotated, Any

import gymnasium
import typer
from gymnasium.envs.registration import EnvSpec

from gems_gym.commands import options
from gems_gym.commands.output import columns_table, note, show_result
from gems_gym.common.checks import checked_arguments
from gems_gym.common.pictures import check_picture
from gems_gym.registration import slate_spec
from gems_gym.trained_agents import open_trained_agent, recorded_world
from gems_gym_agents.user_model.model import UserModel
from gems_gym_agents.user_model.picture import draw_model
from gems_gym_agents.user_model.planner import PlannerPolicy
from gems_gym_agents.user_model.report import describe
from gems_gym_agents.user_model.truth import true_user_model


@checked_arguments
def user_model(
    agent: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder of a trained planner.")],
    out: Annotated[Path | None, typer.Option(help="Picture to draw, a .png, .pdf or .svg file.")] = None,
    as_json: options.Json = False,
) -> None:
    r"""Show the user model that a planner has learned, beside the truth, and what it misses of clicks.

    The truth is that of the world it was trained in, and read for this table only; the planner never sees it.

    Examples:
        gems-gym user-model runs/planner
        gems-gym user-model runs/planner --out learned.png
    """
    check_picture(out)
    trained = open_trained_agent(agent)
    if not isinstance(trained.policy, PlannerPolicy):
        raise ValueError(
            f"{agent!r} is a trained {trained.name}, which has no user model; give a planner's folder"
        )
    model = trained.policy.model
    world = recorded_world(trained)
    truth = _truth(world)
    if out is not None:
        draw_model(model, out, truth, world.id)
    described = {"learned": describe(model, truth)}
    if truth is not None:
        described["true"] = describe(truth, truth)
    misfit = model.misfit
    verdict = None if misfit is None else {**vars(misfit), "found": misfit.found, "text": misfit.text}
    show_result(
        {"env": world.id, **described, "misfit": verdict}, columns_table(world.id, described), as_json
    )
    if misfit is not None and not as_json:
        note(misfit.text)


def _truth(spec: EnvSpec) -> UserModel | None:
    """The true model of a world; None, and a note that says why, where the world has another form."""
    env: Any = gymnasium.make(slate_spec(spec)).unwrapped
    try:
        return true_user_model(env.config, env.catalog)
    except ValueError as error:
        note(str(error))
        return None
