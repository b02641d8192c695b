"""Training of the GRU belief: predict the clicks on the next slate shown from the belief and that slate.

The belief must come to hold what matters for clicks to come (what the user likes, what bores them) and nothing of
the policy that chose the slates, which is why the log should be a mixture of policies: trained on one policy's slates
alone, it can be worse than the base rate on another's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gems_gym.beliefs.gru import GruBelief
from gems_gym.common.checks import Count, Seed, checked_arguments
from gems_gym.common.machine import check_device
from gems_gym.embeddings.co_click import co_click_embeddings
from gems_gym.pretraining.belief_settings import BELIEF_PRESETS, BeliefSettings
from gems_gym.pretraining.click_head import ClickHead, click_loss, draw_linear_weights
from gems_gym.pretraining.click_metrics import click_report
from gems_gym.pretraining.gru_unroll import GruUnroll
from gems_gym.pretraining.presets import as_recorded
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.threads import torch_threads
from gems_gym.pretraining.trainers import Trainer
from gems_gym.pretraining.training import Upkeep, train

_MOST_HELD_OUT = 1000

_VALIDATED_SESSIONS = 256
"""Held-out sessions that the loss is measured on during training."""


@checked_arguments
def pretrain_belief(
    log: SessionLog,
    num_items: Count,
    settings: BeliefSettings | None = None,
    *,
    seed: Seed,
    device: str = "cpu",
    progress: bool = True,
    upkeep: Upkeep | None = None,
) -> tuple[GruBelief, dict[str, Any]]:
    """Trains a GRU belief encoder on logged sessions.

    Args:
        log: sessions of a mixture of policies. The simulator's click probabilities in it serve the report only.
        num_items: items in the catalogue (a log need not show them all).
        settings: of the belief and its training; ``None``: the default preset's.
        seed: of everything random here: held-out sessions, initial weights, batches. Global generators are left alone.
        device: of torch.
        progress: whether to show a progress bar, with the loss, on stderr.
        upkeep: where an interrupted training is kept, and where curves go; None: nowhere.

    Returns:
        The encoder, and its metrics on held-out sessions (see
        :func:`~gems_gym.pretraining.click_metrics.click_report`), which also stand in the encoder's header.

    Raises:
        ValueError: fewer than two sessions, an item id that the catalogue does not have, or a loss that is no longer
            finite.
    """
    check_device(device)
    settings = settings or BeliefSettings()
    _check_log(log, num_items)
    with torch_threads(1):  # the metrics as well: sums of several threads round otherwise
        return _pretrain(log, num_items, settings, seed, device, upkeep or Upkeep(), progress)


def _pretrain(
    log: SessionLog,
    num_items: int,
    settings: BeliefSettings,
    seed: int,
    device: str,
    upkeep: Upkeep,
    progress: bool,
) -> tuple[GruBelief, dict[str, Any]]:
    order = np.random.default_rng(seed).permutation(log.num_sessions)
    num_held_out = min(max(1, round(settings.held_out * log.num_sessions)), _MOST_HELD_OUT)
    held_out, training = order[:num_held_out], order[num_held_out:]
    generator = torch.Generator().manual_seed(seed)
    model = _make_model(log, training, num_items, settings, generator).to(device)
    trainee = _Trainee(model, log, training, held_out, settings, generator)
    train(trainee, settings.batches, settings.keep, log, upkeep, progress)
    encoder = GruBelief(model.tensors(), log.catalog_hash)
    metrics = _measure(encoder, model, log, held_out)
    encoder.header = {
        "options": as_recorded(settings),
        "metrics": metrics,
        "seed": seed,
        "log": {"policies": list(log.policy_names), "sessions": log.num_sessions},
    }
    return encoder, metrics


@dataclass(frozen=True)
class _Clicks:
    """What item embeddings are made from."""

    slates: np.ndarray  # (num_sessions, episode_length + 1, slate_size)
    clicks: np.ndarray


class GruBeliefModel(nn.Module):
    """The encoder while it is trained, with the click head on top; arrays are (steps, sessions, …)."""

    def __init__(self, num_items: int, slate_size: int, settings: BeliefSettings) -> None:
        super().__init__()
        gates, width = 3 * settings.size, settings.embedding_size
        self.slate_size = slate_size
        self.pooled = settings.slate_input == "pooled"
        self.item_embeddings = nn.Parameter(torch.empty(num_items, width))
        # Clicked items and passed-over items have weights of their own where they are pooled.
        self.slot_weights = nn.Parameter(torch.empty(2, slate_size)) if self.pooled else None
        self.to_gates = nn.Linear(width * (2 if self.pooled else slate_size), gates)
        self.clicks_to_gates = nn.Linear(slate_size, gates, bias=False)
        self.recurrence = nn.Linear(settings.size, gates)
        self.head = ClickHead(settings.size, width, slate_size)

    @torch.no_grad()
    def initialise(self, item_embeddings: Tensor | None, generator: torch.Generator) -> None:
        """Draws every weight from the generator: U(-1/√inputs, 1/√inputs); embeddings N(0, 1) unless given."""
        draw_linear_weights(self, generator)
        self.head.examination.fill_(1.0)
        if self.slot_weights is not None:
            self.slot_weights.fill_(1.0)
        if item_embeddings is None:
            self.item_embeddings.normal_(generator=generator)
        else:
            self.item_embeddings.copy_(item_embeddings)

    def forward(self, slates: Tensor, clicks: Tensor) -> Tensor:
        """Log-probabilities of the clicks on each slate but the first, given all slates and clicks before it.

        Args:
            slates: int64 ``(steps + 1, sessions, slate_size)``.
            clicks: float32, same shape.

        Returns:
            ``(steps, sessions, slate_size)``.
        """
        width = self.item_embeddings.shape[1]
        # One look-up for both uses of an item: as something seen, and as something to predict clicks on.
        table = torch.cat([self.item_embeddings, self.head.item_features(self.item_embeddings)], dim=1)
        rows = nn.functional.embedding(slates, table)  # (steps + 1, sessions, slate_size, …)
        gates = self.gates(rows[:-1, ..., :width], clicks[:-1])
        beliefs = GruUnroll.apply(gates, self.recurrence.weight, self.recurrence.bias)  # type: ignore[no-untyped-call]
        found: Tensor = self.head(beliefs, rows[1:, ..., width:])
        return found

    def gates(self, embedded: Tensor, clicks: Tensor) -> Tensor:
        """What slates and clicks give to the gates: ``(steps, sessions, slate_size, E)`` to ``(…, 3 * size)``."""
        if self.slot_weights is None:
            items = embedded.flatten(2)
        else:
            weights = torch.stack([self.slot_weights[0] * (1 - clicks), self.slot_weights[1] * clicks], dim=2)
            items = (weights @ embedded).flatten(2)  # (steps, sessions, 2 * E)
        found: Tensor = self.to_gates(items) + self.clicks_to_gates(clicks)
        return found

    @torch.no_grad()
    def tensors(self) -> dict[str, np.ndarray]:
        """The weights as :class:`GruBelief` takes them."""
        width = self.item_embeddings.shape[1]
        by_slot = self.to_gates.weight.reshape(
            self.to_gates.out_features, -1, width
        )  # (gates, 2 or slots, E)
        by_slot = by_slot.transpose(0, 1)
        if self.slot_weights is None:
            weight_items = by_slot.expand(2, *by_slot.shape)
        else:
            weight_items = self.slot_weights[:, :, None, None] * by_slot[:, None]
        tensors = {
            "item_embeddings": self.item_embeddings,
            "weight_items": weight_items,  # (2, slate_size, gates, E)
            "weight_clicks": self.clicks_to_gates.weight.t(),
            "weight_hh": self.recurrence.weight,
            "bias_ih": self.to_gates.bias,
            "bias_hh": self.recurrence.bias,
        }
        return {name: np.array(tensor.cpu().numpy()) for name, tensor in tensors.items()}


def _make_model(
    log: SessionLog,
    training: np.ndarray,
    num_items: int,
    settings: BeliefSettings,
    generator: torch.Generator,
) -> GruBeliefModel:
    # Made without memory first: torch's own initialisation would draw from the global generator.
    with torch.device("meta"):
        model = GruBeliefModel(num_items, log.slates.shape[2], settings)
    model = model.to_empty(device="cpu")
    start: Tensor | None = None
    if settings.item_embeddings == "co_click":
        clicked = _Clicks(log.slates[training], log.clicks[training])
        start = torch.from_numpy(co_click_embeddings(clicked, num_items, settings.embedding_size))
    model.initialise(start, generator)
    model.item_embeddings.requires_grad_(not settings.freeze_item_embeddings)
    return model


class _Trainee:
    """The model with its sessions; see :class:`~gems_gym.pretraining.training.Trainee`."""

    name = "belief"
    clip = 1.0

    def __init__(
        self,
        model: GruBeliefModel,
        log: SessionLog,
        training: np.ndarray,
        held_out: np.ndarray,
        settings: BeliefSettings,
        generator: torch.Generator,
    ) -> None:
        self.model, self.generator = model, generator
        self._log, self._settings = log, settings
        self._training, self._held_out = training, held_out[:_VALIDATED_SESSIONS]
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
        self._queue = np.empty(0, dtype=np.int64)  # sessions, shuffled, that are still to come

    def learning_rate(self, batch: int) -> float:
        batches = self._settings.batches
        rise = min(1.0, (batch + 1) / max(1, batches // 20))
        # Not pi * batch / batches: that rounds to another number, and shipped beliefs were made with this one.
        return self._settings.learning_rate * (rise * 0.5 * (1 + math.cos(math.pi * (batch / batches))))

    def next_loss(self) -> Tensor:
        size = self._settings.batch_sessions
        while len(self._queue) < size:
            shuffled = torch.randperm(len(self._training), generator=self.generator).numpy()
            self._queue = np.concatenate([self._queue, self._training[shuffled]])
        rows, self._queue = self._queue[:size], self._queue[size:]
        return self._loss(rows)

    def held_out_loss(self) -> float:
        parts = np.array_split(self._held_out, -(-len(self._held_out) // 32))
        return sum(float(self._loss(rows)) * len(rows) for rows in parts) / len(self._held_out)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"queue": self._queue}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._queue = arrays["queue"]

    def _loss(self, rows: np.ndarray) -> Tensor:
        slates, clicks = _batch(self._log, rows, self.model.item_embeddings.device)
        return click_loss(self.model(slates, clicks), clicks[1:])


def _batch(log: SessionLog, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Slates (int64) and clicks (float32) of some sessions, time first."""
    slates = torch.from_numpy(log.slates[rows].transpose(1, 0, 2).astype(np.int64))
    clicks = torch.from_numpy(log.clicks[rows].transpose(1, 0, 2).astype(np.float32))
    return slates.to(device), clicks.to(device)


