"""SARDINE's dynamics: their compiled steps, made of the parts of those of GeMS, and the simulator that runs them.

In the original, boredom advances at the end of a step. Here it does so at the beginning of the next one, as in the
other worlds, which comes to the same; what observations and states say of it is looked up ahead.
"""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.arrays import copy_into
from gems_gym.common.checks import Count, Threads
from gems_gym.common.compilation import compiled, inlined
from gems_gym.sardine_config import SardineConfig
from gems_gym.simulator.catalog import Catalog
from gems_gym.simulator.kernels import (
    Scratch,
    advance_boredom,
    current_preference,
    first_unknown,
    log_clicks,
    make_scratch,
    show,
    start_session,
)
from gems_gym.simulator.simulator import SlateSimulator
from gems_gym.simulator.state import Dynamics, Shown, Users
from gems_gym.simulator.users import Openings

_KEPT = 0.4
"""Probability that a new user keeps a topic; drawn until 3, 4 or 5 are kept."""

_LEAST, _MOST = 3, 5


class Rules(NamedTuple):
    """What SARDINE's users have beside the :class:`Dynamics` that they share with those of GeMS."""

    rel_penalty: bool
    one_number_drift: bool  # dynamics_version 0
    episode_length: int


class Ahead(NamedTuple):
    """Room for the boredom that a user's next step is taken with."""

    bored: NDArray[np.bool_]  # (1, num_topics)
    timeout: NDArray[np.int64]  # (1, num_topics)


@inlined
def _make_ahead(dynamics: Dynamics) -> Ahead:
    return Ahead(np.empty((1, dynamics.num_topics), np.bool_), np.empty((1, dynamics.num_topics), np.int64))


@inlined
def _normalise(preferences: NDArray[np.float64], row: int) -> None:
    """Divide a preference by its Euclidean norm."""
    squares = 0.0
    for d in range(preferences.shape[1]):
        squares += preferences[row, d] * preferences[row, d]
    if squares > 0.0:  # zero only where items of a given catalogue are all zero and omega is 0
        norm = np.sqrt(squares)
        for d in range(preferences.shape[1]):
            preferences[row, d] /= norm


@inlined
def _drift(
    dynamics: Dynamics, rules: Rules, users: Users, u: int, row: int, shown: Shown, mean: NDArray[np.float64]
) -> None:
    """Move user ``u``'s preference towards the mean of the clicked items, or that of all their numbers."""
    clicks = 0
    mean[:] = 0.0
    for s in range(shown.slates.shape[1]):
        if shown.clicks[row, s]:
            clicks += 1
            for d in range(mean.shape[0]):
                mean[d] += dynamics.items[shown.slates[row, s], d]
    if clicks == 0:
        return
    total = 0.0
    for d in range(mean.shape[0]):
        mean[d] /= clicks
        total += mean[d]
    for d in range(mean.shape[0]):
        target = total / mean.shape[0] if rules.one_number_drift else mean[d]
        users.preference[u, d] = dynamics.omega * users.preference[u, d] + (1.0 - dynamics.omega) * target
    _normalise(users.preference, u)


@inlined
def _change(
    dynamics: Dynamics,
    rules: Rules,
    users: Users,
    u: int,
    row: int,
    shown: Shown,
    ahead: Ahead,
    scratch: Scratch,
) -> None:
    """Let what user ``u`` clicked on ``slates[row]`` change the user, and write the state that the next step meets."""
    log_clicks(dynamics, users, u, row, shown)
    _drift(dynamics, rules, users, u, row, shown, scratch.preference)
    copy_into(shown.bored[row], users.bored[u])
    advance_boredom(dynamics, users, u, ahead.bored, ahead.timeout, 0, scratch.topic_counts)
    current_preference(dynamics, users, u, ahead.bored, 0, scratch.preference)
    for topic in range(dynamics.num_topics):
        history = min(1.0, scratch.topic_counts[topic] / dynamics.boredom_threshold)
        shown.user_state[row, topic] = scratch.preference[topic]
        shown.user_state[row, dynamics.num_topics + topic] = history
        shown.user_state[row, 2 * dynamics.num_topics + topic] = (
            ahead.timeout[0, topic] / dynamics.boredom_timeout
        )


@compiled
def open_sessions(
    dynamics: Dynamics,
    rules: Rules,
    users: Users,
    which: NDArray[np.int64],
    first_slates: NDArray[np.int64],
    uniforms: NDArray[np.float32],
    shown: Shown,
) -> None:
    """Start the sessions of some users; see :func:`gems_gym.simulator.kernels.open_sessions`."""
    scratch, ahead = make_scratch(dynamics), _make_ahead(dynamics)
    for row in range(which.shape[0]):
        u = which[row]
        start_session(dynamics, users, u, scratch)
        show(dynamics, users, u, row, first_slates, uniforms, row, 0, 1.0, shown, scratch)
        _change(dynamics, rules, users, u, row, shown, ahead, scratch)


