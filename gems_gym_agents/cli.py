"""The commands that learning adds to ``gems-gym``: train, evaluate, levels, quickstart."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import gymnasium
import typer

from gems_gym import plugins
from gems_gym.checks import Count, checked_arguments
from gems_gym.command_options import read_options
from gems_gym.machine import check_device, check_out_folder
from gems_gym.output import key_value_table, note, rows_table, show_result
from gems_gym.policies import Policy, make_policy
from gems_gym.registration import is_latent, latent_environment_ids, slate_spec
from gems_gym.trained_agents import (
    RECORD_FILE,
    check_acts_in,
    find_trained_agent,
    latent_vector_env,
    save_trained_agent,
)
from gems_gym.user_splits import SPLITS, Users, UserSeed, UserSplit, user_seeds
from gems_gym_agents import evaluation
from gems_gym_agents.base import DivergedError
from gems_gym_agents.online.checkpoints import UNFINISHED_FOLDER, discard_unfinished
from gems_gym_agents.training_world import dataset_world, environment_world

VALIDATION_USERS = 200

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Env = Annotated[str, typer.Option(help="Environment id.")]


@checked_arguments
def train(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of an installed agent.")],
    steps: Annotated[Count, typer.Option(help="Interactions (with --env) or updates (with --dataset).")],
    out: Annotated[Path, typer.Option(help="Folder for the trained agent.")],
    env: Annotated[
        str | None,
        typer.Option(
            help="Environment id, for agents that learn online; with --dataset: what it must be recorded in."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Minari dataset id, for offline agents.")] = None,
    ranker: Annotated[
        str | None, typer.Option(help="Ranker's file or shipped name, with --env GemsSlate-….")
    ] = None,
    belief: Annotated[
        str | None, typer.Option(help="Belief's file or shipped name, with --env GemsSlate-….")
    ] = None,
    seed: Annotated[UserSeed, typer.Option(help="Decides everything random.")] = 0,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="name=value (JSON) of an agent's option, in place of its preset's; may be repeated."
        ),
    ] = None,
    num_envs: Annotated[Count, typer.Option(help="Users in lockstep, with --env.")] = 100,
    validation_users: Annotated[
        Users, typer.Option(help="Users that checkpoints are picked on.")
    ] = VALIDATION_USERS,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    overwrite: Annotated[
        bool, typer.Option(help="Begin anew, replacing a trained agent or an unfinished run that is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train an agent, online in an environment or offline on a dataset; the best on validation users is kept.

    Online agents that were interrupted or killed go on where they were when the same command is given again, and end
    with the same policies.
    """
    agent_class = plugins.load(plugins.AGENTS, agent)
    check_out_folder(out)
    check_device(device)
    online = agent_class.learns_from == "environment"
    unfinished = online and (out / UNFINISHED_FOLDER).is_dir()
    if not (overwrite or unfinished) and any(
        (out / one).exists() for one in (RECORD_FILE, UNFINISHED_FOLDER)
    ):
        raise FileExistsError(f"--out {out} holds a trained agent; choose another folder or give --overwrite")
    options = read_options(option or [])
    agent_class(**options)  # mistakes are told before the world is made
    if online:
        if env is None or dataset is not None:
            raise ValueError(f"agent {agent!r} learns from environments: give --env and no --dataset")
        world = environment_world(env, ranker, belief)
    else:
        if dataset is None:
            raise ValueError(f"agent {agent!r} learns from datasets: give --dataset")
        world = dataset_world(dataset, env, ranker, belief)
    preset = getattr(agent_class, "presets", {}).get(world.preset)
    learner = agent_class(**({} if preset is None else vars(preset)) | options)
    score = evaluation.ValidationScore(
        partial(world.users, autoreset_mode="disabled"),
        user_seeds("validation", seed, validation_users),
    )
    if overwrite:
        discard_unfinished(out)
    elif unfinished:
        note(f"going on with the unfinished run in {out}")
    source = world.users(num_envs) if online else world.dataset
    try:
        learner.fit(source, steps=steps, seed=seed, directory=out, device=device, evaluate=score)
    except KeyboardInterrupt:
        if (out / UNFINISHED_FOLDER).is_dir():
            note("the same command goes on where it was")
        raise
    record = {
        "env": world.spec.id,
        "env_spec": world.spec.to_json(),
        "dataset": dataset,
        "preset": None if preset is None else world.preset,
        "steps": steps,
        "seed": seed,
    }
    own_belief = getattr(learner, "belief", None)
    save_trained_agent(out, learner, agent, world.ranker, own_belief or world.belief, record)
    validation_return = score(learner.act, own_belief)
    result = {"agent": agent, **record, "validation_return": validation_return, "directory": str(out)}
    show_result(result, key_value_table(result), as_json)


