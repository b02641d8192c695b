"""``gems-gym train``: an agent, online in an environment or offline on a dataset."""

from functools import partial
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym import plugins
from gems_gym.artifacts.unfinished import discard_unfinished, is_unfinished
from gems_gym.commands import options
from gems_gym.commands.arguments import alone_in_its_folder, given, read_options, refuse
from gems_gym.commands.output import key_value_table, note, show_result
from gems_gym.common.checks import Count, checked, checked_arguments
from gems_gym.common.machine import check_device, check_out_folder
from gems_gym.trackers import choose_trackers
from gems_gym.trained_agents import RECORD_FILE, save_trained_agent
from gems_gym.user_splits import Users, user_seeds
from gems_gym_agents.base import world_options
from gems_gym_agents.evaluation import ValidationScore
from gems_gym_agents.training_world import learning_source
from gems_gym_agents.tuning.presets import read_preset

VALIDATION_USERS = 200


@alone_in_its_folder
@checked_arguments
def train(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of an installed agent.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained agent.")],
    steps: Annotated[
        int | None,
        typer.Option(
            help="Interactions (with --env) or updates (with --dataset); required unless the agent's recipe says it. "
            "The logs that planners learn from come on top."
        ),
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Environment to learn in; with --dataset: where it must be recorded, or, if it is a log, where "
            "validation users are to come from.",
        ),
    ] = None,
    env_option: options.EnvOptions = None,
    dataset: Annotated[str | None, typer.Option(metavar="ID", help="Minari dataset to learn from.")] = None,
    ranker: options.RankerName = None,
    belief: options.BeliefName = None,
    seed: options.RandomSeed = 0,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Option of the agent (JSON), instead of its preset's; repeatable."
        ),
    ] = None,
    preset: Annotated[
        Path | None, typer.Option(help="File of the agent's options by 'tune'; those of --option go before.")
    ] = None,
    num_envs: Annotated[
        int | None, typer.Option(help="Users stepped together, without --dataset; 100 if not given.")
    ] = None,
    validation_users: Annotated[
        Users, typer.Option(help="Users by whose sessions the best policy is chosen.")
    ] = VALIDATION_USERS,
    device: options.Device = "cpu",
    save_every: Annotated[
        int | None,
        typer.Option(help="With --dataset: updates between saved states, instead of an epoch's."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a trained agent or an unfinished run in --out.")
    ] = False,
    tracker: options.Trackers = None,
    as_json: options.Json = False,
) -> None:
    r"""Train an agent, online in an environment or offline on a dataset; the best on validation users is kept.

    A log of another recommender has no users to ask: without --env, the last policy is kept.

    If interrupted, rerun the same command to resume; the result is the same.

    Examples:
        gems-gym train sac --env GemsSlateLatent-diffuse_mix-v0 --steps 200000 \
            --out runs/sac
        gems-gym train td3_plus_bc --dataset gems-slate/diffuse_mix/medium-v0 \
            --steps 5000 --out runs/td3_plus_bc
        gems-gym train planner --env GemsSlate-diffuse_mix-v0 --out runs/planner
    """
    if dataset is not None:
        refuse("is for learning in an environment, and with --dataset nothing is stepped", num_envs=num_envs)
    num_envs = checked("num_envs", 100 if num_envs is None else num_envs, Count)
    choose_trackers(tracker)
    agent_class = plugins.load(plugins.AGENTS, agent)
    steps = _steps_of_recipe(agent, agent_class) if steps is None else checked("steps", steps, Count)
    check_out_folder(out)
    check_device(device)
    resumes = is_unfinished(out) and not overwrite
    if not (overwrite or resumes) and (out / RECORD_FILE).exists():
        raise FileExistsError(f"--out {out} holds a trained agent; choose another folder or give --overwrite")
    chosen = ({} if preset is None else read_preset(preset, agent)) | read_options(option or [])
    agent_class(**chosen)  # mistakes are reported before the world is made
    saving = _saving(agent, agent_class, save_every)
    world, recorded, own_ranker, recorded_belief = learning_source(
        agent, env, env_option, dataset, ranker, belief
    )
    options_of_world = {} if world is None else world_options(agent_class, world.preset)
    learner = agent_class(**options_of_world | chosen)
    score = None
    if world is None:
        note("the log has no validation users: the last policy is kept (--env names a world that has some)")
    else:
        users = user_seeds("validation", seed, validation_users)
        score = ValidationScore(partial(world.users, autoreset_mode="disabled"), users)
    if overwrite:
        discard_unfinished(out)
    elif resumes:
        note(f"resuming the unfinished run in {out}")
    source = world.users(num_envs) if world is not None and recorded is None else recorded
    try:
        learner.fit(source, steps=steps, seed=seed, directory=out, device=device, evaluate=score, **saving)
    except KeyboardInterrupt:
        if is_unfinished(out):
            without = " without --overwrite" if overwrite else ""
            note(f"rerun the same command{without} to resume the training")
        raise
    record: dict[str, Any] = {
        "env": None if world is None else world.spec.id,
        "env_spec": None if world is None else world.spec.to_json(),
        "dataset": dataset,
        "preset": world.preset if world is not None and options_of_world else None,
        "steps": steps,
        "seed": seed,
    }
    own_belief = getattr(learner, "belief", None)
    record["validation_return"] = None if score is None else score(learner.policy, own_belief)
    save_trained_agent(out, learner, agent, own_ranker, own_belief or recorded_belief, record)
    discard_unfinished(out)
    result = {"agent": agent, **record, "directory": str(out)}
    show_result(result, key_value_table(result), as_json)


def _steps_of_recipe(agent: str, agent_class: Any) -> int:
    """The default of ``fit``; a ValueError for agents that have none."""
    steps = signature(agent_class.fit).parameters["steps"].default
    if not isinstance(steps, int):
        raise ValueError(
            f"--steps is missing: the recipe of agent {agent!r} does not say for how long it learns"
        )
    return steps


def _saving(agent: str, agent_class: Any, save_every: int | None) -> dict[str, Any]:
    """What ``fit`` is given for --save-every; a ValueError for agents that save when they validate."""
    saving = given(save_every=save_every)
    if not saving.keys() <= signature(agent_class.fit).parameters.keys():
        raise ValueError(
            f"agent {agent!r} takes no --save-every; agents that learn with --env save their state every "
            f"validate_every interactions: --option validate_every=N"
        )
    return saving
