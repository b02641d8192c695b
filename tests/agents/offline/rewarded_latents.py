"""A dataset from which it is plain what to do: the first number of a latent earns, the others do nothing."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np

OBSERVATION_SIZE, ACTION_SIZE, STEPS = 3, 2, 12
BELIEFS = np.random.default_rng(1).uniform(-1, 1, (40, OBSERVATION_SIZE)).astype(np.float32)


def rewarded_latents(
    dataset_id: str,
    sessions: int = 40,
    *,
    told: bool = False,
    around: tuple[float, float] = (0.0, 1.0),
    earns: float = 5.0,
) -> Any:
    """Sessions of users whom one behaviour serves well and another badly; mean latents are zero over all.

    A session's behaviour has a first number of ±0.4, and noise; a step earns 5 + 5 · (first number). ``told``: the
    behaviour is another at each step, and the first number of the belief that follows is the latent's. ``around``:
    centre and half-width of beliefs; ``earns``: a step earns so much times 1 + the first number.
    """
    from minari import create_dataset_from_buffers
    from minari.data_collector import EpisodeBuffer

    rng = np.random.default_rng(0)
    buffers = []
    for session in range(sessions):
        observations = around[0] + around[1] * rng.uniform(-1, 1, (STEPS + 1, OBSERVATION_SIZE))
        observations = observations.astype(np.float32)
        actions = rng.normal(0, 0.2, (STEPS, ACTION_SIZE))
        actions[:, 0] += rng.choice([-0.4, 0.4], STEPS) if told else 0.4 if session % 2 else -0.4
        actions = np.clip(actions, -1, 1).astype(np.float32)
        if told:
            observations[1:, 0] = actions[:, 0]
        buffers.append(
            EpisodeBuffer(
                id=session, seed=session, observations=list(observations), actions=list(actions),
                rewards=[float(earns + earns * action[0]) for action in actions],
                terminations=[False] * STEPS, truncations=[False] * (STEPS - 1) + [True], infos=None,
            )
        )  # fmt: skip
    with warnings.catch_warnings(action="ignore"):  # that nothing is said of its author
        return create_dataset_from_buffers(
            dataset_id, buffer=buffers,
            observation_space=gymnasium.spaces.Box(-1, 1, (OBSERVATION_SIZE,), np.float32),
            action_space=gymnasium.spaces.Box(-1, 1, (ACTION_SIZE,), np.float32),
        )  # fmt: skip


def first_number(policy: Any, beliefs: np.ndarray = BELIEFS) -> float:
    """The mean over users and steps of a latent's first number, in sessions that earn as the data do."""
    state, chosen = policy.open(range(len(beliefs))), []
    for step in range(STEPS):
        actions, state = policy.act(state, np.roll(beliefs, step, axis=0))
        chosen.append(actions[:, 0])
        if hasattr(policy, "rewarded"):
            state = policy.rewarded(state, 5 + 5 * actions[:, 0])
    return float(np.mean(chosen))
