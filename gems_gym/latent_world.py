"""A world with the ranker and the belief that agents meet it through."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.policies.base import Observed, Shown
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent, slate_spec
from gems_gym.wrappers import BeliefObservation, LatentAction, VectorBeliefObservation, VectorLatentAction


@dataclass(frozen=True)
class LatentWorld:
    """A slate environment, seen as beliefs and acted on in latents; or without either, where an agent needs none.

    Attributes:
        spec: The environment's spec; of a latent one the slate environment inside is played.
        ranker: Turns latents into slates; None for an agent that shows slates itself.
        belief: Turns what was shown and clicked into beliefs; None for an agent that sees slates and clicks.

    Examples:
        >>> world = LatentWorld.of("GemsSlateLatent-diffuse_mix-v0")
        >>> world.users(3).reset(seed=0)[0].shape
        (3, 20)
    """

    spec: EnvSpec
    ranker: Ranker | None
    belief: BeliefEncoder | None

    @classmethod
    def of(
        cls,
        env: str | EnvSpec,
        ranker: str | os.PathLike[str] | None = None,
        belief: str | os.PathLike[str] | None = None,
        *,
        observes: Observed = "beliefs",
        actions: Shown = "latents",
    ) -> LatentWorld:
        """An environment with the ranker and belief that are given, or that it holds itself.

        Args:
            env: A registered id, or a spec.
            ranker: A shipped name or a file.
            belief: Likewise.
            observes: What the agent sees: without beliefs no belief is needed.
            actions: What it chooses: without latents no ranker is needed.

        Raises:
            ValueError: A latent environment and a ranker or belief beside it, a slate environment without one that is
                needed, or one that is not needed.
        """
        spec = gymnasium.spec(env) if isinstance(env, str) else env
        given: dict[str, Any] = {"ranker": ranker, "belief": belief}
        needed = {"ranker": actions == "latents", "belief": observes == "beliefs"}
        for name, part in given.items():
            if part is not None and not needed[name]:
                raise ValueError(f"the agent sees {observes} and chooses {actions}: leave --{name} out")
        if is_latent(spec):
            if any(part is not None for part in given.values()):
                raise ValueError(
                    f"{spec.id} holds a ranker and a belief: leave --ranker and --belief out, "
                    f"or give --env {slate_spec(spec).id}"
                )
            given = {name: spec.kwargs[name] for name in given}
        if lacking := [f"--{name}" for name in given if needed[name] and given[name] is None]:
            raise ValueError(
                f"give {' and '.join(lacking)}, shipped names or files made by 'gems-gym pretrain', "
                "or a GemsSlateLatent environment"
            )
        return cls(
            spec,
            load_ranker(given["ranker"]) if needed["ranker"] else None,
            load_belief(given["belief"]) if needed["belief"] else None,
        )

    @property
    def preset(self) -> str | None:
        """The name of the world's preset, if it is made of one."""
        preset = self.spec.kwargs.get("preset")
        return preset if isinstance(preset, str) else None

    def env(self, **kwargs: Any) -> gymnasium.Env[Any, Any]:
        """One user.

        Args:
            **kwargs: Handed to ``gymnasium.make``.
        """
        user = gymnasium.make(slate_spec(self.spec), **kwargs)
        if self.belief is not None:
            user = BeliefObservation(user, self.belief)
        return user if self.ranker is None else LatentAction(user, self.ranker)

    def users(
        self, num_envs: int, belief: BeliefEncoder | None = None, **kwargs: Any
    ) -> VectorEnv[Any, Any, Any]:
        """Users in lockstep.

        Args:
            num_envs: How many.
            belief: Instead of the world's, for an agent that has learned one of its own.
            **kwargs: Handed to ``gymnasium.make_vec``.
        """
        users: VectorEnv[Any, Any, Any] = gymnasium.make_vec(
            slate_spec(self.spec), num_envs=num_envs, **kwargs
        )
        if (encoder := belief or self.belief) is not None:
            users = VectorBeliefObservation(users, encoder)
        return users if self.ranker is None else VectorLatentAction(users, self.ranker)

    def slates(self, num_envs: int, **kwargs: Any) -> VectorEnv[Any, Any, Any]:
        """The same users, seen as the last slate and its clicks and acted on in slates.

        Args:
            num_envs: How many.
            **kwargs: Handed to ``gymnasium.make_vec``.
        """
        return LatentWorld(self.spec, None, None).users(num_envs, **kwargs)
