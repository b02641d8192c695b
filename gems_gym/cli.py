"""The ``gems-gym`` program: what exists, pretraining and collection; other packages add commands by entry point."""

import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import typer
from gymnasium import Space
from gymnasium.envs.registration import EnvSpec
from typer.core import TyperGroup

from gems_gym import plugins
from gems_gym.cli_datasets import dataset as dataset_commands
from gems_gym.cli_pretrain import pretrain
from gems_gym.errors import require
from gems_gym.output import key_value_table, note, show_result
from gems_gym.registration import environment_ids, is_latent, latent_environment_ids


class Program(TyperGroup):
    """The program; it says what an interruption leaves, which typer turns into a bare exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command: Ctrl-C is told in a line and becomes exit code 130."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _tell("interrupted", error)
            raise typer.Exit(130) from error


app = typer.Typer(
    name="gems-gym",
    cls=Program,
    help="Slate recommendation as Gymnasium environments: worlds, rankers, beliefs, datasets and agents.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(pretrain, name="pretrain")
app.add_typer(dataset_commands, name="dataset")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@app.command("list")
def list_parts(as_json: Json = False) -> None:
    """List environments, and the rankers, beliefs, policies and agents that are installed."""
    environments = [*environment_ids(), *latent_environment_ids()]
    parts = {
        kind: [asdict(info) for info in plugins.describe(group)] for group, kind in plugins.GROUPS.items()
    }
    readable = key_value_table(
        {
            "environments": "\n".join(environments),
            **{kind: "\n".join(one["name"] for one in found) for kind, found in parts.items() if found},
        }
    )
    show_result({"environments": environments, **parts}, readable, as_json)


@app.command()
def info(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="An environment or a local dataset.")],
    as_json: Json = False,
) -> None:
    """Show what an environment or a local dataset is."""
    result = _environment_info(identifier) if identifier.find("/") < 0 else _dataset_info(identifier)
    show_result(result, key_value_table(result, title=identifier), as_json)


def _environment_info(env_id: str) -> dict[str, Any]:
    env: Any = gymnasium.make(env_id).unwrapped
    return {
        "id": env_id,
        "versions": [one.id for one in gymnasium.registry.values() if one.name == env.spec.name],
        "observation_space": str(env.observation_space),
        "action_space": str(env.action_space),
        "catalog_hash": env.catalog.hash,
        **{part: env.spec.kwargs[part] for part in ("ranker", "belief") if is_latent(env.spec)},
        **asdict(env.config),
    }


def _dataset_info(dataset_id: str) -> dict[str, Any]:
    metadata = require("minari").load_dataset(dataset_id).storage.metadata
    # spaces and the environment's spec are objects; numbers and texts stay what they are
    return {
        key: str(value) if isinstance(value, Space | EnvSpec) else value for key, value in metadata.items()
    }


@app.command()
def collect(
    env: Annotated[str, typer.Option(help="Environment id.")],
    policy: Annotated[str, typer.Option(help="A policy's name, or the folder of a trained agent.")],
    episodes: Annotated[int, typer.Option(help="Sessions to record, one user each.")],
    dataset_id: Annotated[str, typer.Option(help="Id of the new Minari dataset, namespace/name-vN.")],
    seed: Annotated[int, typer.Option(help="Which block of logging users.")] = 0,
    num_envs: Annotated[int, typer.Option(help="Users stepped together; does not change the data.")] = 256,
    workers: Annotated[int, typer.Option(help="Processes that play; does not change the data.")] = 1,
    noise: Annotated[
        float, typer.Option(help="Standard deviation of exploration noise on a trained agent's latents.")
    ] = 0.0,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace a dataset of this id, or one begun with other arguments."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Play sessions with a policy and write them as a Minari dataset.

    A policy's name records slates; a trained agent's folder records beliefs and latents. With a GemsSlateLatent
    environment the dataset's spec is that environment's, and the agent must have been trained with its parts.

    Interrupted or killed, the same command goes on where it was; the dataset is listed only when it is whole.
    """
    from gems_gym import datasets
    from gems_gym.policies.actor import NoisyActor
    from gems_gym.trained_agents import check_acts_in, open_trained_agent

    start = time.perf_counter()
    actor: Any = policy
    view: dict[str, Any] = {}
    if Path(policy).is_dir():
        agent = open_trained_agent(Path(policy))
        check_acts_in(agent, env)
        actor = NoisyActor(agent.policy, noise)
        view = {} if is_latent(env) else {"ranker": agent.ranker, "belief": agent.belief}
        view["policy_name"] = f"{agent.name}, noise {noise:g}"
    elif noise:
        raise ValueError(f"noise={noise} goes with a trained agent's folder, and {policy!r} is none")
    dataset = datasets.collect(
        env, actor, dataset_id=dataset_id, episodes=episodes, seed=seed, num_envs=num_envs, workers=workers,
        overwrite=overwrite, **view,
    )  # fmt: skip
    result = {
        "dataset_id": dataset_id,
        "episodes": dataset.total_episodes,
        "transitions": dataset.total_steps,
        "seconds": round(time.perf_counter() - start, 3),
        "peak_rss_mb": _peak_memory_mb(workers if workers > 1 else 0),
        "content_hash": dataset.storage.metadata["content_hash"],
    }
    show_result(result, key_value_table(result), as_json)


def _peak_memory_mb(num_children: int) -> float:
    """What this process and its children held at most; as if all of them had held what the largest did."""
    own, largest = (
        resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    # Linux counts in KiB, macOS in bytes
    return (own + num_children * largest) / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    """Run the program: known errors become one line on stderr and exit code 2, Ctrl-C exit code 130."""
    for name in plugins.names(plugins.COMMANDS):
        app.command(name)(plugins.load(plugins.COMMANDS, name))
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, gymnasium.error.Error) as error:
        _tell(f"error: {error}", error)
        sys.exit(2)


def _tell(line: str, error: BaseException) -> None:
    """Print what happened, and what was noted on the way up, such as what is kept."""
    for text in (line, *getattr(error, "__notes__", ())):
        note(text)
