"""What recurrent networks observe of a session: the slate just shown, its clicks, and their states before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from gems_gym.beliefs import BeliefEncoder


@dataclass(frozen=True)
class MomentLayout:
    """Where the numbers of a moment stand in its row.

    Attributes:
        num_states: networks with a state of their own.
        state_size: numbers in a state.
        slate_size: items in a slate.
    """

    num_states: int
    state_size: int
    slate_size: int

    @property
    def width(self) -> int:
        """Numbers in a moment."""
        return self.num_states * self.state_size + 2 * self.slate_size + 1

    def state(self, which: int) -> slice:
        """The state of one network before it takes in the slate."""
        return slice(which * self.state_size, (which + 1) * self.state_size)

    @property
    def slate(self) -> slice:
        """The item ids of the slate."""
        start = self.num_states * self.state_size
        return slice(start, start + self.slate_size)

    @property
    def clicks(self) -> slice:
        """The clicks on it."""
        return slice(self.slate.stop, self.slate.stop + self.slate_size)

    step = -1
    """Steps of the session before it: 0 for the first slate. Negative where there is no moment."""


class SessionMoments(VectorWrapper):
    """Observes rows of :class:`MomentLayout`: float32, item ids as numbers.

    The states are those of recurrent encoders that follow every session from its beginning, as they will once they are
    trained. They are asked for again whenever all users begin a session, so within one they stay the same.

    Args:
        env: many users in lockstep, in the autoreset mode SAME_STEP, whose infos hold slates and clicks; what it
            observes itself is not used.
        layout: how many states of which size, and the slates' size.
        encoders: gives the encoders as the networks are now, one for each state.
    """

    def __init__(
        self, env: VectorEnv, layout: MomentLayout, encoders: Callable[[], Sequence[BeliefEncoder]]
    ) -> None:
        super().__init__(env)
        if env.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError("env must be in the autoreset mode SAME_STEP")
        self.layout = layout
        self._ask = encoders
        self._encoders: Sequence[BeliefEncoder] = ()
        self._states = np.zeros((layout.num_states, env.num_envs, layout.state_size), dtype=np.float32)
        self._steps = np.zeros(env.num_envs, dtype=np.int64)
        self.single_observation_space = moment_box(env, layout)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts sessions of all users."""
        _, infos = self.env.reset(seed=cast(int | None, seed), options=options)
        self._begin(np.ones(self.num_envs, dtype=np.bool_))
        return self._take_in(infos), infos

    def step(self, actions: Any) -> tuple[np.ndarray, Any, Any, Any, dict[str, Any]]:
        """Steps every user; ``infos["final_obs"]`` holds the last moments of sessions that ended."""
        _, rewards, terminations, truncations, infos = self.env.step(actions)
        self._steps += 1
        ended = np.logical_or(terminations, truncations)
        if ended.any():
            final = np.full(self.num_envs, None, dtype=object)
            moments = self._moments(infos["final_info"])
            for user in np.flatnonzero(ended):
                final[user] = moments[user]
            infos = {**infos, "final_obs": final}
            self._begin(ended)
        return self._take_in(infos), rewards, terminations, truncations, infos

    def _begin(self, users: np.ndarray) -> None:
        if users.all():
            self._encoders = self._ask()
        self._states[:, users] = 0.0
        self._steps[users] = 0

    def _take_in(self, infos: dict[str, Any]) -> np.ndarray:
        """The moments of the slates in the infos; the states move on past them."""
        moments = self._moments(infos)
        for which, encoder in enumerate(self._encoders):
            self._states[which] = encoder.update(self._states[which], infos["slate"], infos["clicks"])
        return moments

    def _moments(self, infos: dict[str, Any]) -> np.ndarray:
        """(num_users, width) float32."""
        parts = [*self._states, infos["slate"], infos["clicks"], self._steps[:, None]]
        return np.concatenate(parts, axis=1, dtype=np.float32)


def moment_box(env: VectorEnv, layout: MomentLayout) -> spaces.Box:
    """The observation space of moments in a slate environment."""
    config = env.unwrapped.config  # type: ignore[attr-defined]
    low = np.zeros(layout.width, dtype=np.float32)
    high = np.ones(layout.width, dtype=np.float32)
    low[: layout.slate.start] = -1.0
    high[layout.slate] = config.num_items - 1
    high[layout.step] = config.episode_length
    return spaces.Box(low, high)
