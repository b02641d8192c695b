"""The commands that learning adds to ``gems-gym``: train, evaluate, levels, quickstart."""

from dataclasses import dataclass
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, cast

import gymnasium
import typer
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from gems_gym import plugins
from gems_gym.commands.options import (
    ALL,
    Checkpoint,
    EnvOption,
    PolicyOption,
    alone_in_its_folder,
    changed_parameters,
    chosen_world,
    chosen_worlds,
    in_world,
    read_options,
    read_seeds,
)
from gems_gym.commands.output import key_value_table, note, rows_table, show_result
from gems_gym.common.checks import Count, checked_arguments
from gems_gym.common.machine import check_device, check_out_folder
from gems_gym.policies import Policy, make_policy
from gems_gym.registration import environment_id, is_latent, latent_environment_ids, slate_spec
from gems_gym.trained_agents import (
    RECORD_FILE,
    TrainedAgent,
    check_acts_in,
    find_trained_agent,
    recorded_world,
    save_trained_agent,
)
from gems_gym.unfinished import discard_unfinished, is_unfinished
from gems_gym.user_splits import SPLITS, Users, UserSeed, UserSplit, user_seeds
from gems_gym_agents import evaluation
from gems_gym_agents.base import DivergedError
from gems_gym_agents.training_world import learning_world
from gems_gym_agents.tuning.presets import read_preset

VALIDATION_USERS = 200

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]


