"""``gems-gym evaluate``: one session with each of many users."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from gymnasium.envs.registration import EnvSpec

from gems_gym.commands import options
from gems_gym.commands.arguments import read_options
from gems_gym.commands.output import key_value_table, note, rows_table, show_result
from gems_gym.commands.worlds import chosen_worlds, in_world
from gems_gym.common.checks import checked_arguments
from gems_gym.envs.video import check_video, save_video
from gems_gym.errors import unknown_name
from gems_gym.trained_agents import find_trained_agent, recorded_world
from gems_gym.user_splits import SPLITS, Users, UserSplit, user_seeds
from gems_gym_agents import evaluation
from gems_gym_agents.scoring import RECORDED, Scored


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
    the world inside; a trained agent must have been trained with that environment's ranker and belief. Before
    constant_slate and searched_slates play, they search for slates, for about half a minute. What --json prints,
    'rescore' scores again.

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
    opened = [Scored.opened(in_world(policy, spec), spec, checkpoint, chosen, count) for spec in worlds]

    def shown(name: str, mode: str, checkpoint: int | None, options: dict[str, Any]) -> Scored:
        return Scored.opened(in_world(name, worlds[0]), worlds[0], checkpoint, options, 1, mode)

    window = shown(policy, render, checkpoint, chosen) if render else None
    films = [shown(policy, "rgb_array", checkpoint, chosen)] if video else []
    films += [shown(other, "rgb_array", None, {}) for other in beside or []]
    rows = [one.score(split, seed, episodes) for one in opened]
    if len(rows) == 1:
        readable = {name: value for name, value in rows[0].items() if value != {} and name not in RECORDED}
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


def _check_watching(video: Path | None, beside: list[str] | None, render: str | None, worlds: int) -> None:
    if render not in (None, "human"):
        raise unknown_name("--render", render, ["human"])
    if beside and video is None:
        raise ValueError("--beside goes with --video FILE, where its session is shown")
    if worlds > 1 and (video is not None or render is not None):
        raise ValueError(f"--video and --render show a session in one world, and --env names {worlds}")
    if video is not None:
        check_video(video)


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
