"""Many users in lockstep: beliefs in, latents out, as one Gymnasium vector environment."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.envs.latent import AroundSlates
from gems_gym.envs.rendering import RENDER_FPS, RENDER_MODES, Frame
from gems_gym.envs.slate_vector import SlateVectorEnv
from gems_gym.rankers import Ranker
from gems_gym.simulator import ItemEmbeddings
from gems_gym.world_config import WorldConfig
from gems_gym.wrappers import VectorBeliefObservation, VectorLatentAction


class LatentSlateVectorEnv(AroundSlates, VectorEnv[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]):
    """Many users of one world, stepped together; a belief is each one's observation, a latent each one's action.

    Sub-environment i, reset with seed s, gives bit for bit what :class:`gems_gym.envs.latent.LatentSlateEnv` reset
    with seed s + i gives. Infos and autoreset modes are those of :class:`gems_gym.envs.SlateVectorEnv`;
    ``infos["final_obs"]`` holds the ended sessions' last beliefs.

    Args:
        num_envs: Users stepped together, ≥ 1.
        preset: A name in ``gems_gym.config.PRESETS`` or a ``SlateConfig``.
        ranker: A shipped ranker's name, a ranker's file, or a ranker.
        belief: A shipped belief's name, a belief encoder's file, or a belief encoder.
        item_embeddings: Your own catalogue, an array or the path of an .npy file.
        autoreset_mode: ``"same_step"`` (default), ``"next_step"`` or ``"disabled"``.
        max_episode_steps: Gymnasium's name for ``episode_length``; what ``make_vec`` hands over.
        render_mode: As in ``SlateVectorEnv``.
        num_threads: Threads that share the users of a simulator's step, ≥ 1.
        **overrides: Fields of :class:`gems_gym.config.SlateConfig`.

    Raises:
        ValueError, FileNotFoundError, TypeError: As ``SlateVectorEnv`` and ``LatentSlateEnv``.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}

    def __init__(
        self,
        num_envs: int = 1,
        preset: str | WorldConfig = "diffuse_topdown",
        *,
        ranker: Ranker | str | os.PathLike[str],
        belief: BeliefEncoder | str | os.PathLike[str],
        item_embeddings: ItemEmbeddings | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        num_threads: int = 1,
        **overrides: Any,
    ) -> None:
        self._core: SlateVectorEnv = SlateVectorEnv(
            num_envs,
            preset,
            item_embeddings,
            autoreset_mode,
            max_episode_steps,
            render_mode,
            num_threads,
            **overrides,
        )
        believing = VectorBeliefObservation(self._core, belief)
        self._world = VectorLatentAction(believing, ranker)
        self.ranker, self.belief = self._world.ranker, believing.encoder
        self.num_envs, self.render_mode = self._core.num_envs, render_mode
        self.autoreset_mode, self.metadata = self._core.autoreset_mode, self._core.metadata
        self.single_observation_space = self._world.single_observation_space
        self.single_action_space = self._world.single_action_space
        self.observation_space = self._world.observation_space
        self.action_space = self._world.action_space

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Open new sessions; arguments and errors as :meth:`SlateVectorEnv.reset`.

        Returns:
            Beliefs, float32 ``(num_envs, belief.size)``, and infos.
        """
        return self._world.reset(seed=seed, options=options)

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Show every user the slate that the ranker makes of a latent.

        Args:
            actions: Floats ``(num_envs, ranker.action_size)`` in [-1, 1].

        Returns:
            Beliefs, rewards float32 ``(num_envs,)``, terminations (whose user left), truncations, infos.

        Raises:
            ValueError: Latents that are not finite, out of the box, or of another shape or dtype.
            ResetNeeded: Before the first reset, or after a session's end without autoreset.
        """
        return self._world.step(actions)

    def render(self) -> tuple[Frame, ...] | None:
        """Every user's session as it stands, as :meth:`SlateVectorEnv.render` gives it."""
        return self._core.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environment and its window; called by ``close()``, which may be called twice."""
        self._core.close()

    # The raw environment's picture shows the spec's id, and its users' generators are the only ones.

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Every user's generator; empty before the first reset."""
        return self._core.np_random

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """Every user's seed; empty before the first reset."""
        return self._core.np_random_seed
