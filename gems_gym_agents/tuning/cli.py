"""``gems-gym tune``: a search for an agent's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym import plugins
from gems_gym.commands.options import (
    EnvOption,
    ExecutorName,
    RayAddress,
    alone_in_its_folder,
    chosen_executor,
    read_options,
)
from gems_gym.commands.output import note, rows_table, show_result
from gems_gym.common.checks import Count, Threads, checked_arguments
from gems_gym.errors import require
from gems_gym.user_splits import Users, UserSeed
from gems_gym_agents.training_world import learning_world
from gems_gym_agents.tuning.space import check_space, read_space
from gems_gym_agents.tuning.trials import PRESET_FILE, Search, best_of, run_trials

_SHOWN = 10


@alone_in_its_folder
@checked_arguments
def tune(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of an installed agent.")],
    space: Annotated[
        Path,
        typer.Option(
            help="TOML file: option = {low, high, log} or option = {choices}, for each that is searched."
        ),
    ],
    trials: Annotated[Count, typer.Option(help="How many there will be, those that are there included.")],
    steps: Annotated[
        Count, typer.Option(help="Interactions (with --env) or updates (with --dataset) of each.")
    ],
    out: Annotated[Path, typer.Option(help="The search's folder.")],
    env: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Environment id, for agents that learn online.")
    ] = None,
    env_option: EnvOption = None,
    dataset: Annotated[str | None, typer.Option(help="Minari dataset id, for offline agents.")] = None,
    ranker: Annotated[
        str | None, typer.Option(help="Ranker's file or shipped name, with --env GemsSlate-….")
    ] = None,
    belief: Annotated[
        str | None, typer.Option(help="Belief's file or shipped name, with --env GemsSlate-….")
    ] = None,
    seed: Annotated[
        UserSeed, typer.Option(help="Decides what is tried, and all that is random in a trial.")
    ] = 0,
    option: Annotated[
        list[str] | None,
        typer.Option(help="name=value (JSON) of an option that all trials have; may be repeated."),
    ] = None,
    num_envs: Annotated[Count, typer.Option(help="Users in lockstep, with --env.")] = 100,
    validation_users: Annotated[Users, typer.Option(help="Users that trials are scored on.")] = 200,
    jobs: Annotated[Threads, typer.Option(help="Trials at the same time, one thread each.")] = 1,
    executor: ExecutorName = "local",
    ray_address: RayAddress = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Search for an agent's options by Optuna: the best on validation users become a preset for gems-gym train.

    Interrupted or killed, the same command resumes the search; with more --trials it goes on with an older one. Test
    users are never met. Exit code 1 if every trial failed.
    """
    agent_class = plugins.load(plugins.AGENTS, agent)
    require("optuna")
    do_jobs = chosen_executor(executor, ray_address)
    searched, options = read_space(space), read_options(option)
    check_space(searched, agent_class, options, space)
    learning_world(
        agent, env, env_option, dataset, ranker, belief
    )  # mistakes are told before the first trial
    training = {
        "steps": steps, "env": env, "env_option": env_option, "dataset": dataset, "ranker": ranker,
        "belief": belief, "seed": seed, "num_envs": num_envs, "validation_users": validation_users,
    }  # fmt: skip
    try:
        ended = run_trials(Search(agent, searched, options, training, seed), out, trials, jobs, do_jobs)
    except KeyboardInterrupt:
        note("the same command resumes the search")
        raise
    rows = [vars(one) for one in ended]
    best = best_of(ended)
    result: dict[str, Any] = {
        "agent": agent,
        "best": None if best is None else vars(best),
        "trials": rows,
        "failed": sum(one.validation_return is None for one in ended),
        "preset": None if best is None else str(out / PRESET_FILE),
        "directory": str(out),
    }
    ranked = sorted(ended, key=lambda one: -(one.validation_return or 0.0))
    shown = {
        str(one.number): {"validation_return": one.validation_return, **one.options}
        for one in ranked[:_SHOWN]
    }
    show_result(result, rows_table("trial", shown), as_json)
    if best is None:
        note(f"failed: every trial; see the logs in {out}")
        raise typer.Exit(1)
    note(f"the best: gems-gym train {agent} --preset {out / PRESET_FILE}")
