"""A world with the ranker and the belief that agents meet it through."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from gems_gym.beliefs import BeliefEncoder, load_belief
from gems_gym.rankers import Ranker, load_ranker
from gems_gym.registration import is_latent, slate_spec
from gems_gym.wrappers import BeliefObservation, LatentAction, VectorBeliefObservation, VectorLatentAction


@dataclass(frozen=True)
class LatentWorld:
    """A slate environment, seen as beliefs and acted on in latents.

    Attributes:
        spec: The environment's spec; of a latent one the slate environment inside is played.
        ranker: Turns latents into slates.
        belief: Turns what was shown and clicked into beliefs.

    Examples:
        >>> world = LatentWorld.of("GemsSlateLatent-diffuse_mix-v0")
        >>> world.users(3).reset(seed=0)[0].shape
        (3, 20)
    """

    spec: EnvSpec
    ranker: Ranker
    belief: BeliefEncoder

    @classmethod
    def of(
        cls,
        env: str | EnvSpec,
        ranker: str | os.PathLike[str] | None = None,
        belief: str | os.PathLike[str] | None = None,
    ) -> LatentWorld:
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
        return cls(spec, load_ranker(ranker), load_belief(belief))

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
        return LatentAction(BeliefObservation(user, self.belief), self.ranker)

    def users(
        self, num_envs: int, belief: BeliefEncoder | None = None, **kwargs: Any
    ) -> VectorEnv[Any, Any, Any]:
        """Users in lockstep.

        Args:
            num_envs: How many.
            belief: Instead of the world's, for an agent that has learned one of its own.
            **kwargs: Handed to ``gymnasium.make_vec``.
        """
        users = gymnasium.make_vec(slate_spec(self.spec), num_envs=num_envs, **kwargs)
        return VectorLatentAction(VectorBeliefObservation(users, belief or self.belief), self.ranker)

    def slates(self, num_envs: int, **kwargs: Any) -> VectorEnv[Any, Any, Any]:
        """The same users, seen as the last slate and its clicks and acted on in slates.

        Args:
            num_envs: How many.
            **kwargs: Handed to ``gymnasium.make_vec``.
        """
        return gymnasium.make_vec(slate_spec(self.spec), num_envs=num_envs, **kwargs)
