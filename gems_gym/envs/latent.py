"""One user's session as an environment of ordinary continuous control: belief in, latent out."""

from __future__ import annotations

import os
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from gems_gym.beliefs import BeliefEncoder
from gems_gym.envs.rendering import RENDER_FPS, RENDER_MODES, Frame
from gems_gym.envs.slate import SlateEnv
from gems_gym.rankers import Ranker
from gems_gym.simulator import Catalog, ItemEmbeddings, SlateSimulator
from gems_gym.world_config import WorldConfig
from gems_gym.wrappers import BeliefObservation, LatentAction


class AroundSlates:
    """Base of environments around a raw one: its world is theirs, and so is its spec, which its picture shows."""

    _core: Any  # SlateEnv or SlateVectorEnv

    @property
    def config(self) -> WorldConfig:
        """The world's parameters."""
        config: WorldConfig = self._core.config
        return config

    @property
    def catalog(self) -> Catalog:
        """The world's items."""
        catalog: Catalog = self._core.catalog
        return catalog

    @property
    def simulator(self) -> SlateSimulator:
        """The world itself, with its users."""
        simulator: SlateSimulator = self._core.simulator
        return simulator

    @property
    def spec(self) -> EnvSpec | None:
        """How it was made, if by ``gymnasium.make`` or ``gymnasium.make_vec``."""
        spec: EnvSpec | None = self._core.spec
        return spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._core.spec = spec


class LatentSlateEnv(AroundSlates, gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """The sessions of :class:`gems_gym.envs.SlateEnv`, observed as beliefs and acted in through a ranker.

    ## Description
    A slate of 10 of 1,000 items is no action that an agent of continuous control can take, and the slate shown last
    is no state. Here a pretrained *ranker* turns a latent action into the slate that the user is shown, and a
    pretrained *belief* encoder folds all slates and clicks of the session into the observation, as in GeMS
    (Deffayet, Thonet, Renders, de Rijke, WSDM 2023, arXiv 2301.08632). Both come with the package for the six
    published worlds. Bit for bit ``LatentAction(BeliefObservation(SlateEnv(...), belief), ranker)``, but one class
    whose spec survives JSON.

    ## Action Space
    ``Box(-1, 1, (n,), float32)``, n = 32 with the shipped rankers. A latent that is not finite, out of the box, or
    of another shape or dtype is a ``ValueError``.

    ## Observation Space
    ``Box(-1, 1, (m,), float32)``, m = 20 with the shipped beliefs.

    ## Rewards
    The number of clicks on the slate, 0 … slate_size.

    ## Starting State
    As in ``SlateEnv``; the first observation is the belief after the first slate and its clicks.

    ## Episode End
    Truncated after ``episode_length`` steps (100). Never terminated, unless users leave, as in ``GemsSlate-*``. No
    ``max_episode_steps`` is registered.

    ## Information
    As in ``SlateEnv``: ``slate`` and ``clicks`` as shown, and the privileged rest.

    ## Arguments
    ``preset``, ``item_embeddings``, ``render_mode`` and every field of :class:`gems_gym.config.SlateConfig` as in
    ``SlateEnv``. ``ranker`` and ``belief``: the name of a shipped artefact (``gems_gym.artifacts.shipped.names()``),
    a local dataset's copy (``dataset:ID/ranker``, ``dataset:ID/belief``) or the path of a file, as text, which keeps
    the spec fit for JSON; objects are taken too. Both must have been
    made for the catalogue and the slate size; parameters of the users' behaviour may be changed.

    ```python
    >>> import gymnasium, gems_gym
    >>> env = gymnasium.make("GemsSlateLatent-diffuse_mix-v0", episode_length=50)
    >>> belief, info = env.reset(seed=0)
    >>> belief, reward, terminated, truncated, info = env.step(env.action_space.sample())
    >>> belief.shape, env.action_space.shape, info["slate"].shape
    ((20,), (32,), (10,))

    ```

    ## Version History
    * v0: the dynamics of the published simulator, as ``GemsSlate-*-v0``. The shipped artefacts are part of a release
      of gems-gym: another release may ship better ones. Their sha256 is ``env.unwrapped.ranker.sha256``.

    Raises:
        ValueError: As ``SlateEnv``; an unknown artefact's name (the message names the nearest, and how to make one),
            or an artefact of another kind, catalogue or slate size.
        FileNotFoundError: A file that does not exist.
        TypeError: As ``SlateEnv``.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": RENDER_MODES,
        "render_fps": RENDER_FPS,
    }

    def __init__(
        self,
        preset: str | WorldConfig = "diffuse_topdown",
        *,
        ranker: Ranker | str | os.PathLike[str],
        belief: BeliefEncoder | str | os.PathLike[str],
        item_embeddings: ItemEmbeddings | None = None,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        self._core: SlateEnv = SlateEnv(preset, item_embeddings, render_mode, **overrides)
        self.render_mode = render_mode
        believing = BeliefObservation(self._core, belief)
        self._world = LatentAction(believing, ranker)
        self.ranker, self.belief = self._world.ranker, believing.encoder
        self.observation_space = self._world.observation_space
        self.action_space = self._world.action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Open a session; arguments and errors as :meth:`SlateEnv.reset`.

        Returns:
            The belief after the first slate, float32 ``(belief.size,)``, and the session's info.
        """
        return self._world.reset(seed=seed, options=options)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Show the slate that the ranker makes of a latent.

        Args:
            action: Floats ``(ranker.action_size,)`` in [-1, 1].

        Returns:
            Belief, reward (clicks), terminated (whether the user left), truncated, info.

        Raises:
            ValueError: A latent that is not finite, out of the box, or of another shape or dtype.
            ResetNeeded: Before the first reset, or after the session's end.
        """
        return self._world.step(action)  # type: ignore[return-value]

    def short_term_oracle_slate(self) -> NDArray[np.int64]:
        """As :meth:`SlateEnv.short_term_oracle_slate`: a slate, no action of this environment."""
        return self._core.short_term_oracle_slate()

    def render(self) -> Frame | None:
        """The session as it stands, as :meth:`SlateEnv.render` gives it."""
        return self._core.render()

    def close(self) -> None:
        """Close the environment and its window; closing twice does nothing."""
        self._core.close()

    # What Gymnasium keeps on an environment is kept on the raw one: its picture shows the spec's id, and there is one
    # generator.

    @property
    def _np_random(self) -> np.random.Generator | None:
        return self._core._np_random

    @_np_random.setter
    def _np_random(self, generator: np.random.Generator | None) -> None:
        self._core._np_random = generator

    @property
    def _np_random_seed(self) -> int | None:
        return self._core._np_random_seed

    @_np_random_seed.setter
    def _np_random_seed(self, seed: int | None) -> None:
        self._core._np_random_seed = seed
