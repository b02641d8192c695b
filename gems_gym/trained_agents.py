"""A trained agent: its policy, the ranker and belief it acts through, and how it was made.

As a folder it holds all of these. As one file, which is how policies are shipped, it is a
:class:`~gems_gym.policies.actor.Actor` whose metadata name its agent, and its ranker and belief with their sha256; or,
where the agent shows slates itself, a file of the kind "policy/AGENT", which that agent reads.
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym import __version__, plugins
from gems_gym.artifacts import load_artifact, same_content, shipped
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.common.checks import checked_arguments
from gems_gym.common.files import file_sha256, read_json, write_json
from gems_gym.common.fingerprints import made_by
from gems_gym.envs.recorded_spec import rebuilt_spec
from gems_gym.errors import unknown_name
from gems_gym.latent_world import LatentWorld
from gems_gym.policies import Policy
from gems_gym.policies.actor import KIND, Actor
from gems_gym.policies.base import as_policy
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent, slate_spec

RECORD_FILE = "agent.json"
RANKER_FILE = "ranker.safetensors"
BELIEF_FILE = "belief.safetensors"
_SAVING_FOLDER = ".saving"
_CHECKPOINTS = Path("checkpoints", "checkpoints.json")
"""What lists the policies that an agent has kept while it learned."""


class Saves(Protocol):
    """Whatever can write itself into a folder; agents do (:class:`gems_gym_agents.base.Agent`)."""

    def save(self, directory: Path) -> None:
        """Write files that can't run code."""


@dataclass(frozen=True)
class TrainedAgent:
    """What is needed to act as a trained agent does.

    Attributes:
        name: The agent's name in the entry-point group ``gems_gym.agents``.
        policy: Acts as the agent has learned to.
        ranker: Turns latents into slates; None where the policy shows slates.
        belief: Turns what was shown and clicked into beliefs; None where the policy sees slates and clicks.
        record: How the agent was made.
    """

    name: str
    policy: Policy
    ranker: Ranker | None
    belief: BeliefEncoder | None
    record: dict[str, Any]

    def world(self, env: str | EnvSpec) -> LatentWorld:
        """A world that the agent meets through its own ranker and belief.

        Args:
            env: A registered id or a spec; of a latent environment the slate environment inside is taken.
        """
        spec = gymnasium.spec(env) if isinstance(env, str) else env
        return LatentWorld(spec, self.ranker, self.belief)


def check_acts_in(agent: TrainedAgent, env: str | EnvSpec) -> None:
    """Raise a clear error unless an agent was trained with the ranker and the belief of a latent environment.

    A slate environment's id names neither: there every agent acts through its own. An agent without a ranker knows
    items by their ids: the environment must have the catalogue that its record names, if it names one.

    Raises:
        ValueError: A latent environment with another ranker or belief than the agent's; another catalogue.
    """
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    if (learned := agent.record.get("catalog_hash")) is not None:
        found = gymnasium.make(slate_spec(spec)).unwrapped.catalog.hash  # type: ignore[attr-defined]
        check_same_items(agent, learned, found, f"{spec.id} with its keywords")
    if not is_latent(spec):
        return
    parts: tuple[tuple[str, Ranker | BeliefEncoder | None, Callable[..., Any]], ...] = (
        ("ranker", agent.ranker, load_ranker), ("belief", agent.belief, load_belief)
    )  # fmt: skip
    for kind, part, load in parts:
        if part is None:  # the agent plays in the slate environment inside
            continue
        held = load(spec.kwargs[kind])
        if not same_content(held, part):
            raise ValueError(
                f"the agent was trained with another {kind} (sha256 {part.sha256}) than {spec.id} holds "
                f"({spec.kwargs[kind]}, sha256 {held.sha256}); name the slate environment, {slate_spec(spec).id}: "
                f"there the agent acts through its own"
            )


