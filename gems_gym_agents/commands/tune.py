"""``gems-gym tune``: a search for an agent's options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from gems_gym import plugins
from gems_gym.commands import options
from gems_gym.commands.arguments import alone_in_its_folder, chosen_executor, read_options
from gems_gym.commands.output import note, rows_table, show_result
from gems_gym.common.checks import Count, Threads, checked_arguments
from gems_gym.errors import require
from gems_gym.trackers import choose_trackers
from gems_gym.user_splits import Users
from gems_gym_agents.training_world import learning_source
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
            help="TOML file with a line for each option to search: NAME = {low, high, log} or {choices}."
        ),
    ],
    trials: Annotated[Count, typer.Option(help="Trials in total, finished ones included.")],
    steps: Annotated[
        Count, typer.Option(help="Interactions (with --env) or updates (with --dataset) of a trial.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the search.")],
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID", help="Environment to learn in; with --dataset: where it must be recorded."
        ),
    ] = None,
    env_option: options.EnvOptions = None,
    dataset: Annotated[str | None, typer.Option(metavar="ID", help="Minari dataset to learn from.")] = None,
    ranker: options.RankerName = None,
    belief: options.BeliefName = None,
    seed: options.RandomSeed = 0,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Option of the agent (JSON) in all trials; repeatable."),
    ] = None,
    num_envs: Annotated[Count, typer.Option(help="Users stepped together, with --env.")] = 100,
    validation_users: Annotated[Users, typer.Option(help="Users that trials are scored on.")] = 200,
    jobs: Annotated[Threads, typer.Option(help="Trials at the same time, one thread each.")] = 1,
    executor: options.ExecutorName = "local",
    ray_address: options.RayAddress = None,
    tracker: options.Trackers = None,
    as_json: options.Json = False,
) -> None:
    r"""Search an agent's options with Optuna; the best on validation users become a preset for 'train'.

    If interrupted, rerun the same command to resume; with more --trials it continues. Test users are not used. Exit
    code 1 if every trial failed.

    Examples:
        gems-gym tune sac --space examples/sac_space.toml --trials 40 --jobs 4 \
            --env GemsSlateLatent-diffuse_mix-v0 --steps 100000 --out runs/tune
    """
    choose_trackers(tracker)
    agent_class = plugins.load(plugins.AGENTS, agent)
    require("optuna")
    do_jobs = chosen_executor(executor, ray_address)
    searched, chosen = read_space(space), read_options(option)
    check_space(searched, agent_class, chosen, space)
    # mistakes are told before the first trial
    if learning_source(agent, env, env_option, dataset, ranker, belief).world is None:
        raise ValueError(
            f"dataset {dataset!r} is a log, which has no validation users to choose by: give --env, such as a world "
            "that was fitted to it"
        )
    training = {
        "steps": steps, "env": env, "env_option": env_option, "dataset": dataset, "ranker": ranker,
        "belief": belief, "seed": seed, "num_envs": num_envs, "validation_users": validation_users,
    }  # fmt: skip
    try:
        ended = run_trials(Search(agent, searched, chosen, training, seed), out, trials, jobs, do_jobs)
    except KeyboardInterrupt:
        note("rerun the same command to resume the search")
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
