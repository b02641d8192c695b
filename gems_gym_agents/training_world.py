"""The world that an agent is to learn in, or that a dataset was recorded in, with its ranker and belief."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym import plugins
from gems_gym.artifacts import same_content
from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.commands.worlds import chosen_world
from gems_gym.datasets import dataset_belief, dataset_ranker, open_dataset
from gems_gym.datasets.reader import environment_of, is_log
from gems_gym.latent_world import LatentWorld
from gems_gym.policies.base import chosen_by, observed_by
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent, slate_spec

if TYPE_CHECKING:
    from minari import MinariDataset


class LearningSource(NamedTuple):
    """What an agent is to learn from.

    Attributes:
        world: Where it learns, or where the dataset was recorded; of a log, where validation users are to come from.
            None for a log without such a world: nobody knows its own.
        dataset: What an offline agent learns from; None for one that learns online.
        ranker: Turns its latents into slates; None where it needs none.
        belief: Makes what it sees; None where it needs none.
    """

    world: LatentWorld | None
    dataset: MinariDataset | None
    ranker: Ranker | None
    belief: BeliefEncoder | None


def learning_source(
    agent: str,
    env: Sequence[str] | None,
    env_option: Sequence[str] | None,
    dataset: str | None,
    ranker: str | None,
    belief: str | None,
) -> LearningSource:
    """What an agent is to learn from, by the words of a command.

    Args:
        agent: A name in the entry-point group ``gems_gym.agents``.
        env: See :func:`~gems_gym.commands.worlds.chosen_world`.
        env_option: Likewise.
        dataset: A local Minari dataset.
        ranker: A ranker's file or shipped name.
        belief: Likewise a belief's.

    Raises:
        ValueError: What is missing for the agent or does not go with it; and as :func:`dataset_world`.
    """
    if env_option and not env:
        raise ValueError("--env-option goes with --env; a dataset's world is the one that it was recorded in")
    agent_class = plugins.load(plugins.AGENTS, agent)
    if agent_class.learns_from == "environment":
        if not env or dataset is not None:
            raise ValueError(f"agent {agent!r} learns from environments: give --env and no --dataset")
        world = LatentWorld.of(
            chosen_world(env, env_option), ranker, belief,
            observes=observed_by(agent_class), actions=chosen_by(agent_class),
        )  # fmt: skip
        return LearningSource(world, None, world.ranker, world.belief)
    if dataset is None:
        raise ValueError(f"agent {agent!r} learns from datasets: give --dataset")
    spec = chosen_world(env, env_option) if env else None
    if is_log(opened := open_dataset(dataset)):
        return _log_source(opened, spec, ranker, belief)
    recorded, opened = dataset_world(dataset, spec, ranker, belief)
    return LearningSource(recorded, opened, recorded.ranker, recorded.belief)


def _log_source(
    dataset: MinariDataset, env: EnvSpec | None, ranker: str | None, belief: str | None
) -> LearningSource:
    if dataset.storage.metadata.get("ranker_sha256") is None:
        raise ValueError(
            f"dataset {dataset.id!r} is a log of slates, and agents learn from beliefs and latents: learn a ranker and "
            f"a belief of it (gems-gym logs fit {dataset.id} --out FOLDER) and make it a latent dataset (gems-gym "
            f"dataset relabel {dataset.id} --ranker FOLDER/ranker.safetensors --belief FOLDER/belief.safetensors)"
        )
    parts = dataset_ranker(dataset), dataset_belief(dataset)
    _check_same_parts(dataset.id, parts, ranker, belief)
    if env is None:
        return LearningSource(None, dataset, *parts)
    world = LatentWorld(slate_spec(env), *parts)
    world.users(1).close()  # raises for another catalogue than the log's
    return LearningSource(world, dataset, *parts)


def dataset_world(
    dataset_id: str, env: str | EnvSpec | None = None, ranker: str | None = None, belief: str | None = None
) -> tuple[LatentWorld, MinariDataset]:
    """The world, ranker and belief that a dataset was recorded with, and the dataset.

    Args:
        dataset_id: A local Minari dataset of beliefs and latents.
        env: The environment that the agent is meant for, a registered id or a spec, if it is to be checked.
        ranker: The ranker that it is meant for, likewise: a shipped name or a file.
        belief: The belief that it is meant for, likewise.

    Raises:
        ValueError: The dataset was recorded in another world, or through another ranker or belief; and as
            :func:`~gems_gym.datasets.open_dataset`.
    """
    dataset = open_dataset(dataset_id)
    # ranker and belief are the dataset's copies, which the agent keeps
    spec = slate_spec(environment_of(dataset))
    world = LatentWorld(spec, dataset_ranker(dataset), dataset_belief(dataset))
    if env is not None:
        spec = gymnasium.spec(env) if isinstance(env, str) else env
        _check_recorded_in(dataset_id, world.spec, spec)
        if is_latent(spec):
            ranker, belief = ranker or spec.kwargs["ranker"], belief or spec.kwargs["belief"]
    _check_same_parts(dataset_id, (world.ranker, world.belief), ranker, belief)
    return world, dataset


def _check_same_parts(
    dataset_id: str,
    parts: tuple[Ranker | None, BeliefEncoder | None],
    ranker: str | None,
    belief: str | None,
) -> None:
    for role, wanted, load, recorded in (
        ("ranker", ranker, load_ranker, parts[0]), ("belief", belief, load_belief, parts[1])
    ):  # fmt: skip
        if wanted is not None and recorded is not None and not same_content(load(wanted), recorded):
            raise ValueError(
                f"dataset {dataset_id!r} was recorded with another {role} (sha256 {recorded.sha256}) than {wanted!r} "
                f"(sha256 {load(wanted).sha256}): its latents or beliefs mean something else there; leave it out, or "
                "collect a dataset with it"
            )


def _check_recorded_in(dataset_id: str, recorded: EnvSpec, env: EnvSpec) -> None:
    there, here = (gymnasium.make_vec(slate_spec(spec), num_envs=1).unwrapped for spec in (recorded, env))
    before = {**asdict(there.config), "catalog_hash": there.catalog.hash}  # type: ignore[attr-defined]
    now = {**asdict(here.config), "catalog_hash": here.catalog.hash}  # type: ignore[attr-defined]
    differences = [
        f"{name}={before.get(name)!r} (--env: {now.get(name)!r})"
        for name in before | now
        if before.get(name) != now.get(name)
    ]
    if differences:
        raise ValueError(
            f"dataset {dataset_id!r} was recorded in another world than --env {env.id}, with {', '.join(differences)}; "
            "leave --env out, or give a dataset of that world"
        )
