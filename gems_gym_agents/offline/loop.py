"""The training loop of the offline agents, and how it shows itself.

The loop calls d3rlpy's public ``update`` with one mini-batch at a time instead of its ``fit``, which trains
nothing when ``n_steps < n_steps_per_epoch``, drops the remainder of the last epoch, and writes its log to stdout.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.progress import track
from gems_gym.trackers import trackers
from gems_gym_agents.base import Evaluate
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.offline.divergence import check_finite, check_sane

if TYPE_CHECKING:
    from gems_gym.policies.saved import LatentPolicy
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

PROBE_SIZE = 1024
"""Transitions on which |Q| is watched and the export is compared."""

SHOWN = {
    "q_abs_max": "max |Q| {:.3g}",
    "loss": "loss {:.3g}",
    "bc_loss": "behaviour loss {:.3g}",
    "score": "clicks {:.1f}",
}
"""Measurements that stand behind the progress bar -> how."""


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
    last: LatentPolicy | None = None
    best: LatentPolicy | None = None
    best_record: dict[str, float] = field(default_factory=dict)


class Exports(Protocol):
    """What the loop asks of an agent; :class:`~gems_gym_agents.offline.agent.OfflineAgent` says more of each."""

    options: Any

    def q_bound(self, algorithm: Any, buffer: SessionReplayBuffer) -> float | None:
        """The largest |Q| that rewards allow; None for an agent without Q."""
        ...

    def policy_actions(self, algorithm: Any, observations: Any) -> NDArray[np.float32]:
        """What the exported policy chooses, by d3rlpy itself."""
        ...

    def sample(self, buffer: SessionReplayBuffer) -> Any:
        """What one update learns from."""
        ...

    def export(self, algorithm: Any, observations: Any) -> LatentPolicy:
        """The deterministic policy, free of d3rlpy."""
        ...


class TrainingLoop:
    """Updates an algorithm, and looks at it when an epoch ends.

    Args:
        agent: Whose options count, and which exports its policy.
        algorithm: d3rlpy's, built.
        buffer: What it learns from.
        evaluate: Scores the policy at the end of each epoch; ``None``: nothing does.
    """

    def __init__(
        self,
        agent: Exports,
        algorithm: Any,
        buffer: SessionReplayBuffer,
        evaluate: Evaluate | None,
    ) -> None:
        self._agent = agent
        self._algorithm = algorithm
        self._buffer = buffer
        self._options = agent.options
        self._evaluate = evaluate
        self._probe = buffer.sample_transition_batch(PROBE_SIZE)
        self._q_bound = agent.q_bound(algorithm, buffer)

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
            batch = self._agent.sample(self._buffer)
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
        check_finite(line)  # JSON, and with it the history, can't hold NaN
        progress.history.append(line)
        check_sane(progress.history)
        progress.last = self._agent.export(self._algorithm, self._probe.observations)
        if self._evaluate is None:
            progress.best = progress.last
        else:
            with borrowed_global_state():  # whatever is drawn there does not change the training
                line["score"] = float(self._evaluate(progress.last))
            if line["score"] > progress.best_record.get("best_score", -math.inf):
                progress.best = progress.last
                progress.best_record = {"best_step": progress.step, "best_score": line["score"]}
        return line

    def _largest_q(self) -> dict[str, float]:
        """The largest |Q| over recorded actions and over the policy's own, where it explodes first; and its bound."""
        if self._q_bound is None:
            return {}
        observations = self._probe.observations
        recorded = self._algorithm.predict_value(observations, self._probe.actions)
        actions = self._agent.policy_actions(self._algorithm, observations)
        chosen = self._algorithm.predict_value(observations, actions)
        largest = float(max(np.abs(recorded).max(), np.abs(chosen).max()))
        return {"q_abs_max": largest, "q_bound": self._q_bound}


@contextmanager
def training_report(
    name: str,
    steps: int,
    directory: Path | None,
    progress: bool,
    *,
    done: int = 0,
) -> Iterator[Callable[[dict[str, float] | None], None]]:
    """Shows and records one training.

    Args:
        name: What is trained.
        steps: How many updates there will be.
        directory: The training's folder, for the trackers; ``None``: nothing is written.
        progress: Whether the bar is drawn.
        done: How many of the updates there were before a resumed training.

    Yields:
        A function to be called once per update, with what was measured if an epoch ended there.
    """
    tracking = trackers("offline", directory, anew=done == 0)
    with tracking as tracked, track(name, steps, shown=progress) as advance:
        advance(done)

        def report(line: dict[str, float] | None) -> None:
            if line is None:
                advance(1)
                return
            advance(1, "  ".join(text.format(line[key]) for key, text in SHOWN.items() if key in line))
            tracked(int(line["step"]), {key: value for key, value in line.items() if key != "step"})

        yield report