@torch.no_grad()
def _measure(encoder: GruBelief, model: GruBeliefModel, log: SessionLog, rows: np.ndarray) -> dict[str, Any]:
    """The report on some sessions, with beliefs from the encoder as it will be used, not from the model."""
    slates, clicks = log.slates[rows], log.clicks[rows]
    device = model.item_embeddings.device
    features = model.head.item_features(model.item_embeddings)
    belief = encoder.initial(len(rows))
    predicted = np.empty((len(rows), slates.shape[1] - 1, slates.shape[2]), dtype=np.float32)
    for step in range(predicted.shape[1]):
        belief = encoder.update(belief, slates[:, step], clicks[:, step])
        shown = features[torch.from_numpy(slates[:, step + 1].astype(np.int64)).to(device)]
        predicted[:, step] = model.head(torch.from_numpy(belief).to(device), shown).exp().cpu().numpy()
    truth = log.click_probabilities[rows][:, 1:]
    return click_report(predicted, clicks[:, 1:], truth, log.policy[rows], log.policy_names)


def _check_log(log: SessionLog, num_items: int) -> None:
    if log.num_sessions < 2:
        raise ValueError(
            f"log holds {log.num_sessions} sessions; at least 2 are needed, one of them held out"
        )
    highest = int(log.slates.max())
    if highest >= num_items or int(log.slates.min()) < 0:
        raise ValueError(f"log shows item {highest}, but num_items={num_items}: ids are 0 … {num_items - 1}")


TRAINER = Trainer(pretrain_belief, BELIEF_PRESETS)
