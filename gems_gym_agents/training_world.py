"""The world that a dataset was recorded in, with its ranker and belief."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import gymnasium
from gymnasium.envs.registration import EnvSpec

from gems_gym.artifacts import same_content
from gems_gym.beliefs import load_belief
from gems_gym.datasets import dataset_belief, dataset_ranker, open_dataset
from gems_gym.datasets.reader import environment_of
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import load_ranker
from gems_gym.registration import is_latent, slate_spec

if TYPE_CHECKING:
    from minari import MinariDataset


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