@alone_in_its_folder
@checked_arguments
def train(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="Name of an installed agent.")],
    steps: Annotated[Count, typer.Option(help="Interactions (with --env) or updates (with --dataset).")],
    out: Annotated[Path, typer.Option(help="Folder for the trained agent.")],
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Environment id, for agents that learn online; with --dataset: what it must be recorded in.",
        ),
    ] = None,
    env_option: EnvOption = None,
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
    preset: Annotated[
        Path | None,
        typer.Option(
            help="File of the agent's options, as gems-gym tune writes it; --option goes before it."
        ),
    ] = None,
    num_envs: Annotated[Count, typer.Option(help="Users in lockstep, with --env.")] = 100,
    validation_users: Annotated[
        Users, typer.Option(help="Users that checkpoints are picked on.")
    ] = VALIDATION_USERS,
    device: Annotated[str, typer.Option(help="Torch device.")] = "cpu",
    save_every: Annotated[
        int | None,
        typer.Option(
            help="Updates between two saved states, with --dataset; at each epoch's end if not given."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option(help="Start anew, replacing a trained agent or an unfinished run that is there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train an agent, online in an environment or offline on a dataset; the best on validation users is kept.

    Interrupted or killed, the same command resumes the training, and ends with the same policies.
    """
    agent_class = plugins.load(plugins.AGENTS, agent)
    check_out_folder(out)
    check_device(device)
    resumes = is_unfinished(out) and not overwrite
    if not (overwrite or resumes) and (out / RECORD_FILE).exists():
        raise FileExistsError(f"--out {out} holds a trained agent; choose another folder or give --overwrite")
    options = ({} if preset is None else read_preset(preset, agent)) | read_options(option or [])
    agent_class(**options)  # mistakes are told before the world is made
    saving = {} if save_every is None else {"save_every": save_every}
    if not saving.keys() <= signature(agent_class.fit).parameters.keys():
        raise ValueError(
            f"agent {agent!r} takes no --save-every; agents that learn with --env save their state every "
            f"validate_every interactions: --option validate_every=N"
        )
    world, recorded = learning_world(agent, env, env_option, dataset, ranker, belief)
    of_world = getattr(agent_class, "presets", {}).get(world.preset)
    learner = agent_class(**({} if of_world is None else vars(of_world)) | options)
    score = evaluation.ValidationScore(
        partial(world.users, autoreset_mode="disabled"),
        user_seeds("validation", seed, validation_users),
    )
    if overwrite:
        discard_unfinished(out)
    elif resumes:
        note(f"resuming the unfinished run in {out}")
    source = world.users(num_envs) if recorded is None else recorded
    try:
        learner.fit(source, steps=steps, seed=seed, directory=out, device=device, evaluate=score, **saving)
    except KeyboardInterrupt:
        if is_unfinished(out):
            note("the same command resumes the training")
        raise
    record: dict[str, Any] = {
        "env": world.spec.id,
        "env_spec": world.spec.to_json(),
        "dataset": dataset,
        "preset": None if of_world is None else world.preset,
        "steps": steps,
        "seed": seed,
    }
    own_belief = getattr(learner, "belief", None)
    record["validation_return"] = score(learner.policy, own_belief)
    save_trained_agent(out, learner, agent, world.ranker, own_belief or world.belief, record)
    discard_unfinished(out)
    result = {"agent": agent, **record, "directory": str(out)}
    show_result(result, key_value_table(result), as_json)


@checked_arguments
def evaluate(
    policy: Annotated[
        str,
        typer.Argument(
            metavar="POLICY|AGENT_DIR",
            help="A policy's name (shipped ones too: expert-diffuse_mix, or expert-{preset} for the world's own), or "
            "an agent's folder.",
        ),
    ],
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Environment id; may be repeated, and all means the six worlds. Not needed for a trained agent: if "
            "not given, the world that it was trained in.",
        ),
    ] = None,
    env_option: EnvOption = None,
    policy_option: PolicyOption = None,
    checkpoint: Checkpoint = None,
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

    Several environments give a row each. In a GemsSlateLatent environment a policy by name shows its slates in the
    world inside; a trained agent must have been trained with that environment's ranker and belief.
    """
    users = user_seeds(cast(UserSplit, split), seed, episodes)
    options = read_options(policy_option, "--policy-option")
    worlds = (
        chosen_worlds(env, env_option, item_embeddings)
        if env
        else [_own_world(policy, checkpoint, env_option)]
    )
    count = min(episodes, num_envs)
    # all are opened first, so that a mistake in the last one is found before the first one is played
    opened = [_Scored.opened(in_world(policy, spec), spec, checkpoint, options, count) for spec in worlds]
    rows = [{**one.score(users), "split": split, "seed": seed, "episodes": episodes} for one in opened]
    if len(rows) == 1:
        readable = {name: value for name, value in rows[0].items() if value != {}}
        show_result(rows[0], key_value_table(readable), as_json)
        return
    shown = ("mean_return", "ci95", "normalized_score", "random_return", "boredom_aware_oracle_return")
    table = rows_table("environment", {row["env"]: {name: row[name] for name in shown} for row in rows})
    show_result({"results": rows}, table, as_json)


@dataclass(frozen=True)
class _Scored:
    """A policy in a world, ready to be scored."""

    name: str
    spec: EnvSpec
    policy: Policy
    acted_in: VectorEnv[Any, Any, Any]
    slates: VectorEnv[Any, Any, Any]
    details: dict[str, Any]

    @classmethod
    def opened(
        cls, name: str, spec: EnvSpec, checkpoint: int | None, options: dict[str, Any], num_envs: int
    ) -> "_Scored":
        slates = gymnasium.make_vec(slate_spec(spec), num_envs=num_envs, autoreset_mode="disabled")
        agent = find_trained_agent(name, checkpoint)
        if agent is None:
            chosen = {"policy_options": options} if options else {}
            return cls(name, spec, make_policy(name, slates, **options), slates, slates, chosen)
        if options:
            raise ValueError(f"--policy-option goes with a policy by name, and {name!r} is a trained agent")
        check_acts_in(agent, spec)
        _note_other_world(agent, spec)
        acted_in = agent.world(spec).users(num_envs, autoreset_mode="disabled")
        details = {} if checkpoint is None else {"checkpoint": checkpoint}
        return cls(name, spec, agent.policy, acted_in, slates, details)

    def score(self, users: list[int]) -> dict[str, Any]:
        evaluated = evaluation.evaluate(self.policy, self.acted_in, users, name=self.name, progress=True)
        references = evaluation.measure_references(self.slates, users)
        return {
            "policy": self.name,
            **self.details,
            "env": self.spec.id,
            "env_options": changed_parameters(self.spec),
            "mean_return": evaluated.mean_return,
            "ci95": evaluated.ci95,
            "normalized_score": references.normalized_score(evaluated.mean_return),
            "random_return": references.random,
            "boredom_aware_oracle_return": references.boredom_aware_oracle,
            "seconds": evaluated.seconds,
        }


def _note_other_world(agent: TrainedAgent, spec: EnvSpec) -> None:
    """Say so where an agent is scored in a world with other parameters than it was trained in."""
    try:
        recorded = recorded_world(agent)
    except ValueError:
        return  # a record of a world that is not known here
    trained_in, scored_in = changed_parameters(recorded), changed_parameters(spec)
    if trained_in != scored_in:
        note(f"the agent was trained with {_listed(trained_in)}, and is scored with {_listed(scored_in)}")


def _listed(parameters: dict[str, Any]) -> str:
    given = ", ".join(f"{name}={value!r}" for name, value in sorted(parameters.items()))
    return given or "the environment's own parameters"


def _own_world(policy: str, checkpoint: int | None, env_option: list[str] | None) -> EnvSpec:
    """The world that a trained agent was trained in."""
    agent = find_trained_agent(policy, checkpoint)
    if agent is None or env_option:
        why = (
            "--env-option changes its parameters"
            if agent
            else f"{policy!r} is no trained agent, which records it"
        )
        raise ValueError(f"give --env with the world: {why}")
    return recorded_world(agent)


@checked_arguments
def levels(
    out: Annotated[Path, typer.Option(help="Folder of the policies and their manifest.")],
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="A GemsSlateLatent environment; may be repeated. All six if not given, or for all.",
        ),
    ] = None,
    env_option: EnvOption = None,
    steps: Annotated[Count, typer.Option(help="Interactions of each training.")] = 300_000,
    seed: Annotated[UserSeed, typer.Option(help="Decides everything random.")] = 0,
    runs: Annotated[Path, typer.Option(help="Folder of the trainings.")] = Path("runs/levels"),
    as_json: Json = False,
) -> None:
    """Train SAC in worlds, and write the policies medium-WORLD and expert-WORLD of each, with a manifest.

    Expert is the best on validation users, medium the first on the way there past half of expert's normalised score.
    Interrupted or killed, the same command resumes the training; a finished training is not repeated. Exit code 1 if a
    world has no such policies.
    """
    from gems_gym_agents.levels import NoLevelsError, Training, make_levels

    check_out_folder(out)
    check_out_folder(runs, "--runs")
    rows: dict[str, dict[str, Any]] = {}
    failures = {}
    worlds = chosen_worlds(env or [ALL], env_option, everything=latent_environment_ids())
    for training in [Training.of(one, steps, seed) for one in worlds]:
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


@alone_in_its_folder
@checked_arguments
def quickstart(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path("runs/quickstart"),
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Environment id; GemsSlate-diffuse_topdown-v0 if not given."),
    ] = None,
    env_option: EnvOption = None,
    seed: Annotated[UserSeed, typer.Option(help="Decides everything random.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="Run once for each of these, e.g. 0,1,2: mean, and range over seeds.")
    ] = None,
    episodes: Annotated[Users, typer.Option(help="Test users.")] = 500,
    as_json: Json = False,
) -> None:
    """The whole road once: log, pretrain, train online, collect, train offline, evaluate; minutes on two cores."""
    from gems_gym_agents.quickstart import run_quickstart
    from gems_gym_agents.quickstart_seeds import run_quickstarts

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
