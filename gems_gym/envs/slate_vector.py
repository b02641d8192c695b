"""Many users in lockstep as one Gymnasium vector environment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Threads, checked
from gems_gym.common.machine import check_fits_memory
from gems_gym.envs import spaces
from gems_gym.envs.rendering import RENDER_FPS, RENDER_MODES, Frame, SessionRenderer
from gems_gym.envs.spaces import Arrays, SessionStatus
from gems_gym.errors import unknown_name
from gems_gym.simulator import ItemEmbeddings, check_slates, make_simulator, resolve_world
from gems_gym.simulator.state import Shown
from gems_gym.world_config import WorldConfig


class SlateVectorEnv(VectorEnv[Arrays, NDArray[np.int64], NDArray[Any]]):
    """Many users of one world, stepped together by the compiled simulator.

    Sub-environment i, reset with seed s, gives bit for bit what :class:`gems_gym.envs.SlateEnv` reset with seed
    s + i gives. Spaces, rewards, infos and arguments are those of ``SlateEnv``, batched: infos are arrays with
    one row a user, beside ``_key`` masks, as Gymnasium's vector environments give them.

    Args:
        num_envs: Users stepped together, ≥ 1.
        preset: A name in ``gems_gym.config.PRESETS`` or a ``SlateConfig``.
        item_embeddings: Your own catalogue, an array or the path of an .npy file.
        autoreset_mode: What happens at a session's end: ``"same_step"`` (default: the step that ends a session
            returns the next session's first observation, the last one is in ``infos["final_obs"]``),
            ``"next_step"`` (the step after ignores the action and opens the next session), ``"disabled"``
            (``reset`` must be called, for all users or for ``options={"reset_mask": mask}``).
        max_episode_steps: Gymnasium's name for ``episode_length``; what ``make_vec`` hands over.
        render_mode: ``"ansi"``, ``"rgb_array"``, ``"human"`` (one window, the first four users) or None.
        num_threads: Threads that share the users of a step, ≥ 1; results are the same bits. Pays from some
            thousand users on.
        **overrides: Fields of :class:`gems_gym.config.SlateConfig`.

    Raises:
        ValueError: A value out of range, or embeddings that do not fit.
        TypeError: An unknown keyword (the message names the nearest) or a value of the wrong type.
    """

    metadata: dict[str, Any] = {"render_modes": RENDER_MODES, "render_fps": RENDER_FPS}

    def __init__(
        self,
        num_envs: int = 1,
        preset: str | WorldConfig = "diffuse_topdown",
        item_embeddings: ItemEmbeddings | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.SAME_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        num_threads: int = 1,
        **overrides: Any,
    ) -> None:
        self.num_envs = checked("num_envs", num_envs, Count)
        num_threads = checked("num_threads", num_threads, Threads)
        if max_episode_steps is not None:
            if "episode_length" in overrides:
                raise ValueError("give episode_length or max_episode_steps, not both: they mean the same")
            overrides["episode_length"] = max_episode_steps
        self.config, self.catalog = resolve_world(preset, item_embeddings, overrides)
        check_fits_memory(f"num_envs={self.num_envs}", self.config.bytes_needed(self.num_envs))
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        spaces.check_render_mode(render_mode, RENDER_MODES)
        self.render_mode = render_mode
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.single_observation_space = spaces.observation_space(self.config)
        self.single_action_space = spaces.action_space(self.config)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.simulator = make_simulator(self.config, self.catalog, self.num_envs, num_threads)
        self._user_rngs: list[np.random.Generator] = []
        self._user_seeds: list[int] = []
        self._status = SessionStatus.NOT_STARTED
        self._ended = np.zeros(self.num_envs, np.bool_)  # whose session has ended and waits for a reset
        self._everyone = np.ones(self.num_envs, np.bool_)
        self.shown: Shown | None = None
        self._renderer = None if render_mode is None else SessionRenderer(render_mode, self.simulator)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Open new sessions with new users.

        Args:
            seed: An integer s gives user i the seed s + i; a sequence gives each its own; None draws the next
                users from the generators there are.
            options: ``{"reset_mask": bool array (num_envs,)}`` resets only some users, the others'
                observations are repeated. ``user`` and ``first_slate`` as in :meth:`SlateEnv.reset`, with a
                row for each user or one for all; sessions that autoreset opens later draw their own.

        Returns:
            Observations and infos, batched.

        Raises:
            ValueError: An unknown option (the message names the nearest), or one whose value does not fit.
            TypeError: A seed or an option of the wrong type.
            ClosedEnvironmentError: After ``close()``.
        """
        self._status.check_open()
        options = spaces.check_options(options, ("reset_mask", *spaces.SESSION_OPTIONS))
        mask = self._reset_mask(options)
        rows = np.flatnonzero(mask)
        given = spaces.opening(options, self.config, rows, self.num_envs)
        self._seed_users(seed, mask)
        opened = self.simulator.open_sessions([self._user_rngs[row] for row in rows], rows, **given)
        self._ended[rows] = False
        self._status = SessionStatus.RUNNING
        self.shown = opened if len(rows) == self.num_envs else _with_rows(self.shown, rows, opened)
        self._record(opened=mask)
        return spaces.observations_of(self.shown, self.config), _masked(spaces.infos_of(self.shown), mask)

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Arrays, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Show every user a slate.

        Args:
            actions: Item ids, integers ``(num_envs, slate_size)`` in ``[0, num_items)``.

        Returns:
            Observations, rewards float32 ``(num_envs,)``, terminations (whose user left), truncations, infos.

        Raises:
            ValueError: Slates of another shape, or an item that is not in the catalogue.
            TypeError: Ids that are no integers.
            ResetNeeded: Before the first reset, or after a session's end without autoreset.
        """
        self._status.check_running()
        slates = check_slates(actions, (self.num_envs, self.config.slate_size))
        if self._ended.any():
            if self.autoreset_mode is AutoresetMode.DISABLED:
                SessionStatus.ENDED.check_running()
            return self._step_and_open(slates)
        shown = self.simulator.step(slates)
        terminated, truncated = self.simulator.terminated, self.simulator.truncated
        ended = terminated | truncated
        if ended.any():
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                return self._end_and_open(shown, terminated, truncated)
            self._ended = ended
        self.shown = shown
        self._record(stepped=self._everyone)
        infos = _masked(spaces.infos_of(shown), self._everyone)
        return spaces.observations_of(shown, self.config), shown.rewards, terminated, truncated, infos

    def _end_and_open(
        self, shown: Shown, terminated: NDArray[np.bool_], truncated: NDArray[np.bool_]
    ) -> tuple[Arrays, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Same-step autoreset: hand out what ended under ``final_obs``, and the next sessions' openings."""
        final, ended = spaces.observations_of(shown, self.config), terminated | truncated
        final_observations = np.full(self.num_envs, None, dtype=object)
        rows = np.flatnonzero(ended)
        for row in rows.tolist():
            final_observations[row] = spaces.row_of(final, row)
        opened = self.simulator.open_sessions([self._user_rngs[row] for row in rows], rows)
        self.shown = opened if len(rows) == self.num_envs else _with_rows(shown, rows, opened)
        self._record(opened=ended, stepped=~ended)
        infos = _masked(spaces.infos_of(self.shown), self._everyone)
        infos["final_obs"], infos["_final_obs"] = final_observations, ended
        infos["final_info"] = _masked(spaces.infos_of(shown), ended)
        infos["_final_info"] = ended.copy()
        return spaces.observations_of(self.shown, self.config), shown.rewards, terminated, truncated, infos

    def _step_and_open(
        self, slates: NDArray[np.int64]
    ) -> tuple[Arrays, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Next-step autoreset: users whose session has ended open the next one, the others step."""
        ended, going_on = np.flatnonzero(self._ended), np.flatnonzero(~self._ended)
        check_slates(slates[going_on], (len(going_on), self.config.slate_size), self.config.num_items)
        opened = self.simulator.open_sessions([self._user_rngs[row] for row in ended], ended)
        opened.rewards[:] = 0.0  # the first slate's clicks are no reward
        self.shown = _with_rows(self.shown, ended, opened)
        self.shown = _with_rows(self.shown, going_on, self.simulator.step(slates[going_on], which=going_on))
        self._record(opened=self._ended, stepped=~self._ended)
        terminated, truncated = self.simulator.terminated, self.simulator.truncated
        self._ended = terminated | truncated
        infos = _masked(spaces.infos_of(self.shown), self._everyone)
        return (
            spaces.observations_of(self.shown, self.config),
            self.shown.rewards,
            terminated,
            truncated,
            infos,
        )

    def _reset_mask(self, options: dict[str, Any]) -> NDArray[np.bool_]:
        mask = options.get("reset_mask", self._everyone)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(
                f"options['reset_mask'] must be a bool array of shape ({self.num_envs},), got {mask!r}"
            )
        if not mask.any():
            raise ValueError("options['reset_mask'] must name at least one user to reset, got all False")
        if not mask.all() and self.shown is None:
            raise ValueError("options['reset_mask'] must be all True at the first reset: no session runs yet")
        return mask

    def _seed_users(self, seed: int | Sequence[int | None] | None, mask: NDArray[np.bool_]) -> None:
        if seed is None or isinstance(seed, int | np.integer):
            spaces.check_seed(seed)
            seeds = [None if seed is None else int(seed) + row for row in range(self.num_envs)]
        else:
            seeds = list(checked("seed", seed, tuple[spaces.SEED, ...]))
            if len(seeds) != self.num_envs:
                raise ValueError(
                    f"seed must hold one seed per user, num_envs={self.num_envs}; got {len(seeds)}"
                )
        if not self._user_rngs:
            self._user_rngs = [np.random.default_rng(0)] * self.num_envs  # all replaced right below
            self._user_seeds = [-1] * self.num_envs
        for row in np.flatnonzero(mask):
            if seeds[row] is not None or self._user_seeds[row] == -1:
                self._user_rngs[row], self._user_seeds[row] = seeding.np_random(seeds[row])

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Every user's generator, as SyncVectorEnv gives them; empty before the first reset."""
        return tuple(self._user_rngs)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """Every user's seed, as SyncVectorEnv gives them; empty before the first reset."""
        return tuple(self._user_seeds)

    def render(self) -> tuple[Frame, ...] | None:
        """Every user's session as it stands, as :meth:`SlateEnv.render` gives one.

        Returns:
            Texts or pictures, one for each user; None before the first reset, where ``render_mode`` is
            ``"human"`` (every step shows itself in the window), and where it is None.

        Raises:
            ClosedEnvironmentError: After ``close()``.
        """
        self._status.check_open()
        if self._renderer is None or self.shown is None or self.render_mode == "human":
            return None
        return self._renderer.frames(self.shown, self._title)

    def _record(
        self, opened: NDArray[np.bool_] | None = None, stepped: NDArray[np.bool_] | None = None
    ) -> None:
        """Inform the renderer, if there is one, whose session has opened and who has taken a step."""
        if self._renderer is None or self.shown is None:
            return
        if opened is not None:
            self._renderer.opened(np.flatnonzero(opened))
        if stepped is not None:
            self._renderer.stepped(np.flatnonzero(stepped), self.shown.rewards[stepped])
        self._renderer.show(self.shown, self._title)

    @property
    def _title(self) -> str:
        return self.spec.id if self.spec is not None else type(self).__name__

    def close_extras(self, **kwargs: Any) -> None:
        """Close the environment and its window; called by ``close()``, which may be called twice."""
        self._status = SessionStatus.CLOSED
        if self._renderer is not None:
            self._renderer.close()


def _autoreset_mode(mode: str | AutoresetMode) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    by_name = {one.name.lower(): one for one in AutoresetMode} | {one.value: one for one in AutoresetMode}
    if checked("autoreset_mode", mode, str | AutoresetMode) not in by_name:
        raise unknown_name("autoreset_mode", mode, [one.name.lower() for one in AutoresetMode])
    return by_name[mode]


def _masked(infos: Arrays, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Infos with Gymnasium's ``_key`` masks of the users whose rows are set; other rows are zero."""
    if not mask.all():
        infos = {key: array.copy() for key, array in infos.items()}  # what was shown stays as it was
        for array in infos.values():
            array[~mask] = 0
    return {**infos, **{f"_{key}": mask.copy() for key in infos}}


def _with_rows(shown: Shown | None, rows: NDArray[np.int64], replacement: Shown) -> Shown:
    """A copy of ``shown`` with some users' rows replaced; ``replacement`` has one row for each of them."""
    assert shown is not None  # some rows can be replaced only where all were shown once
    copies: list[Any] = [array.copy() for array in shown]
    for array, new_rows in zip(copies, replacement, strict=True):
        array[rows] = new_rows
    return Shown(*copies)
