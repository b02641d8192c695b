"""``gems-gym collect``: sessions with a policy, or of one of five qualities, as a Minari dataset."""

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_types import Ge
from gymnasium.envs.registration import EnvSpec

from gems_gym.commands import options
from gems_gym.commands.arguments import chosen_executor, read_options, refuse
from gems_gym.commands.output import key_value_table, rows_table, show_result
from gems_gym.commands.worlds import changed_parameters, chosen_worlds, in_world
from gems_gym.common.checks import Threads, checked_arguments
from gems_gym.policies import check_policy_options
from gems_gym.registration import is_latent
from gems_gym.trained_agents import check_acts_in, find_trained_agent
from gems_gym.user_splits import Users

if TYPE_CHECKING:
    import minari


@checked_arguments
def collect(
    env: options.EnvIds,
    episodes: Annotated[Users, typer.Option(help="Sessions to record, one user each.")],
    policy: Annotated[
        str | None,
        typer.Option(
            help="Policy's name, shipped ones such as expert-{preset} included, or a trained agent's folder."
        ),
    ] = None,
    env_option: options.EnvOptions = None,
    policy_option: options.PolicyOptions = None,
    checkpoint: options.Checkpoint = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            help="Further info to record, by the name that an installed package gives it; may be repeated."
        ),
    ] = None,
    propensities: Annotated[
        bool,
        typer.Option("--propensities", help="Record how likely the policy was to show each item, for ope."),
    ] = False,
    level: Annotated[
        str | None,
        typer.Option(
            help="Instead of --policy: random, medium, expert, mixed or planner, by the world's shipped policies."
        ),
    ] = None,
    dataset_id: Annotated[
        str | None,
        typer.Option(
            help="Id of the new dataset, namespace/name-vN, {preset} in it the world's name; with --level "
            "gems-slate/WORLD/LEVEL-v0 if not given."
        ),
    ] = None,
    seed: options.UserBlock = 0,
    num_envs: options.NumEnvs = 256,
    workers: Annotated[Threads, typer.Option(help="Processes that play; does not change the result.")] = 1,
    executor: options.ExecutorName = "local",
    ray_address: options.RayAddress = None,
    noise: Annotated[
        float | None,
        Ge(0),
        typer.Option(
            help="Standard deviation of exploration noise on a trained policy's latents; if not given 0, with --level "
            "0.2."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="With --level mixed: how many sessions random, medium and expert play in turn; 1,1,1 if not given."
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a dataset of this id, or one begun with other arguments."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    r"""Play sessions with a policy and write them as a Minari dataset.

    A policy that shows slates itself (one that needs no training, or a planner) records slates; all others, and their
    levels, record beliefs and latents. With a GemsSlateLatent environment the dataset's spec is that environment's, and
    the agent must have been trained with its ranker and belief.

    If interrupted, rerun the same command to resume; the dataset is listed only when it is finished. With --executor
    ray the workers are on any nodes of a cluster that see the folder of datasets.

    Examples:
        gems-gym collect --env GemsSlate-diffuse_mix-v0 --level expert --episodes 500
        gems-gym collect --env GemsSlate-diffuse_mix-v0 --policy eps_greedy_oracle \
            --episodes 1000 --dataset-id my/slates-v0
        gems-gym collect --env all --policy expert-{preset} --noise 0.3 \
            --episodes 1000 --dataset-id my/{preset}-v0
    """
    from gems_gym.datasets import collect_level

    on_cluster = chosen_executor(executor, ray_address) if executor != "local" or ray_address else None
    worlds = chosen_worlds(env, env_option)
    collecting: dict[str, Any] = {
        "episodes": episodes, "seed": seed, "num_envs": num_envs, "workers": workers, "executor": on_cluster,
        "overwrite": overwrite,
    }  # fmt: skip
    if policy is not None and level is None:
        refuse("goes with --level mixed, not with --policy", weights=weights)
        if dataset_id is None:
            raise ValueError("give --dataset-id: with --policy no id is assumed")
        collecting |= {"fields": field or [], "propensities": propensities}
        given = read_options(policy_option, "--policy-option")
        requests = [_policy_request(spec, policy, checkpoint, given, noise or 0.0) for spec in worlds]
    elif level is not None and policy is None:
        refuse(
            "goes with --policy, not with --level",
            policy_option=policy_option, checkpoint=checkpoint, field=field, propensities=propensities or None,
        )  # fmt: skip
        if level != "mixed":
            refuse(f"goes with --level mixed, not with --level {level}", weights=weights)
        collecting |= {} if weights is None else {"weights": _integers(weights)}
        requests = [partial(collect_level, spec.id, level, noise=noise) for spec in worlds]
    else:
        raise ValueError("give --policy or --level" + ("" if policy is None else ", not both"))
    processes = workers if workers > 1 and on_cluster is None else 0
    ids = _dataset_ids(worlds, dataset_id, level, overwrite)
    rows = []
    for spec, one, make in zip(worlds, ids, requests, strict=True):
        start = time.perf_counter()
        made = make(dataset_id=one, env_kwargs=changed_parameters(spec), **collecting)
        rows.append(_described(made, spec, time.perf_counter() - start, processes))
    if len(rows) == 1:
        readable = {name: value for name, value in rows[0].items() if value != {}}
        show_result(rows[0], key_value_table(readable), as_json)
    else:
        by_id = {row["dataset_id"]: {name: row[name] for name in _SHOWN} for row in rows}
        show_result({"datasets": rows}, rows_table("dataset", by_id), as_json)


_SHOWN = ("env", "episodes", "transitions", "seconds")


def _dataset_ids(
    worlds: Sequence[EnvSpec], dataset_id: str | None, level: str | None, overwrite: bool
) -> list[str]:
    """The id of each world's dataset; raises if two are the same, or one can't be had."""
    from gems_gym.datasets import check_new_dataset_id
    from gems_gym.datasets.levels import level_dataset_id

    ids = [
        in_world(dataset_id, spec) if dataset_id else level_dataset_id(spec, str(level)) for spec in worlds
    ]
    if len(set(ids)) < len(worlds):
        raise ValueError(
            f"{len(worlds)} worlds would get the dataset {' or '.join(sorted(set(ids)))}: give a --dataset-id with "
            "{preset} in it, and worlds of different presets"
        )
    if len(worlds) > 1:  # a mistake in the last one is found before the first one is played
        for one in ids:
            check_new_dataset_id(one, overwrite=overwrite)
    return ids


def _policy_request(
    spec: EnvSpec, policy: str, checkpoint: int | None, policy_options: dict[str, Any], noise: float
) -> Callable[..., "minari.MinariDataset"]:
    """The call that collects with a policy; raises if the policy can't be had or does not fit the world."""
    from gems_gym.datasets import collect as collect_sessions
    from gems_gym.datasets.described_policies import named_policy, trained_policy

    name = in_world(policy, spec)
    agent = find_trained_agent(name, checkpoint)
    if agent is None:
        if noise:
            raise ValueError(f"noise={noise} goes with a trained policy, and {name!r} is none")
        if not policy_options:
            return partial(collect_sessions, spec.id, name)
        check_policy_options(name, policy_options)
        given = ", ".join(f"{option}={value!r}" for option, value in policy_options.items())
        return partial(
            collect_sessions,
            spec.id,
            named_policy(name, policy_options),
            policy_name=f"{name}, {given}",
            metadata={"policy_options": policy_options},
        )
    if policy_options:
        raise ValueError(f"--policy-option goes with a policy given by name, and {name!r} is a trained agent")
    check_acts_in(agent, spec)
    agent.world(spec).users(1).close()  # raises for another catalogue than the agent's
    if agent.policy.actions == "slates":
        if noise:
            raise ValueError(f"noise={noise} goes with a policy that acts in latents; {name!r} shows slates")
        return partial(collect_sessions, spec.id, trained_policy(name, checkpoint), policy_name=agent.name)
    parts: dict[str, Any] = {} if is_latent(spec) else {"ranker": agent.ranker, "belief": agent.belief}
    return partial(
        collect_sessions,
        spec.id,
        trained_policy(name, checkpoint, noise),
        policy_name=f"{agent.name}, noise {noise:g}",
        **parts,
    )


def _described(made: "minari.MinariDataset", spec: EnvSpec, seconds: float, processes: int) -> dict[str, Any]:
    return {
        "dataset_id": made.id,
        "env": spec.id,
        "env_options": changed_parameters(spec),
        "episodes": made.total_episodes,
        "transitions": made.total_steps,
        "seconds": round(seconds, 3),
        "peak_rss_mb": _peak_memory_mb(processes),
        "content_hash": made.storage.metadata["content_hash"],
    }


def _integers(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--weights must be integers with commas between them, got {text!r}") from error


def _peak_memory_mb(num_children: int) -> float:
    """What this process and its children held at most; as if all of them had held what the largest did."""
    import resource  # POSIX only, as collecting is

    own, largest = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    # Linux counts in KiB, macOS in bytes
    return (own + num_children * largest) / (2**20 if sys.platform == "darwin" else 2**10)
