"""The training loop of the offline agents, and the export of the policy.

The loop calls d3rlpy's public ``update`` with one mini-batch at a time instead of its ``fit``, which trains
nothing when ``n_steps < n_steps_per_epoch``, drops the remainder of the last epoch, and writes its log to stdout.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym_agents.base import Evaluate
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.offline.divergence import check_sane
from gems_gym_agents.offline.options import TrainingOptions, ValueOptions

if TYPE_CHECKING:
    from gems_gym.policies.actor import Actor
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

PROBE_SIZE = 1024
"""Transitions on which |Q| is watched and the export is compared."""

EXPORT_TOLERANCE = 1e-5
"""Largest accepted difference between an action of the exported policy and of d3rlpy's."""


@dataclass
class Progress:
    """What a training has come to, beside the networks.

    Attributes:
        step: Updates so far.
        losses: Name -> its values since the last epoch ended.
        history: One dict per finished epoch.
        last: The policy of the last finished epoch; ``None`` before.
        best: The one with the best score; the last one if none is scored.
        best_record: ``best_step`` and ``best_score``, if policies are scored.
    """

    step: int = 0
    losses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    history: list[dict[str, float]] = field(default_factory=list)
    last: Actor | None = None
    best: Actor | None = None
    best_record: dict[str, float] = field(default_factory=dict)


class TrainingLoop:
    """Updates an algorithm, and looks at it when an epoch ends.

    Args:
        algorithm: d3rlpy's, built.
        buffer: What it learns from.
        options: The agent's.
        evaluate: Scores the policy at the end of each epoch; ``None``: nothing does.
    """

    def __init__(
        self,
        algorithm: Any,
        buffer: SessionReplayBuffer,
        options: TrainingOptions,
        evaluate: Evaluate | None,
    ) -> None:
        self._algorithm = algorithm
        self._buffer = buffer
        self._options = options
        self._evaluate = evaluate
        self._probe = buffer.sample_transition_batch(PROBE_SIZE)
        self._q_bound: float | None = None
        if isinstance(options, ValueOptions):  # |Q| can't exceed max |reward| · reward_scale / (1 − gamma)
            self._q_bound = buffer.max_abs_reward * options.reward_scale / (1.0 - options.gamma)

    def run(
        self,
        progress: Progress,
        steps: int,
        *,
        save: Callable[[Progress], None],
        save_every: int,
        report: Callable[[dict[str, float] | None], None],
    ) -> None:
        """Train until the last update.

        Args:
            progress: Where to start from; it is kept up to date.
            steps: The last update, after which an epoch ends in any case.
            save: Saves the state.
            save_every: Updates between two calls of it; there is one after the last update, too.
            report: Called once per update, with the line of the history if an epoch ended there.

        Raises:
            DivergedError: As :func:`check_sane`.
        """
        while progress.step < steps:
            batch = self._buffer.sample_transition_batch(self._options.batch_size)
            for name, value in self._algorithm.update(batch).items():
                progress.losses[name].append(value)
            progress.step += 1
            ended = progress.step == steps
            epoch_ended = ended or progress.step % self._options.steps_per_epoch == 0
            report(self._end_epoch(progress) if epoch_ended else None)
            if ended or progress.step % save_every == 0:
                save(progress)

    def _end_epoch(self, progress: Progress) -> dict[str, float]:
        means = {name: float(np.mean(values)) for name, values in progress.losses.items()}
        line: dict[str, float] = {"step": progress.step, **means, **self._largest_q()}
        progress.losses.clear()
        check_sane([*progress.history, line])
        progress.last = export_policy(self._algorithm, self._probe.observations)
        if self._evaluate is None:
            progress.best = progress.last
        else:
            with borrowed_global_state():  # whatever is drawn there does not change the training
                line["score"] = float(self._evaluate(progress.last))
            if line["score"] > progress.best_record.get("best_score", -math.inf):
                progress.best = progress.last
                progress.best_record = {"best_step": progress.step, "best_score": line["score"]}
        progress.history.append(line)
        return line

    def _largest_q(self) -> dict[str, float]:
        """The largest |Q| over recorded actions and over the policy's own, where it explodes first; and its bound."""
        if self._q_bound is None:
            return {}
        observations = self._probe.observations
        recorded = self._algorithm.predict_value(observations, self._probe.actions)
        chosen = self._algorithm.predict_value(observations, self._algorithm.predict(observations))
        largest = float(max(np.abs(recorded).max(), np.abs(chosen).max()))
        return {"q_abs_max": largest, "q_bound": self._q_bound}


def export_policy(algorithm: Any, observations: NDArray[np.float32]) -> Actor:
    """Exports the deterministic policy of a d3rlpy algorithm, and checks that it acts the same.

    Args:
        algorithm: A built algorithm whose actor is a vector encoder, one linear layer and tanh.
        observations: ``(num_observations, observation_size)``, what both are compared on.

    Returns:
        The policy, free of torch.

    Raises:
        RuntimeError: If an action differs by more than 1e-5: d3rlpy's networks have another form than was assumed.
    """
    import torch

    from gems_gym_agents.actors import actor_from_modules

    policy = algorithm.impl.policy
    head = policy._fc if hasattr(policy, "_fc") else policy._mu  # a deterministic or a Gaussian policy
    actor = actor_from_modules([*policy._encoder._layers, head, torch.nn.Tanh()])
    gap = float(np.abs(actor(observations) - algorithm.predict(observations)).max())
    if not gap <= EXPORT_TOLERANCE:
        raise RuntimeError(
            f"the exported policy differs from d3rlpy's by {gap:.3g}: unknown network {policy}"
        )
    return actor
