"""What the offline agents share: options, fitting to a recorded dataset, exporting the policy, saving and loading.

An agent is an options class and a subclass of :class:`OfflineAgent` or :class:`ValueAgent` with one method, ``config``;
see :mod:`gems_gym_agents.offline.td3` for short ones.
"""

from __future__ import annotations

import abc
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from gems_gym.artifacts.unfinished import discard_unfinished
from gems_gym.common.checks import (
    Count,
    Seed,
    checked_arguments,
    make_checked,
)
from gems_gym.common.files import write_json
from gems_gym.common.machine import check_device
from gems_gym.datasets import open_dataset
from gems_gym.datasets.reader import check_is_dataset
from gems_gym_agents.base import POLICY_FILE, DivergedError, Evaluate, run_arguments
from gems_gym_agents.library_state import borrowed_global_state, import_library
from gems_gym_agents.offline.exporting import check_same, hidden_layers
from gems_gym_agents.offline.loop import Progress, TrainingLoop, training_report
from gems_gym_agents.offline.options import TrainingOptions, ValueOptions

if TYPE_CHECKING:
    from gems_gym.policies.saved import LatentPolicy
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

TRAINING_FILE = "training.json"

NO_ENTROPY = -30.0
"""Log temperature without entropy bonus; −∞ would make NaN of an infinite log-probability."""


