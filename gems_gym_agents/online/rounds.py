"""Training in rounds, from one start or several; a killed one is resumed and ends with the same policies.

A *round* is ``validate_every`` interactions. It begins with fresh seeds, new users and new sessions, and ends with a
recorded policy and a saved state. A *start* is one model from its own seed; of several starts the worse half is dropped
after 1, 2, 4, ... rounds, until one is left.

Importing this module imports torch and stable-baselines3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from gems_gym.artifacts.unfinished import is_unfinished
from gems_gym.beliefs.trained import TrainedBelief
from gems_gym.common.progress import track
from gems_gym.policies.base import Shown
from gems_gym.policies.saved import SavedPolicy
from gems_gym.trackers import trackers
from gems_gym.user_splits import USERS_PER_SEED, user_seeds
from gems_gym_agents.base import DivergedError, run_arguments
from gems_gym_agents.layers import describe_world
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online.callbacks import (
    Curves,
    KeepingCallback,
    ProgressCallback,
    QBoundCallback,
    mean_training_return,
)
from gems_gym_agents.online.checkpoints import CheckpointRecorder
from gems_gym_agents.online.resume import UnfinishedRounds
from gems_gym_agents.slates.sessions import check_users

_RUN_AWAY = 1e12
"""Weights of that size mean nothing."""


class Trainable(Protocol):
    """What a training needs of an agent; :class:`~gems_gym_agents.online.agent.OnlineAgent` says more of each part."""

    options: Any
    actions: ClassVar[Shown]
    library: ClassVar[str]

    @property
    def files_sha256(self) -> dict[str, str]:
        """Hashes of files that the options name."""
        ...

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> BaseAlgorithm:
        """Make the untrained SB3 model of one start."""
        ...

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> SavedPolicy:
        """Copy a model's deterministic policy into NumPy."""
        ...

    def export_belief(self, model: Any, header: dict[str, Any]) -> TrainedBelief | None:
        """Copy the belief that a model has learned; None if it has none of its own."""
        ...


def train(
    agent: Trainable,
    env: VectorEnv,
    recorder: CheckpointRecorder,
    *,
    steps: int,
    seed: int,
    directory: Path | None,
    device: str,
    progress: bool,
    keep_growth: float | None = None,
) -> None:
    """Trains, leaving every validated policy and the last one in the recorder, even when interrupted or failing.

    An interrupted run in the same directory is resumed from its last finished round and ends with the same bits. The
    state stays until the agent is saved. At the end the mean of late policies is recorded beside them
    (``averaged_share``).

    Several starts play each round one after the other. Until one is left, nothing is saved, and only the policies'
    scores are logged.

    Args:
        agent: Makes the models, and knows their settings.
        env: Box observations (observation_size,), actions as the agent's, autoreset SAME_STEP.
        recorder: Gets the policies of the best start; the last one unscored if training is interrupted.
        steps: Interactions (users times steps) of a start that is not dropped, rounded up to complete vector steps or
            rollouts.
        seed: Decides everything random.
        directory: Curves are written to ``directory/logs`` (CSV, and TensorBoard's file), and what an interrupted run
            resumes from to ``directory/unfinished``; ``None``: nowhere.
        device: A torch device.
        progress: Draw a bar on stderr.
        keep_growth: Records policies within rounds too, whenever the interactions since the first update have grown
            by this share; ``None``: never.

    Raises:
        ValueError: The directory holds an unfinished run of other arguments, or ``validate_every`` is so small that
            the users of a seed do not suffice.
        KeyboardInterrupt: Ctrl-C, passed on once the last policy is recorded.
        DivergedError: The critics have left their bound.
    """
    check_users(env, agent.actions)
    options, title = agent.options, type(agent).__name__.removesuffix("Agent")
    rounds = plan_rounds(
        env,
        validate_every=options.validate_every,
        steps=steps,
        starts=options.starts,
        steps_at_once=options.steps_at_once,
    )
    _check_all_begin_to_learn(options, rounds)
    dropped = sum(one.dropped for one in rounds)
    anew = directory is None or not is_unfinished(directory)
    with borrowed_global_state(device), trackers(title, directory, events="logs", anew=anew) as tracked:
        own: dict[str, Any] = {"steps": steps, "seed": seed, "num_envs": env.num_envs}
        own |= {"device": torch.device(device).type, "world": describe_world(env), **agent.files_sha256}
        libraries = ["stable-baselines3", "torch", agent.library.replace("_", "-")]
        arguments = run_arguments(options.agent, options, recorder.evaluate, libraries, **own)
        run = UnfinishedRounds(directory, arguments | ({"keep_growth": keep_growth} if keep_growth else {}))

        def start(its_seed: int, its_recorder: CheckpointRecorder) -> Start:
            return Start(agent, env, its_seed, device, its_recorder, keep_growth)

        best = start(seed, recorder)
        curves = Curves(directory, tracked, run.restore(best.model, recorder))
        starts = [best]
        if not best.interactions and options.starts > 1:  # a resumed run has one start left
            seeds = start_seeds(seed, options.starts)
            starts = [start(one, CheckpointRecorder(recorder.evaluate, None)) for one in seeds]
            best = starts[0]
        try:
            with track(title, rounds[-1].end + dropped, progress) as advance:
                advance(recorder.dropped + best.interactions)
                for present in [one for one in rounds if one.end > best.interactions]:
                    if present.starts == 1:
                        best.report_to(recorder, curves)
                    begun = starts
                    starts = _sane_after(starts, present, advance)
                    starts = sorted(starts, key=lambda one: one.best_score, reverse=True)[: present.left]
                    best = starts[0]
                    played = sum(one.interactions for one in begun if one not in starts)
                    recorder.dropped += played
                    advance(max(present.dropped - played, 0))  # what diverged starts have not played
                    if present.left == 1:
                        best.report_to(recorder, curves)
                        run.save(best.model, recorder, curves.text)
            if options.averaged_share:
                best.report_to(recorder, curves)  # a resumed run may have no round left
                best.record_mean(rounds[-1].end - round(rounds[-1].end * options.averaged_share))
        except BaseException as error:
            with suppress(ValueError):  # weights that are no numbers, which nobody wants
                best.record(score=False)
            best.report_to(recorder, curves)
            if isinstance(error, DivergedError):
                run.discard()  # a resumed run would end the same way
            raise
        finally:
            curves.logger.close()