def check_same_items(agent: TrainedAgent, learned: str, found: str, owner: str) -> None:
    """Raise a ValueError unless an agent that knows items by their ids meets the catalogue that it learned in.

    Args:
        agent: The agent.
        learned: Hash of that catalogue.
        found: Hash of the catalogue that it shall act in.
        owner: What has that one, for the message.
    """
    if found != learned:
        raise ValueError(
            f"the agent {agent.name!r} knows the items of the catalogue {learned}, but {owner} has {found}: item ids "
            "mean other items there"
        )


def save_trained_agent(
    directory: Path,
    agent: Saves,
    name: str,
    ranker: Ranker | None,
    belief: BeliefEncoder | None,
    record: dict[str, Any],
) -> None:
    """Write an agent's folder, in place of the agent that is there.

    All files are written beside it first and then moved in, the record last; the record of an agent that is replaced
    goes first. So a killed process leaves the old agent, the new one, or a folder that :func:`open_trained_agent`
    refuses because it has no record.

    The record holds the fingerprints of the agent's code and of the processor (:mod:`gems_gym.common.fingerprints`).

    Args:
        directory: The folder; made if need be.
        agent: Fitted.
        name: Its name in the entry-point group ``gems_gym.agents``.
        ranker: What it acted through in training; None if it shows slates itself.
        belief: What it saw through; None if it sees slates and clicks.
        record: How it was made; JSON-able.
    """
    saving = Path(directory) / _SAVING_FOLDER
    if saving.exists():  # left by a killed process
        shutil.rmtree(saving)
    saving.mkdir(parents=True)
    try:
        agent.save(saving)
        own_files = [file.relative_to(saving) for file in sorted(saving.rglob("*")) if file.is_file()]
        made = {
            "agent": name,
            "gems_gym_version": __version__,
            **made_by(plugins.module_of(plugins.AGENTS, name)),
            "files_sha256": {str(file): file_sha256(saving / file) for file in own_files},
        }
        if (directory / _CHECKPOINTS).is_file():
            made["checkpoints_sha256"] = file_sha256(directory / _CHECKPOINTS)
        parts = [
            (kind, part, file)
            for kind, part, file in (("ranker", ranker, RANKER_FILE), ("belief", belief, BELIEF_FILE))
            if part is not None
        ]
        made |= {f"{kind}_sha256": part.save(saving / file) for kind, part, file in parts}
        write_json(saving / RECORD_FILE, made | record)
        for replaced in (RECORD_FILE, RANKER_FILE, BELIEF_FILE):
            (directory / replaced).unlink(missing_ok=True)
        for file in (*own_files, *(Path(one) for _, _, one in parts), Path(RECORD_FILE)):
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(saving / file, directory / file)
    finally:
        shutil.rmtree(saving)


@checked_arguments
def find_trained_agent(policy: str, checkpoint: int | None = None) -> TrainedAgent | None:
    """The trained agent that a command names; None if it names a policy of slates instead.

    Args:
        policy: A trained agent's folder, a policy's file or shipped name, or a name in the entry-point group
            ``gems_gym.policies``.
        checkpoint: See :func:`open_trained_agent`.

    Raises:
        ValueError: A name that stands for nothing, a checkpoint of a policy that has none, and what
            :func:`open_trained_agent` raises.
    """
    learned, untrained = shipped.names("policy"), plugins.names(plugins.POLICIES)
    if policy in untrained:  # also where a folder has the same name, which ./NAME stands for
        _refuse_checkpoint(policy, checkpoint)
        return None
    if policy in learned or Path(policy).is_dir() or Path(policy).suffix == ".safetensors":
        return open_trained_agent(policy, checkpoint)
    if Path(policy).is_file():
        raise ValueError(
            "policy must be a name, a trained agent's folder or a policy's file NAME.safetensors, got the file "
            f"{policy!r}"
        )
    raise unknown_name("policy", policy, [*untrained, *learned])


