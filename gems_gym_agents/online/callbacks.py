"""What happens beside SB3's training loop: curves, a progress bar, a watch on the critics, policies kept meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import CSVOutputFormat, KVWriter, Logger, configure

from gems_gym_agents.base import DivergedError
from gems_gym_agents.online.checkpoints import CheckpointRecorder

EXPLOSION_FACTOR = 10.0
"""How far |Q| may pass its bound before training stops."""

_CHECK_EVERY = 100  # vector steps between two looks at the critics
_REDRAW_EVERY = 10  # vector steps between two updates of the progress bar's text


def mean_training_return(model: Any) -> float | None:
    """Mean unscaled return of the last finished training sessions; ``None`` before the first ends."""
    sessions = model.ep_info_buffer
    return float(np.mean([session["r"] for session in sessions])) if sessions else None


def critic_values(model: Any, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """What a model expects, ``(num_users, …)``: of actions by each critic, or of every action if it knows them all."""
    if hasattr(model, "q_net"):
        values: torch.Tensor = model.q_net(observations)
        return values
    given = model.critic(observations, actions)  # those of TQC return quantiles
    return given.mean(dim=2) if isinstance(given, torch.Tensor) else torch.cat(given, dim=1)


class QBoundCallback(BaseCallback):
    """Logs |Q| of the latest transitions against the largest value that rewards allow, and stops an explosion.

    No return can pass max reward / (1 - gamma), both in scaled rewards. Some values hold an entropy bonus on top, so
    that passing the bound a little is no alarm; passing it :data:`EXPLOSION_FACTOR` times is.

    Args:
        max_reward: Largest scaled reward of one step; ``None``: the largest in the replay buffer so far.
        gamma: Discount factor, in [0, 1).
    """

    def __init__(self, max_reward: float | None, gamma: float) -> None:
        super().__init__()
        self.max_reward = max_reward
        self.gamma = gamma

    def _on_step(self) -> bool:
        model: Any = self.model
        # by what the model counts: a resumed run logs at the same steps
        if model.num_timesteps // model.n_envs % _CHECK_EVERY or model.num_timesteps <= model.learning_starts:
            return True
        max_reward = self.max_reward
        if max_reward is None:
            max_reward = float(np.abs(model.replay_buffer.rewards).max())
        bound = max_reward / (1.0 - self.gamma)
        # SB3 calls this before it moves _last_obs on: these are the observations that the actions answered.
        observations = torch.as_tensor(model._last_obs, device=model.device)
        actions = torch.as_tensor(self.locals["buffer_actions"], device=model.device)
        with torch.no_grad():
            values = critic_values(model, observations, actions).abs()
        largest = float(values.max())
        self.logger.record("train/q_abs_mean", float(values.mean()))
        self.logger.record("train/q_abs_max", largest)
        self.logger.record("train/q_bound", bound)
        # "not <=" catches NaN as well
        if max_reward > 0.0 and not largest <= EXPLOSION_FACTOR * bound:
            raise DivergedError(
                f"|Q| reached {largest:.4g} after {self.num_timesteps} interactions; rewards allow at most "
                f"max reward / (1 - gamma) = {max_reward:.4g} / {1.0 - self.gamma:.4g} = {bound:.4g}. "
                "Lower learning_rate, gamma or, where there is one, initial_entropy, and check that actions are in "
                "[-1, 1]"
            )
        return True


class ProgressCallback(BaseCallback):
    """Moves a progress bar on, with clicks per session of the last finished sessions and the best validation score.

    Args:
        advance: The function that is yielded by :func:`gems_gym.common.progress.track`.
        end: Interactions at which ``learn`` ends.
        recorder: Knows the best policy so far.
    """

    def __init__(self, advance: Callable[..., None], end: int, recorder: CheckpointRecorder) -> None:
        super().__init__()
        self.advance = advance
        self.end = end
        self.recorder = recorder
        self._shown = 0  # interactions

    def _on_training_start(self) -> None:
        self._shown = self.num_timesteps

    def _on_step(self) -> bool:
        if self.n_calls % _REDRAW_EVERY == 0 or self.num_timesteps >= self.end:
            self.advance(self.num_timesteps - self._shown, note=self._scores())
            self._shown = self.num_timesteps
        return True

    def _scores(self) -> str:
        training, best = mean_training_return(self.model), self.recorder.best
        parts = [] if training is None else [f"{training:.1f} clicks per session"]
        if best is not None:
            parts.append(f"best on validation users {best.score:.1f}")
        return ", ".join(parts)


class KeepingCallback(BaseCallback):
    """Keeps policies within rounds: early in learning, a round is enough to become good.

    Args:
        growth: A policy is kept when the interactions since the first update have grown by this share, > 0.
        recorder: Knows the last policy that was kept.
        keep: Keeps the present one.
    """

    def __init__(self, growth: float, recorder: CheckpointRecorder, keep: Callable[[], None]) -> None:
        super().__init__()
        self.growth = growth
        self.recorder = recorder
        self.keep = keep

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        # after the updates of the step before; those of a round's last step are behind its end
        start, last = getattr(self.model, "learning_starts", 0), self.recorder.last
        before = 0 if last is None else last.interactions - start
        if self.num_timesteps > start and self.num_timesteps - start >= (1.0 + self.growth) * before:
            self.keep()


class _Tracked(KVWriter):
    """Hands what SB3 logs to the chosen trackers."""

    def __init__(self, tracked: Callable[[int, Mapping[str, float]], None]) -> None:
        self._tracked = tracked

    def write(self, key_values: dict[str, Any], key_excluded: dict[str, Any], step: int = 0) -> None:
        """A line of the log: its numbers."""
        self._tracked(step, {key: float(one) for key, one in key_values.items() if isinstance(one, Real)})

    def close(self) -> None:
        """Whoever opened the trackers closes them."""


class Curves:
    """SB3's logger, writing ``logs/progress.csv``; a resumed run appends to it.

    Args:
        directory: The run's folder; ``None`` writes nothing.
        tracked: Takes every line too, see :func:`gems_gym.trackers.trackers`.
        so_far: The CSV file's text when the run that is resumed was interrupted; empty: starts anew.

    Attributes:
        logger: Give it to SB3's ``set_logger``.
    """

    def __init__(
        self,
        directory: Path | None,
        tracked: Callable[[int, Mapping[str, float]], None],
        so_far: str = "",
    ) -> None:
        self.logger = Logger(None, [])
        self._csv: CSVOutputFormat | None = None
        if directory is None:
            return
        self.logger = configure(str(directory / "logs"), ["csv"])
        self.logger.output_formats.append(_Tracked(tracked))
        self._csv = next(one for one in self.logger.output_formats if isinstance(one, CSVOutputFormat))
        if so_far:  # SB3 has opened the file anew, without its lines
            self._csv.file.write(so_far)
            self._csv.keys = so_far.partition("\n")[0].split(",")

    @property
    def text(self) -> str:
        """The CSV file's text."""
        return "" if self._csv is None else Path(self._csv.file.name).read_text()
