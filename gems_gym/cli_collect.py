"""``gems-gym collect``: sessions with a policy, or of one of four qualities, as a Minari dataset."""

import resource
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from annotated_types import Ge

from gems_gym.checks import Count, Threads, checked_arguments
from gems_gym.output import key_value_table, show_result
from gems_gym.user_splits import Users, UserSeed

if TYPE_CHECKING:
    import minari


@checked_arguments
def collect(
    env: Annotated[str, typer.Option(help="Environment id.")],
    episodes: Annotated[Users, typer.Option(help="Sessions to record, one user each.")],
    policy: Annotated[
        str | None,
        typer.Option(
            help="A policy's name (shipped ones too: expert-diffuse_mix), or the folder of a trained agent."
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            help="In place of a policy: random, medium, expert or mixed, by the world's shipped policies."
        ),
    ] = None,
    dataset_id: Annotated[
        str | None,
        typer.Option(
            help="Id of the new Minari dataset, namespace/name-vN; with --level gems-slate/WORLD/LEVEL-v0 if not given."
        ),
    ] = None,
    seed: Annotated[UserSeed, typer.Option(help="Which block of logging users.")] = 0,
    num_envs: Annotated[Count, typer.Option(help="Users stepped together; does not change the data.")] = 256,
    workers: Annotated[Threads, typer.Option(help="Processes that play; does not change the data.")] = 1,
    noise: Annotated[
        float | None,
        Ge(0),
        typer.Option(
            help="Standard deviation of exploration noise on a trained policy's latents; 0 if not given, with --level "
            "0.2."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Of --level mixed: how many sessions random, medium and expert play in turn; 1,1,1 if not given."
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a dataset of this id, or one begun with other arguments."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Play sessions with a policy and write them as a Minari dataset.

    An untrained policy's name records slates; a trained one and a level record beliefs and latents. With a
    GemsSlateLatent environment the dataset's spec is that environment's, and the agent must have been trained with its
    parts.

    Interrupted or killed, the same command goes on where it was; the dataset is listed only when it is whole.
    """
    from gems_gym.datasets import collect_level

    start = time.perf_counter()
    options: dict[str, Any] = {
        "episodes": episodes, "seed": seed, "num_envs": num_envs, "workers": workers, "overwrite": overwrite,
    }  # fmt: skip
    if policy is not None and level is None:
        if weights is not None:
            raise ValueError("--weights goes with --level mixed, not with --policy")
        dataset = _collect_policy(env, policy, dataset_id, noise or 0.0, options)
    elif level is not None and policy is None:
        options |= {} if weights is None else {"weights": _whole_numbers(weights)}
        dataset = collect_level(env, level, dataset_id=dataset_id, noise=noise, **options)
    else:
        raise ValueError("give --policy or --level" + ("" if policy is None else ", not both"))
    result = {
        "dataset_id": dataset.id,
        "episodes": dataset.total_episodes,
        "transitions": dataset.total_steps,
        "seconds": round(time.perf_counter() - start, 3),
        "peak_rss_mb": _peak_memory_mb(workers if workers > 1 else 0),
        "content_hash": dataset.storage.metadata["content_hash"],
    }
    show_result(result, key_value_table(result), as_json)


def _collect_policy(
    env: str, policy: str, dataset_id: str | None, noise: float, options: dict[str, Any]
) -> "minari.MinariDataset":
    from gems_gym.datasets import collect as make
    from gems_gym.policies.actor import NoisyActor
    from gems_gym.registration import is_latent
    from gems_gym.trained_agents import check_acts_in, find_trained_agent

    if dataset_id is None:
        raise ValueError("give --dataset-id: with --policy there is none that goes without saying")
    options |= {"dataset_id": dataset_id}
    agent = find_trained_agent(policy)
    if agent is None:
        if noise:
            raise ValueError(f"noise={noise} goes with a trained policy, and {policy!r} is none")
        return make(env, policy, **options)
    check_acts_in(agent, env)
    options["policy_name"] = f"{agent.name}, noise {noise:g}"
    options |= {} if is_latent(env) else {"ranker": agent.ranker, "belief": agent.belief}
    return make(env, NoisyActor(agent.policy, noise), **options)


def _whole_numbers(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--weights must be whole numbers with commas between them, got {text!r}") from error


def _peak_memory_mb(num_children: int) -> float:
    """What this process and its children held at most; as if all of them had held what the largest did."""
    own, largest = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    # Linux counts in KiB, macOS in bytes
    return (own + num_children * largest) / (2**20 if sys.platform == "darwin" else 2**10)
