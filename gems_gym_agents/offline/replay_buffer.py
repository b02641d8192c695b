"""A Minari dataset as a d3rlpy replay buffer: flat arrays, every transition kept, mini-batches by indexing.

d3rlpy's own reader pairs N + 1 observations with N actions, so that session k is shifted by k steps, and its
buffer drops the last transition of every truncated session. Here the rows of observations, actions and
rewards are aligned: row t of a session holds observation t and what was done in it; the row after the last
action holds the last observation, a zero action and a zero reward, and is never the start of a transition.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NoReturn

import gymnasium
import numpy as np
from d3rlpy.constants import ActionSpace
from d3rlpy.dataset import (
    Episode,
    PartialTrajectory,
    ReplayBuffer,
    Signature,
    Transition,
    TransitionMiniBatch,
)

from gems_gym.common.machine import check_fits_memory
from gems_gym.datasets import EpisodeBatch, open_dataset
from gems_gym_agents.library_state import borrowed_global_state


class SessionReplayBuffer(ReplayBuffer):  # type: ignore[misc]  # the library has no types
    """A read-only replay buffer over complete sessions.

    No object is held per transition: one million transitions of 20 observed numbers and 32 latents take 220 MB.

    Args:
        observations: ``(num_rows, observation_size)`` float32, sessions one after the other, one row more
            than steps in each.
        actions: ``(num_rows, action_size)`` float32 in [-1, 1], zero in the last row of each session.
        rewards: ``(num_rows, 1)`` float32, zero in the last row of each session.
        lengths: ``(num_sessions,)``, transitions of each session.
        terminated: ``(num_sessions,)`` bool, True where a session ended by a terminal state (a GemsSlate
            session never does).
        seed: Seed of the sampling of mini-batches.

    Attributes:
        generator: Draws the mini-batches.
    """

    def __init__(
        self,
        observations: np.ndarray,
        actions: np.ndarray,
        rewards: np.ndarray,
        lengths: np.ndarray,
        terminated: np.ndarray,
        *,
        seed: int,
    ) -> None:
        check_rows(observations, actions, rewards, lengths)
        self.generator = np.random.default_rng(seed)
        self._observations = observations
        self._actions = actions
        self._rewards = rewards
        starts = np.concatenate(([0], np.cumsum(lengths + 1)))  # (num_sessions + 1,)
        # The row of each transition: all rows but the last of each session.
        inside = np.ones(len(observations), dtype=np.bool_)
        inside[starts[1:] - 1] = False
        self._rows = np.flatnonzero(inside)  # (num_transitions,)
        self._terminals = np.zeros((len(observations), 1), dtype=np.float32)
        self._terminals[starts[1:][terminated] - 2] = 1.0
        episodes = [
            # A terminated session needs no row after its last action: d3rlpy puts zeros there.
            Episode(
                observations[start : end - ended],
                actions[start : end - ended],
                rewards[start : end - ended],
                terminated=bool(ended),
            )
            for start, end, ended in zip(starts[:-1], starts[1:], terminated, strict=True)
        ]
        with borrowed_global_state():  # d3rlpy finds out shapes by drawing from numpy's global generator
            super().__init__(
                SessionBuffer(episodes, np.cumsum(lengths)),
                observation_signature=Signature(dtype=[observations.dtype], shape=[observations.shape[1:]]),
                action_signature=Signature(dtype=[actions.dtype], shape=[actions.shape[1:]]),
                reward_signature=Signature(dtype=[rewards.dtype], shape=[(1,)]),
                action_space=ActionSpace.CONTINUOUS,
                action_size=actions.shape[1],
                cache_size=1,  # nothing is ever appended
            )

    @classmethod
    def from_minari(cls, source: Any, *, seed: int) -> SessionReplayBuffer:
        """Reads a dataset; see :func:`gems_gym_agents.offline.load_replay_buffer`."""
        dataset = open_dataset(source)
        observation_space, action_space = dataset.observation_space, dataset.action_space
        for name, space in (("observations", observation_space), ("actions", action_space)):
            if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
                raise ValueError(
                    f"dataset {dataset.id!r} holds {name} in {space}: agents learn from a latent dataset, whose {name} "
                    "are a one-dimensional Box; collect one with a ranker and a belief encoder"
                )
        if dataset.total_episodes == 0:
            raise ValueError(f"dataset {dataset.id!r} holds no episodes")
        num_rows = dataset.total_steps + dataset.total_episodes
        observations = np.zeros((num_rows, *observation_space.shape), dtype=np.float32)
        actions = np.zeros((num_rows, *action_space.shape), dtype=np.float32)
        rewards = np.zeros((num_rows, 1), dtype=np.float32)
        lengths, terminated = [], []
        row = 0
        for episode in dataset.iterate_episodes():
            length = len(episode.rewards)
            if len(episode.observations) != length + 1 or len(episode.actions) != length:
                raise ValueError(
                    f"dataset {dataset.id!r}, episode {episode.id}: {len(episode.observations)} observations and "
                    f"{len(episode.actions)} actions for {length} rewards; must be {length + 1} and {length}"
                )
            observations[row : row + length + 1] = episode.observations
            actions[row : row + length] = episode.actions
            rewards[row : row + length, 0] = episode.rewards
            lengths.append(length)
            terminated.append(bool(episode.terminations[-1]))
            row += length + 1
        return cls(observations, actions, rewards, np.array(lengths), np.array(terminated), seed=seed)

    @property
    def reward_range(self) -> np.ndarray:
        """(2,) float64: smallest and largest reward of a transition, in raw clicks."""
        rewards = self._rewards[self._rows]
        return np.array([rewards.min(), rewards.max()], dtype=np.float64)

    @property
    def returns(self) -> np.ndarray:
        """(num_sessions,) float64: what each session earned, in raw clicks."""
        return np.array([episode.rewards.sum() for episode in self.buffer.episodes], dtype=np.float64)

    @property
    def sessions(self) -> EpisodeBatch:
        """The sessions as padded arrays, without infos.

        Raises:
            ValueError: These take more memory than there is, as one very long session makes all of them long.
        """
        lengths = np.array([episode.transition_count for episode in self.buffer.episodes])
        numbers = self._observations.shape[1] + self._actions.shape[1] + 3
        check_fits_memory(
            f"a batch of {len(lengths):,} sessions of up to {lengths.max():,} steps (shorter ones can be drawn with "
            "'gems-gym dataset subset', or imported with a shorter --session-gap)",
            8 * len(lengths) * (int(lengths.max()) + 1) * numbers,
        )
        left = np.array([episode.terminated for episode in self.buffer.episodes])
        starts = np.cumsum(lengths + 1) - lengths - 1
        steps = np.arange(lengths.max() + 1)
        there = steps <= lengths[:, None]  # (num_sessions, num_steps + 1)
        rows = np.where(there, starts[:, None] + steps, 0)

        def padded(values: np.ndarray) -> np.ndarray:
            return np.where(there[..., None], values[rows], np.zeros((), values.dtype))

        # the row behind a session's last action holds zeros already
        actions, rewards = padded(self._actions)[:, :-1], padded(self._rewards)[:, :-1, 0]
        return EpisodeBatch(None, lengths, left, padded(self._observations), actions, rewards, {})

    @property
    def recorded(self) -> tuple[np.ndarray, np.ndarray]:
        """Observations (num_transitions, observation_size) and actions (num_transitions, action_size), float32."""
        return self._observations[self._rows], self._actions[self._rows]

    @property
    def rows_sha256(self) -> str:
        """Digest of what is learned from: observations, actions, rewards, and where sessions end."""
        digest = hashlib.sha256()
        for array in (self._observations, self._actions, self._rewards, self._rows, self._terminals):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def sample_transition(self) -> Transition:
        """Draws one transition, uniformly."""
        return self._transition(int(self.generator.integers(len(self._rows))))

    def sample_transition_batch(self, batch_size: int) -> TransitionMiniBatch:
        """Draws transitions uniformly, with replacement.

        Args:
            batch_size: How many.

        Returns:
            Arrays of ``batch_size`` rows; its ``transitions`` are made only when something reads them (returns-to-go).
        """
        indices = self.generator.integers(len(self._rows), size=batch_size)
        rows = self._rows[indices]
        return TransitionMiniBatch(
            observations=self._observations[rows],  # (batch_size, observation_size)
            actions=self._actions[rows],
            rewards=self._rewards[rows],
            next_observations=self._observations[rows + 1],
            next_actions=self._actions[rows + 1],
            terminals=self._terminals[rows],
            intervals=np.ones((batch_size, 1), dtype=np.float32),
            transitions=LazyTransitions(self, indices),
        )

    def sample_trajectory(self, length: int) -> PartialTrajectory:
        """Draws the piece of a session that ends in a uniformly drawn transition.

        Args:
            length: Its length; shorter pieces are padded and masked by d3rlpy.
        """
        episode, index = self.buffer[int(self.generator.integers(len(self._rows)))]
        return self.trajectory_slicer(episode, index, length)

    def _transition(self, index: int) -> Transition:
        return self.transition_picker(*self.buffer[index])


class LazyTransitions(Sequence[Transition]):
    """The transitions of a mini-batch as d3rlpy's objects, made when read: few algorithms do."""

    def __init__(self, buffer: SessionReplayBuffer, indices: np.ndarray) -> None:
        self._buffer = buffer
        self._indices = indices

    def __len__(self) -> int:
        """Size of the mini-batch."""
        return len(self._indices)

    def __getitem__(self, position: Any) -> Any:
        """Returns one transition, or a list of them for a slice."""
        if isinstance(position, slice):
            return [self._buffer._transition(int(index)) for index in self._indices[position]]
        return self._buffer._transition(int(self._indices[position]))


