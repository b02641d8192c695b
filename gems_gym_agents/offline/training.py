"""What the offline agents share: the training loop over a recorded dataset, its log, and the export of the policy.

The loop calls d3rlpy's public ``update`` with one mini-batch at a time instead of its ``fit``, which trains
nothing when ``n_steps < n_steps_per_epoch``, drops the remainder of the last epoch, and writes its log to stdout.
"""

from __future__ import annotations

import abc
import math
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from gems_gym.checks import Count, Seed, checked_arguments, make_checked
from gems_gym.datasets.reader import check_is_dataset
from gems_gym.errors import require
from gems_gym.machine import check_device
from gems_gym.whole_files import write_json
from gems_gym_agents.base import DivergedError, Evaluate, FloatArray
from gems_gym_agents.library_state import borrowed_global_state, import_library
from gems_gym_agents.offline.options import TrainingOptions, ValueOptions
from gems_gym_agents.offline.reporting import training_report

if TYPE_CHECKING:
    from gems_gym.policies.actor import Actor
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

POLICY_FILE = "policy.safetensors"
TRAINING_FILE = "training.json"

PROBE_SIZE = 1024
"""Transitions on which |Q| is watched and the export is compared."""

EXPORT_TOLERANCE = 1e-5
"""Largest accepted difference between an action of the exported policy and of d3rlpy's."""

Q_ALARM = 10.0
"""Training stops when |Q| passes its bound by this factor."""


