"""Policies as data, so that a process on another machine can make them: which function makes one, and of what."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

from gems_gym.artifacts import shipped
from gems_gym.policies import Policy
from gems_gym.policies.actor import NoisyActor
from gems_gym.policies.believing import BelievingPolicy
from gems_gym.trained_agents import open_trained_agent


@dataclass(frozen=True)
class DescribedPolicy:
    """Makes a policy for the environment that it acts in.

    Attributes:
        function: ``module:name`` of a function of ``env`` and the arguments.
        arguments: JSON values, and paths: the function gets them as texts. Workers get copies of files, and the paths
            of folders.

    Examples:
        >>> import gymnasium
        >>> make = DescribedPolicy("gems_gym.policies:make_policy", {"name": "random"})
        >>> make(gymnasium.make_vec("GemsSlate-diffuse_mix-v0", num_envs=2)).simulator.num_users
        2
    """

    function: str
    arguments: Mapping[str, Any]

    def __call__(self, env: VectorEnv[Any, Any, Any]) -> Policy:
        """Make it."""
        module, _, name = self.function.partition(":")
        texts = {key: str(one) if isinstance(one, Path) else one for key, one in self.arguments.items()}
        made: Policy = getattr(import_module(module), name)(env=env, **texts)
        return made

    def as_data(self, folder: Path) -> dict[str, Any]:
        """Itself in JSON types; the files that it is made of are copied to a folder that all workers see."""
        arguments = dict(self.arguments)
        for name, one in self.arguments.items():
            if isinstance(one, Path):
                there = (
                    shutil.copyfile(one, folder / f"{name}{one.suffix}") if one.is_file() else one.absolute()
                )
                arguments[name] = str(there)
        return {"function": self.function, "arguments": arguments}


def named_policy(name: str, options: Mapping[str, Any]) -> DescribedPolicy:
    """A policy by its name in the entry-point group ``gems_gym.policies``, with options."""
    return DescribedPolicy("gems_gym.policies:make_policy", {"name": name, **options})


def trained_policy(policy: str, checkpoint: int | None, noise: float | None = None) -> DescribedPolicy:
    """The policy of a trained agent.

    Args:
        policy: See :func:`~gems_gym.trained_agents.open_trained_agent`.
        checkpoint: Likewise.
        noise: See :class:`~gems_gym.policies.actor.NoisyActor`; None for a policy that shows slates.
    """
    where = Path(policy) if Path(policy).is_dir() else shipped.path(policy, "policy")
    arguments = {"policy": where, "checkpoint": checkpoint, "noise": noise}
    return DescribedPolicy(f"{__name__}:make_trained_policy", arguments)


def make_trained_policy(
    env: VectorEnv[Any, Any, Any], policy: str, checkpoint: int | None, noise: float | None
) -> Policy:
    """What :func:`trained_policy` describes, for any environment."""
    agent = open_trained_agent(policy, checkpoint)
    if noise is not None:
        return NoisyActor(agent.policy, noise)
    return agent.policy if agent.belief is None else BelievingPolicy(agent.policy, agent.belief)