class SessionBuffer:
    """d3rlpy's buffer protocol over finished sessions: finds the session of a transition by bisection."""

    def __init__(self, episodes: list[Episode], ends: np.ndarray) -> None:
        self.episodes = episodes
        self._ends = ends  # (num_sessions,), transitions up to and including each session

    @property
    def transition_count(self) -> int:
        """Number of transitions."""
        return int(self._ends[-1])

    def __len__(self) -> int:
        """Number of transitions."""
        return self.transition_count

    def __getitem__(self, index: int) -> tuple[Episode, int]:
        """Returns the session of a transition, and its index within the session."""
        session = int(np.searchsorted(self._ends, index, side="right"))
        return self.episodes[session], int(index - (self._ends[session - 1] if session else 0))

    def append(self, episode: Any, index: int) -> NoReturn:
        """Refuses: the buffer is a dataset.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "this replay buffer is a recorded dataset and can't grow; use d3rlpy's create_fifo_replay_buffer"
        )


def check_rows(
    observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray, lengths: np.ndarray
) -> None:
    """Checks sizes and values before they are trained on.

    Raises:
        ValueError: If sizes don't agree, a number is NaN or infinite, or an action lies outside [-1, 1].
    """
    num_rows = int(np.sum(lengths + 1))
    for name, values in (("observations", observations), ("actions", actions), ("rewards", rewards)):
        if len(values) != num_rows:
            raise ValueError(f"{name} has {len(values)} rows, sessions of {lengths} steps have {num_rows}")
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise ValueError(f"{name} holds NaN or infinite values, first in row {row}")
    largest = float(np.abs(actions).max())
    if largest > 1.0:
        raise ValueError(
            f"actions must lie in [-1, 1], the largest is {largest:.4g}: record latents in the ranker's box"
        )