class OfflineAgent(abc.ABC):
    """An agent that learns from a recorded dataset (:class:`gems_gym_agents.base.Agent`).

    Args:
        **options: Fields of the class's ``options_class``; the defaults are the recipe's.

    Attributes:
        options: The options, checked.
        history: One dict per epoch: ``step``, mean losses, ``q_abs_max`` and ``q_bound`` (agents with
            Q-functions), and ``score`` (when fitted with ``evaluate``).

    Raises:
        ValueError: If an option is unknown or out of its range.

    Examples:
        >>> agent = TD3PlusBCAgent(alpha=1.0)  # doctest: +SKIP
        >>> agent.fit("gems-slate/diffuse_topdown/medium-v0", steps=10_000, seed=0)  # doctest: +SKIP
        >>> latents = agent.act(beliefs)  # doctest: +SKIP
    """

    learns_from: ClassVar[Literal["dataset", "environment"]] = "dataset"
    options_class: ClassVar[type[TrainingOptions]]
    has_q_function: ClassVar[bool] = False

    def __init__(self, **options: Any) -> None:
        self.options = make_checked(self.options_class, f"option of {type(self).__name__}", options)
        self.history: list[dict[str, float]] = []
        self._actor: Actor | None = None
        self._record: dict[str, Any] = {}

    @abc.abstractmethod
    def config(self, d3rlpy: Any) -> Any:
        """Makes the configuration of d3rlpy's algorithm from the options; the one method that agents must define."""

    def prepare(self, algorithm: Any) -> None:  # noqa: B027
        """Changes the built algorithm before it is trained, where an agent needs that."""

    def encoder(self, d3rlpy: Any) -> Any:
        """Makes the factory of the hidden layers."""
        return d3rlpy.models.VectorEncoderFactory(
            hidden_units=list(self.options.hidden_units), use_layer_norm=self.options.layer_norm
        )

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
    ) -> None:
        """Trains from scratch, for exactly ``steps`` gradient updates.

        Global generators and thread settings are as before afterwards.

        Args:
            source: A ``minari.MinariDataset`` with beliefs as observations and latents as actions, or a local one's id.
            steps: Gradient updates, ≥ 1.
            seed: Decides everything random.
            directory: Where TensorBoard's event file goes; ``None`` writes nothing.
            device: A torch device.
            evaluate: Scores the policy at the end of each epoch; the best one is then the one that is kept.
            progress: Draws a progress bar on stderr.

        Raises:
            ValueError: If an argument is out of its range, or the dataset is not a latent one.
            DivergedError: If |Q| passes its bound by 10 times, or a loss becomes NaN.
            ImportError: If d3rlpy or Minari is not installed; it names the extra.
        """
        check_is_dataset(source, "source")
        check_device(device)
        d3rlpy = import_library("d3rlpy")
        from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer

        dataset = require("minari").load_dataset(source) if isinstance(source, str) else source
        buffer = SessionReplayBuffer.from_minari(dataset, seed=seed)
        self._record = {"steps": steps, "seed": seed, "dataset": describe_dataset(dataset)}
        with borrowed_global_state(device):
            d3rlpy.seed(seed)
            algorithm = self.config(d3rlpy).create(device=device)
            algorithm.build_with_dataset(buffer)
            self.prepare(algorithm)
            self._train(algorithm, buffer, steps, directory, evaluate, progress)

    def act(self, observations: FloatArray) -> FloatArray:
        """Chooses actions without exploration: (num_users, observation_size) -> (num_users, action_size).

        Raises:
            RuntimeError: If ``fit`` has not been called.
        """
        return self._fitted().act(observations)

    @checked_arguments
    def save(self, directory: Path) -> None:
        """Writes ``policy.safetensors`` and ``training.json`` (options, dataset, seed, log).

        Raises:
            RuntimeError: If ``fit`` has not been called.
        """
        actor = self._fitted()
        directory = Path(directory)
        actor.save(directory / POLICY_FILE)
        record = {
            "agent": type(self).__name__,
            "options": asdict(self.options),
            **self._record,
            "history": self.history,
        }
        write_json(directory / TRAINING_FILE, record)

    @classmethod
    @checked_arguments
    def load(cls, directory: Path) -> Actor:
        """Reads a saved policy, for acting only; needs neither d3rlpy nor torch."""
        from gems_gym.policies.actor import Actor

        return Actor.load(Path(directory) / POLICY_FILE)

    def _fitted(self) -> Actor:
        if self._actor is None:
            raise RuntimeError(
                f"{type(self).__name__} has not been fitted: call fit first, or load a saved one"
            )
        return self._actor

    def _train(
        self,
        algorithm: Any,
        buffer: SessionReplayBuffer,
        steps: int,
        directory: Path | None,
        evaluate: Evaluate | None,
        progress: bool,
    ) -> None:
        self.history, self._actor = [], None
        probe = buffer.sample_transition_batch(PROBE_SIZE)
        bound = self._q_bound(buffer)
        losses: dict[str, list[float]] = defaultdict(list)
        best = -math.inf
        with training_report(type(self).__name__, steps, directory, progress) as report:
            for step in range(1, steps + 1):
                for name, value in algorithm.update(
                    buffer.sample_transition_batch(self.options.batch_size)
                ).items():
                    losses[name].append(value)
                if step % self.options.steps_per_epoch and step != steps:
                    report(None)
                    continue
                line = {"step": step, **{name: float(np.mean(values)) for name, values in losses.items()}}
                losses.clear()
                line |= self._watch(algorithm, probe, bound)
                check_sane(line, bound)
                actor = export_policy(algorithm, probe.observations)
                if evaluate is None:
                    self._actor = actor
                else:
                    with borrowed_global_state():  # whatever is drawn there, training goes on the same
                        line["score"] = float(evaluate(actor.act))
                    if line["score"] > best:
                        best, self._actor = line["score"], actor
                        self._record |= {"best_step": step, "best_score": best}
                self.history.append(line)
                report(line)

    def _q_bound(self, buffer: SessionReplayBuffer) -> float | None:
        """Returns what |Q| can't exceed: max |reward| · reward_scale / (1 − gamma)."""
        if not isinstance(self.options, ValueOptions):
            return None
        return buffer.max_abs_reward * self.options.reward_scale / (1.0 - self.options.gamma)

    def _watch(self, algorithm: Any, probe: Any, bound: float | None) -> dict[str, float]:
        """Measures the largest |Q| over recorded actions and over the policy's own, where it explodes first."""
        if bound is None:
            return {}
        observations = probe.observations
        recorded = algorithm.predict_value(observations, probe.actions)
        chosen = algorithm.predict_value(observations, algorithm.predict(observations))
        return {"q_abs_max": float(max(np.abs(recorded).max(), np.abs(chosen).max())), "q_bound": bound}


def check_sane(line: dict[str, float], bound: float | None) -> None:
    """Stops a training that has run away.

    Raises:
        DivergedError: If a number is NaN or infinite, or ``q_abs_max`` is over ``10 · bound``.
    """
    for name, value in line.items():
        if not math.isfinite(value):
            raise DivergedError(f"step {line['step']:.0f}: {name} is {value}; training has diverged")
    if bound is not None and line["q_abs_max"] > Q_ALARM * max(bound, 1e-6):
        raise DivergedError(
            f"step {line['step']:.0f}: |Q| reaches {line['q_abs_max']:.4g}, over {Q_ALARM:.0f} times the bound "
            f"{bound:.4g} = max reward · reward_scale / (1 − gamma): lower gamma or the learning rates, or give the "
            "behaviour term more weight"
        )


def export_policy(algorithm: Any, observations: FloatArray) -> Actor:
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
    gap = float(np.abs(actor.act(observations) - algorithm.predict(observations)).max())
    if not gap <= EXPORT_TOLERANCE:
        raise RuntimeError(
            f"the exported policy differs from d3rlpy's by {gap:.3g}: unknown network {policy}"
        )
    return actor


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
