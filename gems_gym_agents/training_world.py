"""What an agent is trained in: a world with its ranker and belief, out of an environment's id or out of a dataset."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.datasets import dataset_belief, dataset_ranker, open_dataset
from gems_gym.datasets.opening import environment_of
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent, slate_spec
from gems_gym.trained_agents import latent_vector_env


@dataclass(frozen=True)
class TrainingWorld:
    """A world, and the ranker and the belief that an agent meets it through.

    Attributes:
        spec: The environment's spec.
        ranker: Turns latents into slates.
        belief: Turns what was shown and clicked into beliefs.
        dataset: What was recorded there, for agents that learn from it.
    """

    spec: EnvSpec
    ranker: Ranker
    belief: BeliefEncoder
    dataset: Any = None

    @property
    def preset(self) -> str | None:
        """The name of the world's preset, if it is made of one."""
        preset = self.spec.kwargs.get("preset")
        return preset if isinstance(preset, str) else None

    def users(
        self, num_envs: int, belief: BeliefEncoder | None = None, **kwargs: Any
    ) -> VectorEnv[Any, Any, Any]:
        """Users in lockstep, seen as beliefs and acted on in latents.

        Args:
            num_envs: How many.
            belief: Instead of the world's.
            **kwargs: Handed to ``gymnasium.make_vec``.
        """
        return latent_vector_env(self.spec, num_envs, self.ranker, belief or self.belief, **kwargs)


def environment_world(env: str | EnvSpec, ranker: str | None, belief: str | None) -> TrainingWorld:
    """An environment with the ranker and belief that are given, or that it holds itself.

    Args:
        env: A registered id, or a spec.
        ranker: A shipped name or a file.
        belief: Likewise.

    Raises:
        ValueError: A latent environment and a ranker or belief beside it, or a slate environment without them.
    """
    spec = gymnasium.spec(env) if isinstance(env, str) else env
    if is_latent(spec):
        if ranker is not None or belief is not None:
            raise ValueError(
                f"{spec.id} holds a ranker and a belief: leave --ranker and --belief out, "
                f"or give --env {slate_spec(spec).id}"
            )
        ranker, belief = spec.kwargs["ranker"], spec.kwargs["belief"]
    if ranker is None or belief is None:
        raise ValueError(
            "give --ranker and --belief, shipped names or files made by 'gems-gym pretrain', "
            "or a GemsSlateLatent environment"
        )
    return TrainingWorld(spec, load_ranker(ranker), load_belief(belief))


def dataset_world(
    dataset_id: str, env: str | EnvSpec | None = None, ranker: str | None = None, belief: str | None = None
) -> TrainingWorld:
    """A dataset with the world, ranker and belief that it was recorded with.

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
    world = TrainingWorld(spec, dataset_ranker(dataset), dataset_belief(dataset), dataset)
    if env is not None:
        spec = gymnasium.spec(env) if isinstance(env, str) else env
        _check_recorded_in(dataset_id, world.spec, spec)
        if is_latent(spec):
            ranker, belief = ranker or spec.kwargs["ranker"], belief or spec.kwargs["belief"]
    for role, wanted, load, recorded in (
        ("ranker", ranker, load_ranker, world.ranker),
        ("belief", belief, load_belief, world.belief),
    ):
        if wanted is not None and load(wanted).sha256 != recorded.sha256:
            raise ValueError(
                f"dataset {dataset_id!r} was recorded with another {role} (sha256 {recorded.sha256}) than {wanted!r} "
                f"(sha256 {load(wanted).sha256}): its latents or beliefs mean something else there; leave it out, or "
                "collect a dataset with it"
            )
    return world


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
