"""Training of the GRU belief: predict the clicks on the next slate shown from the belief and that slate.

The belief must come to hold what matters for clicks to come (what the user likes, what bores them) and nothing of
the policy that chose the slates, which is why the log should be a mixture of policies: trained on one policy's slates
alone, it can be worse than the base rate on another's.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gems_gym.beliefs.gru import GruBelief
from gems_gym.checks import Count, Seed, checked_arguments
from gems_gym.embeddings.co_click import co_click_embeddings
from gems_gym.machine import check_device
from gems_gym.pretraining.belief_settings import BeliefSettings
from gems_gym.pretraining.click_head import ClickHead, click_loss, draw_linear_weights
from gems_gym.pretraining.click_metrics import click_report
from gems_gym.pretraining.gru_unroll import GruUnroll
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.threads import torch_threads
from gems_gym.progress import track

_MOST_HELD_OUT = 1000


@checked_arguments
def pretrain_belief(
    log: SessionLog,
    num_items: Count,
    settings: BeliefSettings | None = None,
    *,
    seed: Seed,
    device: str = "cpu",
    progress: bool = True,
) -> tuple[GruBelief, dict[str, Any]]:
    """Trains a GRU belief encoder on logged sessions.

    Args:
        log: sessions of a mixture of policies. The simulator's click probabilities in it serve the report only.
        num_items: items in the catalogue (a log need not show them all).
        settings: of the belief and its training; ``None``: the default preset's.
        seed: of everything random here: held-out sessions, initial weights, batches. Global generators are left alone.
        device: of torch.
        progress: whether to show a progress bar, with the loss, on stderr.

    Returns:
        The encoder, and its metrics on held-out sessions (see
        :func:`~gems_gym.pretraining.click_metrics.click_report`), which also stand in the encoder's header.

    Raises:
        ValueError: fewer than two sessions, or an item id that the catalogue does not have.
        FloatingPointError: the loss stopped being finite.
    """
    check_device(device)
    settings = settings or BeliefSettings()
    _check_log(log, num_items)
    order = np.random.default_rng(seed).permutation(log.num_sessions)
    num_held_out = min(max(1, round(settings.held_out * log.num_sessions)), _MOST_HELD_OUT)
    held_out, training = order[:num_held_out], order[num_held_out:]
    generator = torch.Generator().manual_seed(seed)
    model = _make_model(log, training, num_items, settings, generator).to(device)
    with torch_threads(1):
        _train(model, log, training, settings, generator, progress)
    encoder = GruBelief(model.tensors(), log.catalog_hash)
    metrics = _measure(encoder, model, log, held_out)
    encoder.header = {
        "options": asdict(settings),
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
        beliefs = GruUnroll.apply(gates, self.recurrence.weight, self.recurrence.bias)
        return self.head(beliefs, rows[1:, ..., width:])

    def gates(self, embedded: Tensor, clicks: Tensor) -> Tensor:
        """What slates and clicks give to the gates: ``(steps, sessions, slate_size, E)`` to ``(…, 3 * size)``."""
        if self.slot_weights is None:
            items = embedded.flatten(2)
        else:
            weights = torch.stack([self.slot_weights[0] * (1 - clicks), self.slot_weights[1] * clicks], dim=2)
            items = (weights @ embedded).flatten(2)  # (steps, sessions, 2 * E)
        return self.to_gates(items) + self.clicks_to_gates(clicks)

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


def _train(
    model: GruBeliefModel,
    log: SessionLog,
    training: np.ndarray,
    settings: BeliefSettings,
    generator: torch.Generator,
    progress: bool,
) -> None:
    device = model.item_embeddings.device
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], lr=settings.learning_rate
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_cosine(settings.batches))
    queue = np.empty(0, dtype=np.int64)
    average = 0.0
    with track("training belief", settings.batches, progress) as advance:
        for batch in range(settings.batches):
            while len(queue) < settings.batch_sessions:
                shuffled = torch.randperm(len(training), generator=generator).numpy()
                queue = np.concatenate([queue, training[shuffled]])
            rows, queue = queue[: settings.batch_sessions], queue[settings.batch_sessions :]
            slates, clicks = _batch(log, rows, device)
            loss = click_loss(model(slates, clicks), clicks[1:])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            value = float(loss.detach())
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at batch {batch}; try a lower learning_rate")
            average = value if batch == 0 else 0.95 * average + 0.05 * value
            advance(1, f"loss {average:.4f}")


def _batch(log: SessionLog, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Slates (int64) and clicks (float32) of some sessions, time first."""
    slates = torch.from_numpy(log.slates[rows].transpose(1, 0, 2).astype(np.int64))
    clicks = torch.from_numpy(log.clicks[rows].transpose(1, 0, 2).astype(np.float32))
    return slates.to(device), clicks.to(device)


def _warm_cosine(batches: int) -> Any:
    warm = max(1, batches // 20)
    return lambda step: min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * min(step / batches, 1.0)))


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
