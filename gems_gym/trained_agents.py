"""A trained agent: its policy, the ranker and belief it acts through, and how it was made.

As a folder it holds all of these. As one file, which is how policies are shipped, it is a
:class:`~gems_gym.policies.actor.Actor` whose metadata name its agent, and its ranker and belief with their sha256.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym import __version__, plugins
from gems_gym.artifacts import same_content, shipped
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.errors import unknown_name
from gems_gym.policies import Policy
from gems_gym.policies.actor import Actor
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent, slate_spec
from gems_gym.whole_files import read_json, write_json
from gems_gym.wrappers import VectorBeliefObservation, VectorLatentAction

RECORD_FILE = "agent.json"
RANKER_FILE = "ranker.safetensors"
BELIEF_FILE = "belief.safetensors"


class Saves(Protocol):
    """Whatever can write itself into a folder; agents do (:class:`gems_gym_agents.base.Agent`)."""

    def save(self, directory: Path) -> None:
        """Write files that can't run code."""


@dataclass(frozen=True)
class TrainedAgent:
    """What is needed to act as a trained agent does.

    Attributes:
        name: The agent's name in the entry-point group ``gems_gym.agents``.
        policy: Acts on beliefs, in latents.
        ranker: Turns latents into slates.
        belief: Turns what was shown and clicked into beliefs.
        record: How the agent was made.
    """

    name: str
    policy: Policy
    ranker: Ranker
    belief: BeliefEncoder
    record: dict[str, Any]


def latent_vector_env(
    env: str | EnvSpec, num_envs: int, ranker: Ranker, belief: BeliefEncoder, **kwargs: Any
) -> VectorEnv[Any, Any, Any]:
    """Many users of a world, seen as beliefs and acted on in latents.

    Args:
        env: A registered slate environment's id, or a spec; of a latent one the world inside is taken.
        num_envs: Users stepped together.
        ranker: Turns latents into slates.
        belief: Turns what was shown and clicked into beliefs.
        **kwargs: Handed to ``gymnasium.make_vec``.
    """
    users = gymnasium.make_vec(slate_spec(env), num_envs=num_envs, **kwargs)
    return VectorLatentAction(VectorBeliefObservation(users, belief), ranker)


def check_acts_in(agent: TrainedAgent, env: str | EnvSpec) -> None:
    """Raise a clear error unless an agent was trained with the ranker and the belief of a latent environment.

    A slate environment's id names neither: there every agent acts through its own.

    Raises:
        ValueError: A latent environment with another ranker or belief than the agent's.
    """
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    if not is_latent(spec):
        return
    parts = (("ranker", agent.ranker, load_ranker), ("belief", agent.belief, load_belief))
    for kind, part, load in parts:
        held = load(spec.kwargs[kind])
        if not same_content(held, part):
            raise ValueError(
                f"the agent was trained with another {kind} (sha256 {part.sha256}) than {spec.id} holds "
                f"({spec.kwargs[kind]}, sha256 {held.sha256}); name the slate environment, {slate_spec(spec).id}: "
                f"there the agent acts through its own"
            )


def save_trained_agent(
    directory: Path, agent: Saves, name: str, ranker: Ranker, belief: BeliefEncoder, record: dict[str, Any]
) -> None:
    """Write an agent's folder; its record comes last, so a folder with a record is whole.

    Args:
        directory: The folder; made if need be.
        agent: Fitted.
        name: Its name in the entry-point group ``gems_gym.agents``.
        ranker: What it acted through in training.
        belief: Likewise.
        record: How it was made; JSON-able.
    """
    agent.save(directory)
    ranker_sha256 = ranker.save(directory / RANKER_FILE)
    belief_sha256 = belief.save(directory / BELIEF_FILE)
    write_json(
        directory / RECORD_FILE,
        {
            "agent": name,
            "gems_gym_version": __version__,
            "ranker_sha256": ranker_sha256,
            "belief_sha256": belief_sha256,
            **record,
        },
    )


def find_trained_agent(policy: str) -> TrainedAgent | None:
    """The trained agent that a command names; None if it names a policy of slates instead.

    Args:
        policy: A trained agent's folder, a policy's file or shipped name, or a name in the entry-point group
            ``gems_gym.policies``.

    Raises:
        ValueError: A name that stands for nothing, and what :func:`open_trained_agent` raises.
    """
    learned = shipped.names("policy")
    if policy in learned or Path(policy).is_dir() or Path(policy).suffix == ".safetensors":
        return open_trained_agent(policy)
    if policy not in (untrained := plugins.names(plugins.POLICIES)):
        raise unknown_name("policy", policy, [*untrained, *learned])
    return None


def open_trained_agent(name_or_path: str | os.PathLike[str]) -> TrainedAgent:
    """Read a trained agent; nothing in its files can run code.

    Args:
        name_or_path: Its folder, or a policy's file or shipped name, e.g. "expert-diffuse_mix".

    Raises:
        FileNotFoundError: A folder without a whole agent.
        ValueError: A damaged or altered file, an agent that no installed package knows, or a ranker or belief that is
            not the one that the agent was trained with.
    """
    if Path(name_or_path).is_dir() and name_or_path not in shipped.names("policy"):
        return _open_folder(Path(name_or_path))
    return _open_policy(name_or_path)


def _open_policy(name_or_file: str | os.PathLike[str]) -> TrainedAgent:
    actor = Actor.load(shipped.path(name_or_file, "policy"))
    made = actor.metadata
    if not {"agent", "ranker", "belief", "command"} <= made.keys():
        raise ValueError(
            f"{str(name_or_file)!r} names no ranker and belief to act through; give the folder of the trained agent"
        )
    ranker, belief = load_ranker(made["ranker"]["name"]), load_belief(made["belief"]["name"])
    for kind, part in (("ranker", ranker), ("belief", belief)):
        named = made[kind]
        if part.sha256 != named["sha256"]:
            raise ValueError(
                f"the policy {str(name_or_file)!r} was trained with another {kind} (sha256 {named['sha256']}) than "
                f"{named['name']!r} is now (sha256 {part.sha256}); make it again: {made['command']} --out FOLDER"
            )
    return TrainedAgent(made["agent"], AgentPolicy(actor), ranker, belief, made)


def _open_folder(directory: Path) -> TrainedAgent:
    record_file = directory / RECORD_FILE
    if not record_file.is_file():
        raise FileNotFoundError(
            f"{str(directory)!r} holds no trained agent (no {RECORD_FILE}); make one with 'gems-gym train'"
        )
    record = read_json(record_file)
    ranker, belief = load_ranker(directory / RANKER_FILE), load_belief(directory / BELIEF_FILE)
    for kind, part in (("ranker", ranker), ("belief", belief)):
        if part.sha256 != record[f"{kind}_sha256"]:
            raise ValueError(
                f"{str(directory)!r}: the {kind} is not the one that the agent was trained with "
                f"(sha256 {part.sha256}, {record[f'{kind}_sha256']} expected)"
            )
    policy = AgentPolicy(plugins.load(plugins.AGENTS, record["agent"]).load(directory))
    return TrainedAgent(record["agent"], policy, ranker, belief, record)


class AgentPolicy:
    """A trained agent's deterministic policy in the form that sessions are played with."""

    def __init__(self, policy: Any | Callable[[Any], NDArray[np.float32]]) -> None:
        self.act = policy.act if hasattr(policy, "act") else policy
        self.sha256: str | None = getattr(policy, "sha256", None)

    def reset(self, seeds: Sequence[int]) -> None:
        """Nothing to begin: it has neither memory nor randomness."""
