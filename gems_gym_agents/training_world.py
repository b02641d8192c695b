"""The world that an agent is to learn in, or that a dataset was recorded in, with its ranker and belief."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym import plugins
from gems_gym.artifacts import same_content
from gems_gym.beliefs import load_belief
from gems_gym.commands.worlds import chosen_world
from gems_gym.datasets import dataset_belief, dataset_ranker, open_dataset
from gems_gym.datasets.reader import environment_of
from gems_gym.latent_world import LatentWorld
from gems_gym.policies.base import chosen_by, observed_by
from gems_gym.rankers import load_ranker
from gems_gym.registration import is_latent, slate_spec

if TYPE_CHECKING:
    from minari import MinariDataset


def learning_world(
    agent: str,
    env: Sequence[str] | None,
    env_option: Sequence[str] | None,
    dataset: str | None,
    ranker: str | None,
    belief: str | None,
) -> tuple[LatentWorld, MinariDataset | None]:
    """The world that an agent is to learn in, and the dataset that it learns from, None for one that learns online.

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
        return world, None
    if dataset is None:
        raise ValueError(f"agent {agent!r} learns from datasets: give --dataset")
    return dataset_world(dataset, chosen_world(env, env_option) if env else None, ranker, belief)


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
    spec = slate_spec(
        environment_of(dataset)
    )  # ranker and belief are the dataset's copies, which the agent keeps
    world = LatentWorld(spec, dataset_ranker(dataset), dataset_belief(dataset))
    if env is not None:
        spec = gymnasium.spec(env) if isinstance(env, str) else env
        _check_recorded_in(dataset_id, world.spec, spec)
        if is_latent(spec):
            ranker, belief = ranker or spec.kwargs["ranker"], belief or spec.kwargs["belief"]
    for role, wanted, load, recorded in (
        ("ranker", ranker, load_ranker, world.ranker),
        ("belief", belief, load_belief, world.belief),
    ):
        if wanted is not None and recorded is not None and not same_content(load(wanted), recorded):
            raise ValueError(
                f"dataset {dataset_id!r} was recorded with another {role} (sha256 {recorded.sha256}) than {wanted!r} "
                f"(sha256 {load(wanted).sha256}): its latents or beliefs mean something else there; leave it out, or "
                "collect a dataset with it"
            )
    return world, dataset


def _check_recorded_in(dataset_id: str, recorded: EnvSpec, env: EnvSpec) -> None:
    there, here = (gymnasium.make_vec(slate_spec(spec), num_envs=1).unwrapped for spec in (recorded, env))
    before = {**asdict(there.config), "catalog_hash": there.catalog.hash}  # type: ignore[attr-defined]
    now = {**asdict(here.config), "catalog_hash": here.catalog.hash}  # type: ignore[attr-defined]
    differences = [
        f"{name}={before[name]!r} (--env: {now[name]!r})" for name in now if before[name] != now[name]
    ]
    if differences:
        raise ValueError(
            f"dataset {dataset_id!r} was recorded in another world than --env {env.id}, with {', '.join(differences)}; "
            "leave --env out, or give a dataset of that world"
        )