@checked_arguments
def evaluate(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY|AGENT_DIR",
            help="A policy's name (shipped ones too: expert-diffuse_mix), or an agent's folder.",
        ),
    ],
    env: Env,
    episodes: Annotated[Users, typer.Option(help="Users, one session each.")] = 500,
    seed: Annotated[UserSeed, typer.Option(help="Which block of users.")] = 0,
    split: Annotated[str, typer.Option(help=f"Whose users: {', '.join(SPLITS)}.")] = "test",
    item_embeddings: Annotated[Path | None, typer.Option(help="One's own catalogue, an .npy file.")] = None,
    num_envs: Annotated[
        Count, typer.Option(help="Users stepped together; does not change the result.")
    ] = evaluation.NUM_ENVS,
    as_json: Json = False,
) -> None:
    """Play one session with each of many users: mean clicks, 95 % interval, normalised score.

    In a GemsSlateLatent environment a policy by name shows its slates in the world inside; a trained agent must have
    been trained with that environment's ranker and belief.
    """
    users = user_seeds(cast(UserSplit, split), seed, episodes)
    kwargs: dict[str, Any] = {"autoreset_mode": "disabled"}
    if item_embeddings is not None:
        kwargs["item_embeddings"] = str(item_embeddings)
    count = min(episodes, num_envs)
    slate_env = gymnasium.make_vec(slate_spec(env), num_envs=count, **kwargs)
    agent = find_trained_agent(policy)
    if agent is not None:
        check_acts_in(agent, env)
        acting: Policy = agent.policy
        acted_in = latent_vector_env(env, count, agent.ranker, agent.belief, **kwargs)
    else:
        acting, acted_in = make_policy(policy, slate_env), slate_env
    evaluated = evaluation.evaluate(acting, acted_in, users, name=policy, progress=True)
    references = evaluation.measure_references(slate_env, users)
    result = {
        "policy": policy,
        "env": env,
        "split": split,
        "seed": seed,
        "episodes": episodes,
        "mean_return": evaluated.mean_return,
        "ci95": evaluated.ci95,
        "normalized_score": references.normalized_score(evaluated.mean_return),
        "random_return": references.random,
        "boredom_aware_oracle_return": references.boredom_aware_oracle,
        "seconds": evaluated.seconds,
    }
    show_result(result, key_value_table(result), as_json)


@checked_arguments
def levels(
    out: Annotated[Path, typer.Option(help="Folder of the policies and their manifest.")],
    env: Annotated[
        list[str] | None,
        typer.Option(help="A GemsSlateLatent environment; may be repeated. All six if not given."),
    ] = None,
    steps: Annotated[Count, typer.Option(help="Interactions of each training.")] = 300_000,
    seed: Annotated[UserSeed, typer.Option(help="Decides everything random.")] = 0,
    runs: Annotated[Path, typer.Option(help="Folder of the trainings.")] = Path("runs/levels"),
    as_json: Json = False,
) -> None:
    """Train SAC in worlds, and write the policies medium-WORLD and expert-WORLD of each, with a manifest.

    Expert is the best on validation users, medium the first on the way there past half of expert's normalised score.
    Interrupted or killed, the same command goes on where it was; a finished training is not repeated. Exit code 1 if a
    world has no such policies.
    """
    from gems_gym_agents.levels import NoLevelsError, Training, make_levels

    check_out_folder(out)
    check_out_folder(runs, "--runs")
    rows: dict[str, dict[str, Any]] = {}
    failures = {}
    for training in [Training.of(one, steps, seed) for one in env or latent_environment_ids()]:
        try:
            made = make_levels(training, out, runs)
        except (NoLevelsError, DivergedError) as error:
            failures[training.world.spec.id] = str(error)
            continue
        for name, entry in made.items():
            shown = {
                key: entry.metrics[key] for key in ("interactions", "validation_return", "normalized_score")
            }
            rows[name] = shown | {"kilobytes": (out / entry.file).stat().st_size / 1e3}
    result = {"policies": rows, "failures": failures, "directory": str(out)}
    show_result(result, rows_table("policy", rows), as_json)
    for name, reason in failures.items():
        note(f"failed: {name}: {reason}")
    if failures:
        raise typer.Exit(1)


@checked_arguments
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("runs/quickstart"),
    env: Env = "GemsSlate-diffuse_topdown-v0",
    seed: Annotated[UserSeed, typer.Option(help="Decides everything random.")] = 0,
    episodes: Annotated[Users, typer.Option(help="Test users.")] = 500,
    as_json: Json = False,
) -> None:
    """The whole road once: log, pretrain, train online, collect, train offline, evaluate; minutes on two cores."""
    from gems_gym_agents.quickstart import run_quickstart

    check_out_folder(out)
    if is_latent(env):
        raise ValueError(
            f"the quickstart trains a ranker and a belief of its own: give --env {slate_spec(env).id}"
        )
    results = run_quickstart(out, env, seed=seed, episodes=episodes)
    show_result(results.as_dict(), results.as_table(), as_json)
