"""One user's session as a Gymnasium environment."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from gems_gym.envs import spaces
from gems_gym.envs.rendering import RENDER_FPS, RENDER_MODES, Frame, SessionRenderer
from gems_gym.envs.spaces import SessionStatus
from gems_gym.simulator import ItemEmbeddings, check_slates, make_simulator, resolve_world
from gems_gym.simulator.state import Shown
from gems_gym.world_config import WorldConfig

Observation = dict[str, NDArray[Any]]
_ONLY_USER = np.zeros(1, np.int64)


class SlateEnv(gymnasium.Env[Observation, NDArray[np.int64]]):
    """A user opens a session, is shown a slate at every step, clicks, gets bored of topics, and changes preferences.

    ## Description
    A catalogue of 1,000 items in 10 topics; a user with a preference over them. At every step the agent shows a
    slate of 10 items, the user clicks some. A topic that was clicked often in the last steps bores the user for a
    while; every click moves the user's preference towards the clicked item. An agent that always shows the items with
    the highest scores soon bores its users, so good agents plan. The dynamics are those of the simulator published
    with GeMS (Deffayet, Thonet, Renders, de Rijke, WSDM 2023, arXiv 2301.08632, Section 5.1).

    ## Action Space
    ``MultiDiscrete([num_items] * slate_size)``: the item in each position, top first; int64 ``(10,)``.
    Duplicates are allowed.

    ## Observation Space
    ``Dict(slate=MultiDiscrete([num_items] * slate_size), clicks=MultiBinary(slate_size))``: the slate just shown
    and what the user clicked on it. The user's preference and boredom are hidden.

    ## Rewards
    The number of clicks on the slate, 0 … slate_size.

    ## Starting State
    A new user, drawn from the environment's generator, has been shown the first slate (the item that stands out
    most in each topic); the first observation is that slate with its clicks, which are part of no reward.

    ## Episode End
    Truncated after ``episode_length`` steps (100). The environment truncates by itself and registers no
    ``max_episode_steps``, so ``episode_length=`` may be longer or shorter. Never terminated, unless users leave:
    ``leave_probability=0.1`` gives every topic that bored the user at a slate a chance of 0.1 to end the session then;
    with ``leave_after=3`` as well, this chance comes with each slate that makes three or more in a row without a click.
    A session ends terminated or truncated, never both.

    ## Information
    ``info`` has the same keys at every step, reset included: ``slate`` and ``clicks`` as observed, ``scores`` and
    ``relevances`` float32 ``(slate_size,)`` of the items shown, ``bored`` bool ``(num_topics,)`` as used for this
    slate, ``user_state`` float32 ``(embedding_size,)`` after it. All but the first two are privileged.

    ## Arguments
    ``preset``: a name in ``gems_gym.config.PRESETS`` or a ``SlateConfig``. ``item_embeddings``: your own
    catalogue, an ``(num_items, embedding_size)`` array or the path of an .npy file (the form that a
    spec can be saved with). ``render_mode``: ``"ansi"`` (text), ``"rgb_array"`` (pictures), ``"human"`` (a window)
    or None; all but the text require the extra ``render``. Every field of :class:`gems_gym.config.SlateConfig` by
    keyword.

    ```python
    >>> import gymnasium, gems_gym
    >>> env = gymnasium.make("GemsSlate-diffuse_mix-v0", episode_length=50)
    >>> observation, info = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, info = env.step(env.action_space.sample())

    ```

    ## Version History
    * v1: v0 with three oddities of the published simulator corrected: clicks on the first slate are logged with a time
      stamp like all others (in v0 they have none and leave the log late); the short-term topic becomes that of the item
      clicked last (in v0 that of the item whose id is the click's position); a click counts as recent in exactly
      ``boredom_moving_window`` steps (in v0 in one more). Returns under both: ``docs/environments.md``.
    * v0: the dynamics of the published simulator, oddities included.

    Raises:
        ValueError: An unknown preset, a parameter out of range, or embeddings that do not fit.
        TypeError: An unknown keyword (the message names the nearest) or a value of the wrong type.
    """

    metadata: ClassVar[dict[str, Any]] = {  # type: ignore[misc]
        "render_modes": RENDER_MODES,
        "render_fps": RENDER_FPS,
    }

    def __init__(
        self,
        preset: str | WorldConfig = "diffuse_topdown",
        item_embeddings: ItemEmbeddings | None = None,
        render_mode: str | None = None,
        **overrides: Any,
    ) -> None:
        self.config, self.catalog = resolve_world(preset, item_embeddings, overrides)
        spaces.check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self.observation_space = spaces.observation_space(self.config)
        self.action_space = spaces.action_space(self.config)
        self.simulator = make_simulator(self.config, self.catalog, num_users=1)
        self._status = SessionStatus.NOT_STARTED
        self.shown: Shown | None = None
        self._renderer = None if render_mode is None else SessionRenderer(render_mode, self.simulator)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Open a session with a new user and show the first slate.

        Args:
            seed: The user's seed; None draws the next user from the environment's generator.
            options: ``{"user": preference}`` sets the user, real numbers ``(embedding_size,)``; it is scaled so
                that its block norms add up to 1, as a drawn user's do. ``{"first_slate": item ids}`` sets the
                slate that the session opens with, integers ``(slate_size,)``. Both hold for this session only
                and leave the user's randomness as it is.

        Returns:
            The first observation and its info.

        Raises:
            ValueError: An unknown option (the message names the nearest), or one whose value does not fit.
            TypeError: A seed or an option of the wrong type.
            ClosedEnvironmentError: After ``close()``.
        """
        self._status.check_open()
        seed = spaces.check_seed(seed)
        given = spaces.opening(spaces.check_options(options, spaces.SESSION_OPTIONS), self.config, _ONLY_USER)
        super().reset(seed=seed)
        self.shown = self.simulator.open_sessions([self.np_random], **given)
        self._status = SessionStatus.RUNNING
        if self._renderer is not None:
            self._renderer.opened(_ONLY_USER)
            self._renderer.show(self.shown, self._title)
        return self._observed(self.shown)

    def step(self, action: NDArray[np.int64]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Show a slate.

        Args:
            action: Item ids, integers ``(slate_size,)`` in ``[0, num_items)``.

        Returns:
            Observation, reward (clicks), terminated (whether the user left), truncated, info.

        Raises:
            ValueError: A slate of the wrong length, or an item that is not in the catalogue.
            TypeError: Ids that are no integers.
            ResetNeeded: Before the first reset, or after the session's end.
        """
        self._status.check_running()
        slate = check_slates(action, (self.config.slate_size,))
        self.shown = self.simulator.step(slate[None])
        reward = float(self.shown.rewards[0])
        if self._renderer is not None:
            self._renderer.stepped(_ONLY_USER, self.shown.rewards)
            self._renderer.show(self.shown, self._title)
        terminated = bool(self.simulator.users.left[0])
        truncated = not terminated and bool(self.simulator.users.step[0] >= self.config.episode_length)
        if terminated or truncated:
            self._status = SessionStatus.ENDED
        observation, info = self._observed(self.shown)
        return observation, reward, terminated, truncated, info

    def _observed(self, shown: Shown) -> tuple[Observation, dict[str, Any]]:
        observation = spaces.row_of(spaces.observations_of(shown, self.config), 0)
        return observation, spaces.row_of(spaces.infos_of(shown), 0)

    def short_term_oracle_slate(self) -> NDArray[np.int64]:
        """The slate with the highest scores for this user now, best first: greedy and privileged.

        Returns:
            int64 ``(slate_size,)``.
        """
        self._status.check_running("short_term_oracle_slate")
        found: NDArray[np.int64] = self.simulator.short_term_oracle_slates()[0]
        return found

    def render(self) -> Frame | None:
        """The session as it stands.

        Returns:
            Text where ``render_mode`` is ``"ansi"``; a picture, uint8 ``(480, 640, 3)``, where it is
            ``"rgb_array"``; None where it is ``"human"`` (every step shows itself in the window) or None.

        Raises:
            ResetNeeded: Before the first reset.
            ClosedEnvironmentError: After ``close()``.
        """
        self._status.check_open()
        if self._renderer is None:
            return None
        if self.shown is None:
            raise ResetNeeded("render was called before the first reset; call reset() first")
        if self.render_mode == "human":
            return None
        return self._renderer.frame(self.shown, 0, self._title)

    @property
    def _title(self) -> str:
        return self.spec.id if self.spec is not None else type(self).__name__

    def close(self) -> None:
        """Close the environment and its window; closing twice does nothing."""
        self._status = SessionStatus.CLOSED
        if self._renderer is not None:
            self._renderer.close()
