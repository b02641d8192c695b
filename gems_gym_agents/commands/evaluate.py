"""``gems-gym evaluate``: one session with each of many users."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import gymnasium
import numpy as np
import typer
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.commands import options
from gems_gym.commands.arguments import read_options
from gems_gym.commands.output import key_value_table, note, rows_table, show_result
from gems_gym.commands.worlds import changed_parameters, chosen_worlds, in_world
from gems_gym.common.checks import checked_arguments
from gems_gym.envs.video import check_video, save_video
from gems_gym.errors import unknown_name
from gems_gym.policies import Policy, make_policy
from gems_gym.registration import slate_spec
from gems_gym.rollouts import play_sessions
from gems_gym.trained_agents import TrainedAgent, check_acts_in, find_trained_agent, recorded_world
from gems_gym.user_splits import SPLITS, Users, UserSplit, user_seeds
from gems_gym_agents import evaluation


@checked_arguments
def evaluate(
    policy: options.PolicyName,
    env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Environment id; repeatable; all: the six worlds. If not given, the world that the agent was "
            "trained in.",
        ),
    ] = None,
    env_option: options.EnvOptions = None,
    policy_option: options.PolicyOptions = None,
    checkpoint: options.Checkpoint = None,
    episodes: Annotated[Users, typer.Option(help="Users, one session each.")] = 500,
    seed: options.UserBlock = 0,
    split: Annotated[str, typer.Option(help=f"Whose users: {', '.join(SPLITS)}.")] = "test",
    catalogue: options.Catalogue = None,
    num_envs: options.NumEnvs = evaluation.NUM_ENVS,
    video: Annotated[
        Path | None, typer.Option(help="Film the first user's session: a .gif or .mp4 file.")
    ] = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(
            metavar="POLICY", help="With --video: another policy next to it, with the same user; repeatable."
        ),
    ] = None,
    render: Annotated[
        str | None, typer.Option(help="human: show the first user's session in a window, as it is played.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    r"""Play one session with each of many users: mean clicks, 95 % interval, normalised score.

    Several environments give a row each. In a GemsSlateLatent environment a policy given by name shows its slates in
    the world inside; a trained agent must have been trained with that environment's ranker and belief.

    Examples:
        gems-gym evaluate eps_greedy_oracle --env GemsSlate-diffuse_mix-v0 \
            --policy-option epsilon=0.1
        gems-gym evaluate expert-{preset} --env all --episodes 1000
        gems-gym evaluate runs/sac --beside random --video side.gif
    """
    users = user_seeds(cast(UserSplit, split), seed, episodes)
    chosen = read_options(policy_option, "--policy-option")
    worlds = (
        chosen_worlds(env, env_option, catalogue) if env else [_own_world(policy, checkpoint, env_option)]
    )
    _check_watching(video, beside, render, len(worlds))
    count = min(episodes, num_envs)
    # all are opened first: a mistake in the last one is found before the first one is played
    opened = [_Scored.opened(in_world(policy, spec), spec, checkpoint, chosen, count) for spec in worlds]

    def shown(name: str, mode: str, checkpoint: int | None, options: dict[str, Any]) -> _Scored:
        return _Scored.opened(in_world(name, worlds[0]), worlds[0], checkpoint, options, 1, mode)

    window = shown(policy, render, checkpoint, chosen) if render else None
    films = [shown(policy, "rgb_array", checkpoint, chosen)] if video else []
    films += [shown(other, "rgb_array", None, {}) for other in beside or []]
    rows = [{**one.score(users), "split": split, "seed": seed, "episodes": episodes} for one in opened]
    if len(rows) == 1:
        readable = {name: value for name, value in rows[0].items() if value != {}}
        show_result(rows[0], key_value_table(readable), as_json)
        if window is not None:
            window.pictures(users[0])
        if video is not None:
            save_video(video, [one.pictures(users[0]) for one in films], [one.name for one in films])
            note(f"the session of user {users[0]} is in {video}")
        return
    columns = ("mean_return", "ci95", "normalized_score", "random_return", "boredom_aware_oracle_return")
    table = rows_table("environment", {row["env"]: {name: row[name] for name in columns} for row in rows})
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
        cls,
        name: str,
        spec: EnvSpec,
        checkpoint: int | None,
        options: dict[str, Any],
        num_envs: int,
        render_mode: str | None = None,
    ) -> "_Scored":
        making: dict[str, Any] = {"autoreset_mode": "disabled", "render_mode": render_mode}
        slates = gymnasium.make_vec(slate_spec(spec), num_envs=num_envs, **making)
        agent = find_trained_agent(name, checkpoint)
        if agent is None:
            chosen = {"policy_options": options} if options else {}
            return cls(name, spec, make_policy(name, slates, **options), slates, slates, chosen)
        if options:
            raise ValueError(
                f"--policy-option goes with a policy given by name, and {name!r} is a trained agent"
            )
        check_acts_in(agent, spec)
        if render_mode is None:
            _note_other_world(agent, spec)
            if caution := getattr(agent.policy, "caution", None):
                note(caution)
        acted_in = agent.world(spec).users(num_envs, **making)
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
            "mean_length": evaluated.mean_length,
            **evaluated.beyond_clicks(),
            "normalized_score": references.normalized_score(evaluated.mean_return),
            "random_return": references.random,
            "boredom_aware_oracle_return": references.boredom_aware_oracle,
            "seconds": evaluated.seconds,
        }

    def pictures(self, user: int) -> list[NDArray[np.uint8]]:
        """One user's session; none where a window shows it as it is played."""
        env: Any = self.acted_in
        moments = [env.render() for _ in play_sessions(env, self.policy, [user])]
        env.close()
        return [frames[0] for frames in moments if frames is not None]


def _check_watching(video: Path | None, beside: list[str] | None, render: str | None, worlds: int) -> None:
    if render not in (None, "human"):
        raise unknown_name("--render", render, ["human"])
    if beside and video is None:
        raise ValueError("--beside goes with --video FILE, where its session is shown")
    if worlds > 1 and (video is not None or render is not None):
        raise ValueError(f"--video and --render show a session in one world, and --env names {worlds}")
    if video is not None:
        check_video(video)


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
            else f"{policy!r} is no trained agent, which would record it"
        )
        raise ValueError(f"give --env with the world: {why}")
    return recorded_world(agent)