def _check_all_begin_to_learn(options: Any, rounds: Sequence[Round]) -> None:
    """Raise a ValueError if starts would be compared before they have begun to learn."""
    begins = getattr(options, "learning_starts", 0)
    if options.starts > 1 and rounds[0].end <= begins:
        raise ValueError(
            f"validate_every={options.validate_every}: starts are compared after {rounds[0].end} interactions, and "
            f"learning begins after learning_starts={begins}; validate less often"
        )


def _sane_after(starts: Sequence[Start], present: Round, advance: Callable[..., None]) -> list[Start]:
    """Train all starts for a round; those that diverge are left out, as long as there is another."""
    sane = list(starts)
    for one in starts:
        try:
            one.train_round(present, advance)
        except DivergedError:
            if len(sane) == 1:
                raise
            sane.remove(one)
    return sane


class Start:
    """A model in training, and the recorder of its policies. It logs nothing before it reports to the run.

    Args:
        agent: Makes the model.
        env: Whose users it meets.
        seed: A seed of its own.
        device: A torch device.
        recorder: Gets its policies.
        keep_growth: See :func:`train`.
    """

    def __init__(
        self,
        agent: Trainable,
        env: VectorEnv,
        seed: int,
        device: str,
        recorder: CheckpointRecorder,
        keep_growth: float | None,
    ) -> None:
        self.agent = agent
        self.env = env
        self.recorder = recorder
        self.keep_growth = keep_growth
        self.model: BaseAlgorithm = agent.make_model(env, seed=seed, device=device)
        self.model.set_logger(Logger(None, []))

    @property
    def interactions(self) -> int:
        """Interactions so far."""
        return self.model.num_timesteps

    @property
    def best_score(self) -> float:
        """Score of the best policy so far; minus infinity before one is scored."""
        best = self.recorder.best
        return -np.inf if best is None or best.score is None else best.score

    def report_to(self, recorder: CheckpointRecorder, curves: Curves) -> None:
        """Put its policies, past and future, into the run's recorder and curves."""
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
        """Plays and learns to the end of a round and records the policy.

        Args:
            present: The round; seeds and users are its own.
            advance: The function that is yielded by :func:`gems_gym.common.progress.track`.
        """
        model = self.model
        assert model.env is not None
        assert isinstance(model.seed, int)
        callbacks: list[BaseCallback] = [ProgressCallback(advance, present.end, self.recorder)]
        off_policy = isinstance(model, OffPolicyAlgorithm)
        if off_policy:
            callbacks.insert(0, QBoundCallback(self._largest_reward(), self.agent.options.gamma))
        if self.keep_growth:
            callbacks.append(KeepingCallback(self.keep_growth, self.recorder, self.record))
        users = user_seeds("training", model.seed, model.n_envs, start=present.number * model.n_envs)
        model.set_random_seed(int(np.random.SeedSequence([model.seed, present.number]).generate_state(1)[0]))
        model.env.seed(users)  # type: ignore[arg-type]  # ours takes lists
        model.set_env(model.env)  # SB3's way to have ``learn`` reset the environment
        try:
            # Off policy, SB3 counts sessions. Users end theirs together: one line of the log for all, not one per user.
            model.learn(
                present.end - model.num_timesteps,
                callback=callbacks,
                log_interval=model.n_envs if off_policy else 1,
                reset_num_timesteps=False,
            )
            self.record()
        # torch refuses to draw from what is no distribution, and files what is no number
        except ValueError as error:
            # "<" is false for NaN as well
            if all(bool((weights.abs() < _RUN_AWAY).all()) for weights in model.policy.state_dict().values()):
                raise
            raise DivergedError(
                f"weights have run away after {model.num_timesteps} interactions; lower learning_rate"
            ) from error
        model.dump_logs()

    def record(self, *, score: bool = True) -> None:
        """Records the present policy, unless it has been already or has not begun to learn; and logs its score."""
        last = self.recorder.last
        if self.model._n_updates and (last is None or last.interactions < self.interactions):
            made_by = {
                "agent": self.agent.options.agent,
                "seed": self.model.seed,
                "interactions": self.interactions,
            }
            checkpoint = self.recorder.record(
                self.interactions,
                mean_training_return(self.model),
                self.agent.export_actor(self.model, made_by),
                self.agent.export_belief(self.model, made_by),
                score=score,
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
        return None if slate_size is None else float(slate_size) * self.agent.options.reward_scale


@dataclass(frozen=True, kw_only=True)
class Round:
    """A stretch of training, at whose end policies are validated and the state is saved.

    Attributes:
        number: Number of the round, from 0.
        first: Interactions of a start before it.
        end: Interactions of a start after it.
        starts: How many starts are trained in it.
        left: How many of them are trained on.
    """

    number: int
    first: int
    end: int
    starts: int
    left: int

    @property
    def dropped(self) -> int:
        """Interactions in it of all starts but one."""
        return (self.starts - 1) * (self.end - self.first)


def plan_rounds(
    env: VectorEnv, *, validate_every: int, steps: int, starts: int, steps_at_once: int = 1
) -> list[Round]:
    """Rounds of ``validate_every`` interactions, rounded up to complete sessions and rollouts of all users.

    Args:
        env: What is learned in.
        validate_every: Interactions.
        steps: Interactions of a start that is not dropped, rounded up to complete rollouts.
        starts: How many starts begin.
        steps_at_once: Steps of each user in a rollout.

    Raises:
        ValueError: More rounds than the users of a seed suffice for.
    """
    length = getattr(getattr(env.unwrapped, "config", None), "episode_length", 1)
    sessions, rollout = env.num_envs * math.lcm(length, steps_at_once), env.num_envs * steps_at_once
    every = -(-validate_every // sessions) * sessions
    last = -(-steps // rollout) * rollout
    count = -(-last // every)
    if count * env.num_envs > USERS_PER_SEED:
        raise ValueError(
            f"validate_every={validate_every}: {count} rounds, each with {env.num_envs} new users, need more than "
            f"the {USERS_PER_SEED} users of a seed; validate less often"
        )
    ends = [*range(every, last, every), last]
    counts = [*starts_in_rounds(starts, len(ends)), 1]
    return [
        Round(number=number, first=first, end=end, starts=counts[number], left=counts[number + 1])
        for number, (first, end) in enumerate(zip([0, *ends], ends, strict=False))
    ]


def starts_in_rounds(starts: int, rounds: int) -> list[int]:
    """How many starts are trained in each round: half of them, rounded up, after 1, 2, 4, ... rounds.

    Successive halving (Jamieson & Talwalkar, 2016, arXiv 1502.07943), with rounds for a budget.

    Examples:
        >>> starts_in_rounds(8, 6)
        [8, 4, 2, 2, 1, 1]
    """
    return [-(-starts // 2 ** done.bit_length()) for done in range(rounds)]


def start_seeds(seed: int, starts: int) -> Sequence[int]:
    """The first start has the run's own seed; the others' are made of it, 20 bits each, as ``user_seeds`` wants."""
    return [seed, *(np.random.SeedSequence(seed).generate_state(starts - 1) >> 12).tolist()]
