"""A model in training: it plays rounds, and its policies are recorded after each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from gymnasium.vector import VectorEnv
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from gems_gym.user_splits import user_seeds
from gems_gym_agents.online.callbacks import (
    KeepingCallback,
    ProgressCallback,
    QBoundCallback,
    mean_training_return,
)
from gems_gym_agents.online.checkpoints import CheckpointRecorder
from gems_gym_agents.online.curves import Curves
from gems_gym_agents.online.end_to_end import export_belief
from gems_gym_agents.online.model import export_actor
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.rounds import Round


class Trainee:
    """A model, and the recorder of its policies. It logs nothing before it leads.

    Args:
        model: freshly made in ``env``, from a seed of its own.
        env: whose users it meets.
        options: what it was made with.
        recorder: gets its policies.
        keep_growth: see :func:`gems_gym_agents.online.training.train_sac`.
    """

    def __init__(
        self,
        model: SAC,
        env: VectorEnv,
        options: SACOptions,
        recorder: CheckpointRecorder,
        keep_growth: float | None,
    ) -> None:
        self.model = model
        self.env = env
        self.options = options
        self.recorder = recorder
        self.keep_growth = keep_growth
        model.set_logger(Logger(None, []))

    @property
    def interactions(self) -> int:
        """Interactions so far."""
        return self.model.num_timesteps

    @property
    def best_score(self) -> float:
        """Score of the best policy so far; minus infinity before one is scored."""
        best = self.recorder.best
        return -np.inf if best is None or best.score is None else best.score

    def lead(self, recorder: CheckpointRecorder, curves: Curves) -> None:
        """From now on it is the run's: its policies so far and from here on are in the run's recorder and curves."""
        if self.recorder is not recorder:
            recorder.take(self.recorder.checkpoints)
            self.recorder = recorder
            for checkpoint in recorder.checkpoints:
                if checkpoint.score is not None:
                    curves.logger.record("time/total_timesteps", checkpoint.interactions)
                    curves.logger.record("validation/clicks_per_session", checkpoint.score)
                    curves.logger.dump(checkpoint.interactions)
        self.model.set_logger(curves.logger)

    def train_round(self, present: Round, advance: Callable[..., None]) -> None:
        """Plays and learns until the end of a round, whatever came before, and records the policy.

        Args:
            present: the round; seeds and users are its own.
            advance: of :func:`gems_gym.common.progress.track`.
        """
        model = self.model
        assert model.env is not None
        assert isinstance(model.seed, int)
        callbacks: list[BaseCallback] = [
            QBoundCallback(self._largest_reward(), self.options.gamma),
            ProgressCallback(advance, present.end, self.recorder),
        ]
        if self.keep_growth:
            callbacks.append(KeepingCallback(self.keep_growth, self.recorder, self.record))
        users = user_seeds("training", model.seed, model.n_envs, start=present.number * model.n_envs)
        model.set_random_seed(int(np.random.SeedSequence([model.seed, present.number]).generate_state(1)[0]))
        model.env.seed(users)  # type: ignore[arg-type]  # ours takes lists
        model.set_env(model.env)  # SB3's way to have ``learn`` reset the environment
        # Users end their sessions together: one line of the log per round of sessions, not one per user.
        model.learn(
            present.end - model.num_timesteps,
            callback=callbacks,
            log_interval=model.n_envs,
            reset_num_timesteps=False,
        )
        self.record()
        model.dump_logs()

    def record(self, *, score: bool = True) -> None:
        """Records the present policy, unless it has been already or has not begun to learn; and logs its score."""
        last = self.recorder.last
        if self.interactions > self.model.learning_starts and (
            last is None or last.interactions < self.interactions
        ):
            made_by = {
                "agent": self.options.agent,
                "seed": self.model.seed,
                "interactions": self.interactions,
            }
            actor, belief = export_actor(self.model, made_by), export_belief(self.model, made_by)
            checkpoint = self.recorder.record(
                self.interactions, mean_training_return(self.model), actor, belief, score=score
            )
            if checkpoint.score is not None:
                self.model.logger.record("validation/clicks_per_session", checkpoint.score)

    def record_mean(self, first: float) -> None:
        """Records the mean of the policies from ``first`` interactions on, if there are several; and logs its score."""
        mean = self.recorder.record_mean(first)
        if mean is not None and mean.score is not None:
            self.model.logger.record("validation/clicks_per_session_of_mean", mean.score)
            self.model.logger.dump(mean.interactions)

    def _largest_reward(self) -> float | None:
        """Largest scaled reward of one step: one click per slot; ``None`` where the environment has no slates."""
        slate_size = getattr(getattr(self.env.unwrapped, "config", None), "slate_size", None)
        return None if slate_size is None else float(slate_size) * self.options.reward_scale
