"""Pieces of sessions, of one length, and what each earns: what the decision diffuser learns from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gems_gym.datasets import EpisodeBatch


@dataclass(frozen=True)
class Windows:
    """Pieces of sessions that begin with a step.

    Attributes:
        beliefs: Beliefs from that step on, float32 ``(batch, horizon, size)``; behind a session's end its last one.
        there: Which of them are in the session, bool ``(batch, horizon)``.
        actions: Actions of the first step, float32 ``(batch, action_size)``.
        returns: What each piece earns, see :class:`SessionWindows`, float32 ``(batch,)``, with mean 0 and standard
            deviation 1 over all pieces.
    """

    beliefs: NDArray[np.float32]
    there: NDArray[np.bool_]
    actions: NDArray[np.float32]
    returns: NDArray[np.float32]


class SessionWindows:
    """All pieces of sessions, one for each step that was taken.

    A piece earns its mean clicks a step, until its last belief or the end of the session. Users who leave click nothing
    from there on.

    Args:
        sessions: Recorded sessions with beliefs and latents.
        horizon: Beliefs of a piece, ≥ 2.

    Attributes:
        earned: Return of each piece, float64 ``(num_steps,)``.
    """

    def __init__(self, sessions: EpisodeBatch, horizon: int) -> None:
        self._sessions, self._horizon = sessions, horizon
        self._beliefs: NDArray[np.float32] = np.asarray(sessions.observations, np.float32)
        self._where = np.nonzero(sessions.filled)
        session, start = self._where
        lengths = sessions.lengths[session]
        end = np.minimum(start + horizon - 1, lengths)
        clicks = np.pad(sessions.rewards.cumsum(axis=1, dtype=np.float64), ((0, 0), (1, 0)))
        steps = np.where(sessions.left[session], horizon - 1, end - start)
        self.earned = (clicks[session, end] - clicks[session, start]) / steps

    def standardised(self, earned: NDArray[np.float64] | float) -> NDArray[np.float32]:
        """What is earned, with mean 0 and standard deviation 1 over all pieces."""
        deviation = max(float(self.earned.std()), 1e-6)  # pieces may all earn the same
        return np.asarray((earned - self.earned.mean()) / deviation, np.float32)

    def sample(self, batch_size: int, rng: np.random.Generator) -> Windows:
        """Draws pieces uniformly, with replacement."""
        drawn = rng.integers(len(self.earned), size=batch_size)
        session, start = (where[drawn] for where in self._where)
        rows = start[:, None] + np.arange(self._horizon)
        ends = self._sessions.lengths[session, None]
        return Windows(
            self._beliefs[session[:, None], np.minimum(rows, ends)],
            rows <= ends,
            self._sessions.actions[session, start],
            self.standardised(self.earned[drawn]),
        )
