"""Many users of one world: their state, their randomness, and the calls that move them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache, partial
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from gems_gym import plugins
from gems_gym.common.checks import Count, Threads, checked, checked_arguments
from gems_gym.common.compilation import announced_if_long
from gems_gym.common.machine import check_fits_memory
from gems_gym.config import OWN_DYNAMICS, SlateConfig
from gems_gym.simulator import kernels
from gems_gym.simulator.catalog import Catalog
from gems_gym.simulator.checks import (
    check_preferences,
    check_rngs,
    check_rows,
    check_slates,
    check_topics,
    check_uniforms,
    unknown_item,
)
from gems_gym.simulator.state import Shown, empty_shown, empty_users, make_dynamics
from gems_gym.simulator.users import DrawnAhead, Openings, draw_uniforms, draw_users
from gems_gym.world_config import WorldConfig

_INT64 = np.dtype(np.int64)


@cache
def _thread_pool(num_threads: int) -> ThreadPoolExecutor:
    # one for all simulators of a process: kernels leave Python's lock, and a pool cannot be pickled with a simulator
    return ThreadPoolExecutor(num_threads, thread_name_prefix="gems-gym-users")


if hasattr(os, "register_at_fork"):  # a forked process has the pool, but none of its threads
    os.register_at_fork(after_in_child=_thread_pool.cache_clear)


class SlateSimulator:
    """The one implementation of the dynamics, for any number of users at once.

    Every user's randomness comes from a generator of that user's own, so what a user does depends neither on
    how many users are simulated together nor on their order.

    Args:
        config: The world.
        catalog: Its items.
        num_users: Users simulated together, ≥ 1.
        num_threads: Threads that share the users of a step, ≥ 1; results are the same bits.

    Attributes:
        config: The world.
        catalog: Its items.
        num_users: Users simulated together.
        num_threads: Threads that share the users of a step.
        dynamics: The world's constants, as the compiled kernels read them.
        users: The users' state, one row each (read it, do not write it).
        config_class: What kind of configuration the dynamics take.
    """

    config_class: ClassVar[type[WorldConfig]] = SlateConfig
    # in this process, nothing has been compiled or loaded from the cache yet
    _compile_first: ClassVar[bool] = True

    @checked_arguments
    def __init__(
        self, config: WorldConfig, catalog: Catalog, num_users: Count, num_threads: Threads = 1
    ) -> None:
        checked("config", config, self.config_class)
        if (catalog.num_items, catalog.topic_size) != (config.num_items, config.topic_size) or (
            catalog.item_embeddings.shape[1] != config.embedding_size
        ):
            raise ValueError(
                f"catalog has embeddings of shape {catalog.item_embeddings.shape}, {catalog.topic_size} numbers a "
                f"topic; config says {(config.num_items, config.embedding_size)} and {config.topic_size}"
            )
        check_fits_memory(f"num_users={num_users}", config.bytes_needed(num_users))
        self.config = config
        self.catalog = catalog
        self.num_users = num_users
        self.num_threads = num_threads
        self.dynamics = make_dynamics(config, catalog)
        self.users = empty_users(config, num_users)
        self._all_rows = np.arange(num_users)
        self._opened = np.zeros(num_users, np.bool_)
        self._all_opened = False
        self._first_slate = catalog.first_slate(config.slate_size)
        self._uniforms = DrawnAhead(num_users, config.episode_length, partial(draw_uniforms, config))

    @property
    def terminated(self) -> NDArray[np.bool_]:
        """Which users have left, ``(num_users,)``."""
        return self.users.left.copy()

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Which users have stayed until the end of their session, ``(num_users,)``."""
        return (self.users.step >= self.config.episode_length) & ~self.users.left

    def open_sessions(
        self,
        rngs: Sequence[np.random.Generator],
        which: NDArray[np.int64] | None = None,
        preferences: NDArray[np.float64] | None = None,
        first_slates: NDArray[np.int64] | None = None,
    ) -> Shown:
        """Start new sessions with new users, drawn from their generators.

        Every generator is drawn from alike whether or not a preference is given, so a given user meets the
        same random clicks as the drawn one would have.

        Args:
            rngs: One generator for each new user; kept, and drawn from for all of that user's session.
            which: Rows of the users to replace, int64 ``(n,)``; all of them if None.
            preferences: Initial preferences instead of the drawn ones, float64 ``(n, embedding_size)``: those
                of :func:`check_users`.
            first_slates: First slates instead of the catalogue's, int64 ``(n, slate_size)``.

        Returns:
            What came of the first slates, one row for each new user.
        """
        rows = self._all_rows if which is None else check_rows(which, self.num_users)
        check_rngs(rngs, len(rows))
        drawn = self.draw_openings(rngs)
        self._uniforms.start(rngs, rows)
        if preferences is not None:
            shape = (len(rows), self.config.embedding_size)
            drawn = drawn._replace(preferences=check_preferences(preferences, shape))
        return self._open(drawn, rows, first_slates)

    def draw_openings(self, rngs: Sequence[np.random.Generator]) -> Openings:
        """Draw what new sessions open with, each from its own generator.

        Args:
            rngs: One generator for each new user.
        """
        draws = draw_users(rngs, self.config)
        return Openings(
            kernels.finish_preferences(self.dynamics, draws.normals, draws.topic_uniforms),
            draws.click_uniforms[:, None],
            draws.topics,
            self._same_first_slates(len(rngs)),
        )

    def _same_first_slates(self, count: int) -> NDArray[np.int64]:
        return np.repeat(self._first_slate[None], count, axis=0)

    def open_given_sessions(
        self,
        preferences: NDArray[np.float64],
        uniforms: NDArray[np.float32],
        short_term_topics: NDArray[np.int64],
        which: NDArray[np.int64] | None = None,
        first_slates: NDArray[np.int64] | None = None,
    ) -> Shown:
        """Start sessions with users that are given instead of drawn, as a replay does.

        Args:
            preferences: Their initial preferences, float64 ``(n, embedding_size)``.
            uniforms: Numbers that a click's probability on the first slate must exceed,
                float32 ``(n, 1, slate_size)``.
            short_term_topics: Topics for users that click nothing on the first slate, int64 ``(n,)``.
            which: Rows of the users to replace, int64 ``(n,)``; all of them if None.
            first_slates: int64 ``(n, slate_size)``; the catalogue's first slate for all if None.

        Returns:
            What came of the first slates, one row for each new user.
        """
        rows = self._all_rows if which is None else check_rows(which, self.num_users)
        preferences = check_preferences(preferences, (len(rows), self.config.embedding_size))
        uniforms = check_uniforms(uniforms, (len(rows), self.config.slate_size))
        topics = check_topics(short_term_topics, len(rows), self.config.num_topics)
        given = Openings(preferences, uniforms, topics, self._same_first_slates(len(rows)))
        shown = self._open(given, rows, first_slates)
        self._uniforms.start_given(rows)
        return shown

    def _open(
        self, opening: Openings, rows: NDArray[np.int64], first_slates: NDArray[np.int64] | None
    ) -> Shown:
        """Open sessions with what was drawn or checked; first slates instead of those are checked here."""
        size, count = self.config.slate_size, len(rows)
        if first_slates is not None:
            slates = check_slates(first_slates, (count, size), self.config.num_items, "first_slates")
            opening = opening._replace(first_slates=slates)
        self.users.preference[rows] = opening.preferences
        shown = empty_shown(self.config, count)
        with announced_if_long("the simulator") if self._compile_first else nullcontext():
            self._open_rows(rows, opening, shown)
            self._opened[rows] = True
            self._all_opened = bool(self._opened.all())
            self._compile_step()
        return shown

    def _compile_step(self) -> None:
        """Have the step compiled with the opening, by calling it for no users: no step is slow later on."""
        if self._compile_first:
            nobody = np.empty(0, np.int64)
            no_slates = np.empty((0, self.config.slate_size), np.int64)
            no_uniforms = np.empty((self.num_users, 1, self.config.uniforms_per_step), np.float32)
            self.step(no_slates, no_uniforms, nobody)
            type(self)._compile_first = False

    def _open_rows(self, rows: NDArray[np.int64], opening: Openings, shown: Shown) -> None:
        """Have some users, whose preferences are set, open their sessions; writes what came of the first slates."""
        kernels.open_sessions(
            self.dynamics,
            self.users,
            rows,
            opening.first_slates,
            opening.short_term_topics,
            opening.uniforms,
            shown,
        )

    def _step_rows(
        self, rows: NDArray[np.int64], slates: NDArray[np.int64], uniforms: NDArray[np.float32], shown: Shown
    ) -> int:
        """Have some users take a step; writes what came of it, or returns the place of an unknown item, else −1."""
        return kernels.step_users(self.dynamics, self.users, rows, slates, uniforms, shown)

    def step(
        self,
        slates: NDArray[np.int64],
        uniforms: NDArray[np.float32] | None = None,
        which: NDArray[np.int64] | None = None,
    ) -> Shown:
        """Show users a slate.

        Args:
            slates: Integers ``(n, slate_size)``, items in ``[0, num_items)``.
            uniforms: For replays, the numbers that a click's probability must exceed,
                float32 ``(num_users, steps, slate_size)``: step t takes those at ``t % steps``; drawn from the users'
                generators if None. Where users leave, there is a last column, of numbers that the probability to stay
                must exceed.
            which: Rows of the users that take the step, int64 ``(n,)``; all of them if None.

        Returns:
            What came of the slates, one row for each user that took the step.

        Raises:
            ValueError: An item that is not in the catalogue, a user that there is not or twice, or an array of another
                shape; nothing has changed then.
            TypeError: An array of another dtype.
            RuntimeError: A user whose session has not been opened, or was opened with a given user, without
                ``uniforms``.
        """
        rows = self._all_rows if which is None else check_rows(which, self.num_users)
        if not (self._all_opened or self._opened[rows].all()):
            raise RuntimeError("step was called before open_sessions: no session of these users runs yet")
        shape = (len(rows), self.config.slate_size)
        if type(slates) is not np.ndarray or slates.dtype != _INT64 or slates.shape != shape:
            slates = check_slates(slates, shape, name="slates")
        slates = np.ascontiguousarray(slates)  # the kernel is compiled for one layout
        if uniforms is None:
            uniforms = self._uniforms.block(self.users.step, rows)
        else:
            uniforms = check_uniforms(uniforms, (self.num_users, self.config.uniforms_per_step))
        shown = empty_shown(self.config, len(rows))
        if self.num_threads == 1:
            unknown = self._step_rows(rows, slates, uniforms, shown)
            if unknown >= 0:
                raise unknown_item(slates.flat[unknown], self.config.num_items)
            return shown
        check_slates(slates, slates.shape, self.config.num_items)  # before any thread changes anything

        def step_part(part: slice) -> None:
            arrays: list[Any] = [array[part] for array in shown]
            self._step_rows(rows[part], slates[part], uniforms, Shown(*arrays))

        self._in_threads(step_part, len(rows))
        return shown

    def _in_threads(self, work: Callable[[slice], None], count: int) -> None:
        """Share ``count`` users between the threads; each works on neighbouring rows."""
        ends = np.linspace(0, count, self.num_threads + 1).astype(int).tolist()
        parts = [slice(start, end) for start, end in pairwise(ends)]
        for _ in _thread_pool(self.num_threads).map(work, parts):
            pass  # an error of a part shows here

    def short_term_oracle_slates(self) -> NDArray[np.int64]:
        """Every user's slate of highest scores in the step to come, best first: greedy and privileged.

        Returns:
            int64 ``(num_users, slate_size)``. Clicked items count as score 0 where ``click_only_once``.
        """
        slates = np.empty((self.num_users, self.config.slate_size), np.int64)

        def oracle_part(part: slice) -> None:
            kernels.short_term_oracle_slates(self.dynamics, self.users, self._all_rows[part], slates[part])

        if self.num_threads == 1:
            oracle_part(slice(None))
        else:
            self._in_threads(oracle_part, self.num_users)
        return slates


@checked_arguments
def make_simulator(
    config: WorldConfig, catalog: Catalog, num_users: Count, num_threads: Threads = 1
) -> SlateSimulator:
    """The simulator of a world, with the dynamics that its configuration names.

    Args:
        config: The world. ``config.dynamics`` is a name in the entry-point group ``gems_gym.dynamics``, whose object is
            :class:`SlateSimulator` or a subclass; no other code is imported.
        catalog: Its items.
        num_users: Users simulated together, ≥ 1.
        num_threads: Threads that share the users of a step, ≥ 1.

    Raises:
        TypeError: The name stands for something else.
        gems_gym.plugins.PluginError: It can't be imported.
    """
    if config.dynamics == OWN_DYNAMICS:
        return SlateSimulator(config, catalog, num_users, num_threads)
    kind = plugins.load(plugins.DYNAMICS, config.dynamics)
    if not (isinstance(kind, type) and issubclass(kind, SlateSimulator)):
        raise TypeError(
            f"the dynamics {config.dynamics!r} must be a subclass of SlateSimulator, got {kind!r}"
        )
    return kind(config, catalog, num_users, num_threads)