@checked_arguments
def open_trained_agent(name_or_path: str | os.PathLike[str], checkpoint: int | None = None) -> TrainedAgent:
    """Read a trained agent; nothing in its files can run code.

    Args:
        name_or_path: Its folder, or a policy's file or shipped name, e.g. "expert-diffuse_mix".
        checkpoint: The policy after so many interactions of training, of a folder whose agent has kept it; the one
            that was chosen on validation users if None.

    Raises:
        FileNotFoundError: A folder without a complete agent.
        ValueError: A damaged or altered file, an agent that no installed package knows, a ranker or belief that is
            not the one that the agent was trained with, or a checkpoint that does not exist (the message lists those
            that do).
    """
    if Path(name_or_path).is_dir() and name_or_path not in shipped.names("policy"):
        return _open_folder(Path(name_or_path), checkpoint)
    _refuse_checkpoint(name_or_path, checkpoint)
    return _open_policy(name_or_path)


def saved_files(directory: Path) -> dict[str, Path]:
    """The files that a trained agent is made of, by their place in its folder; not what else its training left there.

    Raises:
        FileNotFoundError: The folder holds no agent.
        ValueError: Its record is none, or of an earlier version, which named no files.
    """
    record = _read_record(directory / RECORD_FILE)
    if not record["files_sha256"]:
        raise ValueError(
            f"{directory / RECORD_FILE} names no files, as earlier versions did not; train again"
        )
    parts = [
        file
        for part, file in (("ranker", RANKER_FILE), ("belief", BELIEF_FILE))
        if f"{part}_sha256" in record
    ]
    return {name: directory / name for name in (RECORD_FILE, *record["files_sha256"], *parts)}


def _open_policy(name_or_file: str | os.PathLike[str]) -> TrainedAgent:
    artifact = load_artifact(shipped.path(name_or_file, "policy"), "policy")
    if artifact.kind != KIND:
        name = artifact.kind.partition("/")[2]
        read = getattr(plugins.load(plugins.AGENTS, name), "policy_from_artifact", None)
        if read is None:
            raise ValueError(
                f"{str(name_or_file)!r}: the agent {name!r} reads no single files; give its folder"
            )
        return TrainedAgent(name, read(artifact), None, None, dict(artifact.header.get("metadata", {})))
    actor = Actor.from_artifact(artifact)
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
    return TrainedAgent(made["agent"], actor, ranker, belief, made)


def _open_folder(directory: Path, checkpoint: int | None) -> TrainedAgent:
    record_file = directory / RECORD_FILE
    if not record_file.is_file():
        raise FileNotFoundError(
            f"{str(directory)!r} holds no trained agent (no {RECORD_FILE}); make one with 'gems-gym train', which also "
            f"resumes a training that was interrupted there"
        )
    record = _read_record(record_file)
    for name, sha256 in record["files_sha256"].items():
        found = file_sha256(directory / name) if (directory / name).is_file() else None
        if found != sha256:
            raise _not_of_the_agent(directory, name, found, sha256)
    ranker = load_ranker(directory / RANKER_FILE) if "ranker_sha256" in record else None
    belief = load_belief(directory / BELIEF_FILE) if "belief_sha256" in record else None
    parts: tuple[tuple[str, Ranker | BeliefEncoder | None], ...] = (("ranker", ranker), ("belief", belief))
    for kind, part in parts:
        if part is not None and part.sha256 != record[f"{kind}_sha256"]:
            raise _not_of_the_agent(directory, f"the {kind}", part.sha256, record[f"{kind}_sha256"])
    agent_class = plugins.load(plugins.AGENTS, record["agent"])
    if checkpoint is None:
        policy = agent_class.load(directory)
        _check_parts(directory, policy, ranker, belief)
        return TrainedAgent(record["agent"], policy, ranker, belief, record)
    chosen = _checkpoint(agent_class, directory, record, checkpoint)
    name = f"{record['agent']} after {checkpoint} interactions"
    return TrainedAgent(name, chosen.actor, ranker, chosen.belief or belief, record)


