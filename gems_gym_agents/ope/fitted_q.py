"""Fitted Q evaluation, by d3rlpy: for policies of latents, whose propensities nobody knows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.progress import track
from gems_gym_agents.library_state import borrowed_global_state, import_library
from gems_gym_agents.ope.logs import EvaluationLog, RecordedLatents

HIDDEN_UNITS, BATCH_SIZE, LEARNING_RATE = (64, 64), 256, 1e-3
"""How the Q-function is built, and learns."""

UPDATES_A_STEP = 100
"""Between two target networks. Each of them sees one step further ahead, so that there are as many as the longest
session has steps, and ten more."""


def fitted_q_values(
    log: EvaluationLog, recorded: RecordedLatents, target: NDArray[np.float32], *, seed: int, progress: bool
) -> NDArray[np.float64]:
    """Learn what a policy earns in each session, from its beginning, by temporal differences.

    Fitted Q evaluation of Le, Voloshin and Yue, "Batch Policy Learning under Constraints", ICML 2019 (arXiv
    1903.08738), undiscounted. The Q-function sees the belief, the time, the latent in question, and the
    one that the policy chooses here, which lets policies remember and draw.

    Args:
        log: Sessions.
        recorded: Beliefs before each step and after the last, and the latents that were shown.
        target: The policy's latents instead of these, ``(n, latent_size)``.
        seed: Seed of the network and the order of learning.
        progress: Whether to show a progress bar on stderr.

    Returns:
        Expected clicks of each session, ``(S,)``.

    Raises:
        ImportError: d3rlpy is not installed; the message names the extra.
    """
    d3rlpy = import_library("d3rlpy")
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

    starts, longest = log.seen.starts[:-1], int(log.lengths.max())
    before_step = np.ones(len(recorded.beliefs), np.bool_)
    before_step[log.seen.starts[1:] - 1] = False  # the last rows of sessions

    def in_rows(values: NDArray[Any]) -> NDArray[np.float32]:
        found = np.zeros((len(before_step), values.shape[1]), np.float32)
        found[before_step] = values
        return found

    clicks = log.impressions.clicks.sum(axis=1, keepdims=True)
    scale = max(float(clicks.sum()) / len(starts), 1.0)  # networks learn numbers around 1
    time = (np.arange(len(before_step)) - np.repeat(starts, log.lengths + 1)) / longest
    seen = np.column_stack([recorded.beliefs, time, in_rows(target)]).astype(np.float32)
    ended = np.ones(len(starts), np.bool_)  # nothing is earned behind a log's sessions, whoever ended them
    buffer = SessionReplayBuffer(
        seen, in_rows(recorded.latents), in_rows(clicks / scale), log.lengths, ended, seed=seed
    )
    updates = UPDATES_A_STEP * (longest + 10)
    with borrowed_global_state(), track("fitting Q", updates, progress) as advance:
        d3rlpy.seed(seed)
        config = d3rlpy.ope.FQEConfig(
            learning_rate=LEARNING_RATE,
            encoder_factory=d3rlpy.models.VectorEncoderFactory(list(HIDDEN_UNITS)),
            batch_size=BATCH_SIZE,
            gamma=1.0,
            target_update_interval=UPDATES_A_STEP,
        )
        learner = d3rlpy.ope.FQE(_Observed(target.shape[1]), config)
        learner.build_with_dataset(buffer)
        for _ in range(updates):
            learner.update(buffer.sample_transition_batch(BATCH_SIZE))
            advance(1)
        values = learner.predict_value(seen[starts], seen[starts, -target.shape[1] :])
    found: NDArray[np.float64] = scale * values.astype(np.float64)
    return found


class _Observed:
    """The policy as d3rlpy asks it: what it chooses are the last numbers of what is observed."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.impl = self

    def predict_best_action(self, observations: Any) -> Any:
        return observations[:, -self._size :]