@compiled
def step_users(
    dynamics: Dynamics,
    rules: Rules,
    users: Users,
    which: NDArray[np.int64],
    slates: NDArray[np.int64],
    uniforms: NDArray[np.float32],
    shown: Shown,
) -> int:
    """One step of some users; see :func:`gems_gym.simulator.kernels.step_users`."""
    unknown: int = first_unknown(dynamics, slates)
    if unknown >= 0:
        return unknown
    scratch, ahead = make_scratch(dynamics), _make_ahead(dynamics)
    for row in range(which.shape[0]):
        u = which[row]
        now = users.step[u] % uniforms.shape[1]
        users.step[u] += 1
        advance_boredom(dynamics, users, u, users.bored, users.bored_timeout, u, scratch.topic_counts)
        current_preference(dynamics, users, u, users.bored, u, scratch.preference)
        interest = 1.0
        if rules.rel_penalty:
            for topic in range(dynamics.num_topics):
                if users.bored[u, topic]:
                    interest *= 0.5
        show(dynamics, users, u, row, slates, uniforms, u, now, interest, shown, scratch)
        _change(dynamics, rules, users, u, row, shown, ahead, scratch)
        users.left[u] = users.step[u] >= rules.episode_length
    return -1


@compiled
def finish_preferences(uniforms: NDArray[np.float64], num_topics: int) -> NDArray[np.float64]:
    """New users' preferences from their draws.

    That topics are kept with one probability until 3, 4 or 5 are, is a draw of their number (binomial, given that it is
    one of these) and then of which: here those with the smallest of as many numbers.

    Args:
        uniforms: In [0, 1), ``(n, ≥ 2 · num_topics + 1)``: values, what the topics to keep are chosen by, and what
            their number is chosen by.
        num_topics: Topics, ≥ 3.

    Returns:
        ``(n, num_topics)``, of Euclidean norm 1.
    """
    weights = np.ones(_MOST - _LEAST + 1)
    for more in range(1, weights.shape[0]):
        kept = _LEAST + more
        weights[more] = weights[more - 1] * max(0, num_topics - kept + 1) / kept * _KEPT / (1.0 - _KEPT)
    preferences = np.zeros((uniforms.shape[0], num_topics))
    for row in range(uniforms.shape[0]):
        kept, left_over = _LEAST, uniforms[row, 2 * num_topics] * weights.sum() - weights[0]
        while left_over >= 0.0 and kept < min(_MOST, num_topics):
            kept += 1
            left_over -= weights[kept - _LEAST]
        smallest_first = np.argsort(uniforms[row, num_topics : 2 * num_topics])
        for topic in smallest_first[:kept]:
            preferences[row, topic] = uniforms[row, topic]
        _normalise(preferences, row)
    return preferences


class SardineSimulator(SlateSimulator):
    """SARDINE's users; see :class:`SlateSimulator`.

    Args:
        config: The world.
        catalog: Its items.
        num_users: Users simulated together, ≥ 1.
        num_threads: Threads that share the users of a step, ≥ 1; results are the same bits.
    """

    config_class = SardineConfig
    _compile_first: ClassVar[bool] = True
    config: SardineConfig

    def __init__(
        self, config: SardineConfig, catalog: Catalog, num_users: Count, num_threads: Threads = 1
    ) -> None:
        super().__init__(config, catalog, num_users, num_threads)
        self.dynamics = self.dynamics._replace(
            churn_and_return=config.boredom_type == "user_car", published_oddities=False
        )
        self._rules = Rules(config.rel_penalty, config.dynamics_version == 0, config.episode_length)

    def draw_openings(self, rngs: Sequence[np.random.Generator]) -> Openings:
        """Draw what new sessions open with, each from its own generator; see :class:`SlateSimulator`."""
        config, count = self.config, len(rngs)
        numbers = 2 * config.num_topics + 1  # that a user is made of
        uniforms = np.empty((count, numbers + config.slate_size))
        clicks = np.empty((count, 1, config.slate_size), np.float32)
        for row, rng in enumerate(rngs):
            rng.random(out=uniforms[row])
            rng.random(dtype=np.float32, out=clicks[row])
        preferences = finish_preferences(uniforms, config.num_topics)
        first_slates = (uniforms[:, numbers:] * config.num_items).astype(np.int64)
        return Openings(preferences, clicks, np.zeros(count, np.int64), first_slates)

    def _open_rows(self, rows: NDArray[np.int64], opening: Openings, shown: Shown) -> None:
        open_sessions(
            self.dynamics, self._rules, self.users, rows, opening.first_slates, opening.uniforms, shown
        )

    def _step_rows(
        self, rows: NDArray[np.int64], slates: NDArray[np.int64], uniforms: NDArray[np.float32], shown: Shown
    ) -> int:
        return step_users(self.dynamics, self._rules, self.users, rows, slates, uniforms, shown)