def _check_parts(
    directory: Path, policy: Policy, ranker: Ranker | None, belief: BeliefEncoder | None
) -> None:
    """Raise unless an agent's folder holds the ranker and the belief that its policy needs, and no others."""
    policy = as_policy(f"what the agent in {str(directory)!r} loads", policy)
    for kind, part, needed in (
        ("ranker", ranker, policy.actions == "latents"), ("belief", belief, policy.observes == "beliefs")
    ):  # fmt: skip
        if (part is not None) != needed:
            raise ValueError(
                f"{str(directory)!r}: the policy sees {policy.observes} and chooses {policy.actions}, and "
                f"{RECORD_FILE} names {'no' if needed else 'a'} {kind}; train again with --overwrite"
            )


def _checkpoint(agent_class: Any, directory: Path, record: dict[str, Any], interactions: int) -> Any:
    """One of the policies that an agent has kept while it learned; means of several are none of them."""
    if not hasattr(agent_class, "load_checkpoints"):
        raise ValueError(f"--checkpoint {interactions}: the agent in {str(directory)!r} keeps no checkpoints")
    expected, file = record.get("checkpoints_sha256"), directory / _CHECKPOINTS
    if expected is not None and file.is_file() and file_sha256(file) != expected:
        raise _not_of_the_agent(directory, str(_CHECKPOINTS), file_sha256(file), expected)
    kept = {one.interactions: one for one in agent_class.load_checkpoints(directory) if one.mean_of == 1}
    if interactions not in kept:
        raise ValueError(
            f"{str(directory)!r} holds no checkpoint of {interactions} interactions; it holds "
            f"{', '.join(map(str, kept)) or 'none'}"
        )
    return kept[interactions]


def _refuse_checkpoint(policy: object, checkpoint: int | None) -> None:
    if checkpoint is not None:
        raise ValueError(
            f"--checkpoint {checkpoint} goes with the folder of a trained agent, and {str(policy)!r} is none"
        )


def learned_from_a_log(agent: TrainedAgent) -> bool:
    """Whether an agent's record says that it was trained on a log of another recommender, without any world."""
    return agent.record.get("dataset") is not None and agent.record.get("env", "") is None


def recorded_world(agent: TrainedAgent) -> EnvSpec:
    """The world that an agent was trained in, see :func:`~gems_gym.envs.recorded_spec.rebuilt_spec`.

    Raises:
        ValueError: A record without an environment, or of one that is not registered here or has other keywords.
    """
    record = agent.record
    if learned_from_a_log(agent):
        raise ValueError("the agent learned from a log, which has no environment; give --env")
    try:
        recorded = json.loads(record["env_spec"]) if "env_spec" in record else {"id": record["env"]}
        return rebuilt_spec(recorded, "the agent's record")
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ValueError(
            f"the agent's record names no environment that can be made here ({error}); give --env"
        ) from error


def _not_of_the_agent(directory: Path, part: str, found: str | None, expected: str) -> ValueError:
    return ValueError(
        f"{str(directory)!r}: {part} is not the one that {RECORD_FILE} names (sha256 {found or 'of no file'}, "
        f"{expected} expected); it was replaced, altered or removed: put it back, or train again with --overwrite"
    )


def _read_record(file: Path) -> dict[str, Any]:
    record = read_json(file)
    if not isinstance(record, dict) or not isinstance(record.get("agent"), str):
        raise ValueError(f"{str(file)!r} is no record of a trained agent: it requires the text agent")
    for name in ("ranker_sha256", "belief_sha256"):
        if not isinstance(record.get(name, ""), str):
            raise ValueError(f"{str(file)!r}: {name} must be a text, got {record[name]!r}")
    hashes = record.setdefault("files_sha256", {})  # agents of older versions have none
    if not isinstance(hashes, dict) or not all(_names_a_file_within(name) for name in hashes):
        raise ValueError(f"{str(file)!r}: files_sha256 must map files of the agent's folder to their sha256")
    return record


def _names_a_file_within(name: str) -> bool:
    path = PurePath(name)
    return not path.is_absolute() and ".." not in path.parts