class OfflineAgent(abc.ABC):
    """An agent that learns from a recorded dataset (:class:`gems_gym_agents.base.Agent`).

    Args:
        **options: Fields of the class's ``options_class``; the defaults are the recipe's.

    Attributes:
        options: The options, checked.
        history: One dict per epoch: ``step``, mean losses, ``q_abs_max`` and ``q_bound`` (agents with
            Q-functions), and ``score`` (when fitted with ``evaluate``).
        last: The policy of the last epoch; the agent itself acts as the best.

    Raises:
        ValueError: If an option is unknown or out of its range.

    Examples:
        >>> agent = TD3PlusBCAgent(alpha=1.0)  # doctest: +SKIP
        >>> agent.fit("gems-slate/diffuse_topdown/medium-v0", steps=10_000, seed=0)  # doctest: +SKIP
        >>> latents = agent.policy(beliefs)  # doctest: +SKIP
    """

    learns_from: ClassVar[Literal["dataset", "environment"]] = "dataset"
    options_class: ClassVar[type[TrainingOptions]]

    def __init__(self, **options: Any) -> None:
        self.options = make_checked(self.options_class, f"option of {type(self).__name__}", options)
        self._progress = Progress()
        self._record: dict[str, Any] = {}
        self._finished = False

    @property
    def history(self) -> list[dict[str, float]]:
        """What was measured at the end of each epoch."""
        return self._progress.history

    @property
    def last(self) -> LatentPolicy:
        """The policy of the last epoch.

        Raises:
            RuntimeError: If ``fit`` has not been called.
        """
        return self._fitted(self._progress.last)

    @abc.abstractmethod
    def config(self, d3rlpy: Any) -> Any:
        """Makes the configuration of d3rlpy's algorithm from the options; the one method that agents must define."""

    def prepare(self, algorithm: Any, buffer: SessionReplayBuffer) -> None:  # noqa: B027
        """Changes the built algorithm before it is trained, where an agent needs that."""

    def data_settings(self, d3rlpy: Any, buffer: SessionReplayBuffer) -> dict[str, Any]:
        """Settings of d3rlpy's configuration that depend on what is learned from.

        Raises:
            ValueError: A number of the observations that is to be scaled by its range is always the same.
        """
        if self.options.observation_scaler is None:
            return {}
        scalers, (observations, _) = d3rlpy.preprocessing, buffer.recorded
        if self.options.observation_scaler == "standard":
            mean = observations.mean(axis=0, dtype=np.float64)
            deviation = observations.std(axis=0, dtype=np.float64)
            deviation[deviation < 1e-3] = 1.0  # a number that is always the same says nothing
            return {"observation_scaler": scalers.StandardObservationScaler(mean, deviation)}
        lowest, highest = observations.min(axis=0), observations.max(axis=0)
        if (constant := np.flatnonzero(lowest == highest)).size:
            raise ValueError(
                f"observation_scaler='minmax' divides by the range of each number of an observation, and number "
                f"{constant[0]} is always {lowest[constant[0]]:.4g} in this dataset; use 'standard'"
            )
        return {"observation_scaler": scalers.MinMaxObservationScaler(lowest, highest)}

    def sample(self, buffer: SessionReplayBuffer) -> Any:
        """Draws what one update learns from: here, transitions."""
        return buffer.sample_transition_batch(self.options.batch_size)

    def check_steps(self, steps: int) -> None:  # noqa: B027
        """Refuses a number of updates with which an agent's options make no sense, by a ValueError."""

    def encoder(self, d3rlpy: Any) -> Any:
        """Makes the factory of the hidden layers."""
        return d3rlpy.models.VectorEncoderFactory(
            hidden_units=list(self.options.hidden_units), use_layer_norm=self.options.layer_norm
        )

    def optimizer(self, d3rlpy: Any) -> Any:
        """Makes the factory of the optimisers."""
        return d3rlpy.optimizers.AdamFactory(clip_grad_norm=self.options.grad_clip)

    def q_bound(self, algorithm: Any, buffer: SessionReplayBuffer) -> float | None:
        """The largest |Q| that rewards allow; ``None``: the agent has no Q-function."""
        return None

    def policy_modules(self, algorithm: Any) -> list[Any]:
        """The layers of the policy that is exported: here, a network and tanh, of its mean if it is a Gaussian.

        Args:
            algorithm: d3rlpy's, with the trained networks.

        Returns:
            What :func:`gems_gym_agents.actors.actor_from_modules` takes.
        """
        import torch

        policy = algorithm.impl.policy
        head = policy._fc if hasattr(policy, "_fc") else policy._mu  # a deterministic or a Gaussian policy
        return [*hidden_layers(algorithm, policy), head, torch.nn.Tanh()]

    def policy_actions(self, algorithm: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the policy that is exported chooses, by d3rlpy itself: (num_observations, action_size)."""
        actions: NDArray[np.float32] = algorithm.predict(observations)
        return actions

    def export(self, algorithm: Any, observations: NDArray[np.float32]) -> LatentPolicy:
        """Exports the deterministic policy of a d3rlpy algorithm, and checks that it acts the same.

        Args:
            algorithm: A built algorithm.
            observations: ``(num_observations, observation_size)``, what both are compared on.

        Returns:
            The policy, of :meth:`policy_class`, free of torch.

        Raises:
            RuntimeError: An action differs by more than 1e-5: d3rlpy's networks have another form than was assumed.
        """
        from gems_gym_agents.actors import actor_from_modules

        actor = actor_from_modules(self.policy_modules(algorithm))
        check_same(actor(observations), self.policy_actions(algorithm, observations), algorithm)
        return actor

    @classmethod
    def policy_class(cls) -> type[LatentPolicy]:
        """What the exported policy is, and what reads it from its file."""
        from gems_gym.policies.actor import Actor

        return Actor

    @checked_arguments
    def fit(
        self,
        source: Any,
        *,
        steps: Count,
        seed: Seed,
        directory: Path | None = None,
        device: str = "cpu",
        evaluate: Evaluate | None = None,
        progress: bool = True,
        save_every: Count | None = None,
    ) -> None:
        """Trains for exactly ``steps`` gradient updates, from scratch or from where the same training was interrupted.

        If ``directory`` holds the unfinished run of the same arguments, killed or interrupted, it is resumed from its
        last saved state; on the CPU it ends with the same policy, bit for bit, and the same history. Global generators
        and thread settings are as before afterwards.

        Args:
            source: A ``minari.MinariDataset`` with beliefs as observations and latents as actions, or a local one's id.
            steps: Gradient updates, ≥ 1.
            seed: Decides everything random.
            directory: Gets what trackers write, and ``unfinished/`` until the agent is saved; ``None`` writes nothing.
            device: A torch device.
            evaluate: Scores the policy at the end of each epoch; the best one is then the one that is kept.
            progress: Draws a progress bar on stderr.
            save_every: Updates between two saved states, ≥ 1; ``None``: one at the end of each epoch.

        Raises:
            ValueError: If an argument is out of its range, the dataset is not a latent one, or the directory holds an
                unfinished run of other arguments.
            DivergedError: If |Q| leaves its bound for good (:func:`~gems_gym_agents.offline.divergence.check_sane`),
                or a loss becomes NaN.
            ImportError: If d3rlpy or Minari is not installed; it names the extra.
        """
        check_is_dataset(source, "source")
        self.check_steps(steps)
        d3rlpy = import_library("d3rlpy")
        check_device(device)
        from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer
        from gems_gym_agents.offline.resume import UnfinishedTraining

        dataset = open_dataset(source)
        buffer = SessionReplayBuffer.from_minari(dataset, seed=seed)
        self._record = {"steps": steps, "seed": seed, "dataset": describe_dataset(dataset)}
        self._progress, self._finished = Progress(), False
        with borrowed_global_state(device):
            d3rlpy.seed(seed)
            config = replace(self.config(d3rlpy), **self.data_settings(d3rlpy, buffer))
            algorithm = config.create(device=device)
            algorithm.build_with_dataset(buffer)
            self.prepare(algorithm, buffer)
            loop = TrainingLoop(self, algorithm, buffer, evaluate)
            arguments = {} if directory is None else self._arguments(buffer, device, evaluate)
            run = UnfinishedTraining(directory, arguments, algorithm, buffer, device, self.policy_class())
            self._progress = now = run.restore()
            with training_report(type(self).__name__, steps, directory, progress, done=now.step) as report:
                every = save_every or self.options.steps_per_epoch
                try:
                    loop.run(now, steps, save=run.save, save_every=every, report=report)
                except DivergedError as error:
                    run.discard()  # a resumed run would end the same way
                    raise DivergedError(f"{error}{_way_back(now)}") from error
        self._finished = True

    @property
    def policy(self) -> LatentPolicy:
        """The policy that was chosen.

        Raises:
            RuntimeError: If ``fit`` has not been called.
        """
        return self._fitted(self._progress.best)

    @checked_arguments
    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` and ``training.json`` (options, dataset, seed, log).

        What an interrupted run there would resume from is removed, unless this one was interrupted itself.

        Raises:
            RuntimeError: If ``fit`` has not been called.
        """
        policy = self.policy
        policy.save(directory / POLICY_FILE)
        record = {
            "agent": type(self).__name__,
            "options": asdict(self.options),
            **self._record,
            **self._progress.best_record,
            "history": self.history,
        }
        write_json(directory / TRAINING_FILE, record)
        if self._finished:
            discard_unfinished(directory)

    @classmethod
    @checked_arguments
    def load(cls, directory: Path) -> LatentPolicy:
        """Reads a saved policy, for acting only; needs neither d3rlpy nor torch."""
        return cls.policy_class().load(Path(directory) / POLICY_FILE)

    def _fitted(self, policy: LatentPolicy | None) -> LatentPolicy:
        if policy is None:
            raise RuntimeError(
                f"{type(self).__name__} has not been fitted: call fit first, or load a saved one"
            )
        return policy

    def _arguments(
        self, buffer: SessionReplayBuffer, device: str, evaluate: Evaluate | None
    ) -> dict[str, Any]:
        """Everything that decides the result of a training, JSON types only."""
        import torch

        own = {
            **self._record,
            "rows_sha256": buffer.rows_sha256,
            "device": torch.device(device).type,
        }
        return run_arguments(type(self).__name__, self.options, evaluate, ["d3rlpy", "torch"], **own)


class ValueAgent(OfflineAgent):
    """An offline agent with Q-functions, whose values are watched against their bound."""

    options: ValueOptions

    def shared_settings(self, d3rlpy: Any) -> dict[str, Any]:
        """Settings that mean the same in every algorithm with actor and critics."""
        return {
            "gamma": self.options.gamma,
            "tau": self.options.tau,
            "batch_size": self.options.batch_size,
            "actor_learning_rate": self.options.actor_learning_rate,
            "critic_learning_rate": self.options.critic_learning_rate,
            "actor_encoder_factory": self.encoder(d3rlpy),
            "critic_encoder_factory": self.encoder(d3rlpy),
            "actor_optim_factory": self.optimizer(d3rlpy),
            "critic_optim_factory": self.optimizer(d3rlpy),
            "reward_scaler": self._reward_scaler(d3rlpy.preprocessing),
        }

    def _reward_scaler(self, preprocessing: Any) -> Any:
        scalers = {
            "scale": preprocessing.MultiplyRewardScaler,
            "standard": preprocessing.StandardRewardScaler,
            "minmax": preprocessing.MinMaxRewardScaler,
            "return": preprocessing.ReturnBasedRewardScaler,
        }
        return scalers[self.options.reward_scaler](multiplier=self.options.reward_scale)

    def q_bound(self, algorithm: Any, buffer: SessionReplayBuffer) -> float | None:
        """The largest |Q| that rewards allow: max |reward| / (1 − gamma), in scaled rewards.

        Raises:
            ValueError: The dataset has no rewards; or its rewards, or returns, are all the same, and can't be scaled
                by their range.
        """
        scaler = algorithm.reward_scaler
        if not scaler.built:
            scaler.fit_with_transition_picker(buffer.episodes, buffer.transition_picker)
        with np.errstate(divide="ignore", invalid="ignore"):
            largest = float(np.abs(scaler.transform_numpy(buffer.reward_range)).max())
        if not np.isfinite(largest):
            raise ValueError(
                f"reward_scaler={self.options.reward_scaler!r} divides by the range of rewards or returns, which are "
                "all the same in this dataset; use reward_scaler='scale'"
            )
        if largest == 0:
            raise ValueError("the dataset's rewards are all 0: there is nothing to learn from")
        return largest / (1.0 - self.options.gamma)


def _way_back(progress: Progress) -> str:
    """How to get the best policy from before it diverged: a shorter training makes the same updates."""
    if not progress.best_record:
        return ""
    step, score = progress.best_record["best_step"], progress.best_record["best_score"]
    return f". The best policy until then, with a score of {score:.4g}, comes out again with steps={step}"


def describe_dataset(dataset: Any) -> dict[str, Any]:
    """Says which dataset was learned from: id, size, environment, and the hashes that its metadata hold."""
    metadata = dataset.storage.metadata
    return {
        "id": dataset.id,
        "episodes": int(dataset.total_episodes),
        "transitions": int(dataset.total_steps),
        "env_id": dataset.env_spec.id if dataset.env_spec is not None else None,
        **{key: metadata.get(key) for key in ("content_hash", "ranker_sha256", "belief_sha256")},
    }
