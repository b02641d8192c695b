"""Training of beliefs: predict the clicks on the next slate shown from the belief and that slate.

The belief must come to hold what matters for clicks to come (what the user likes, what bores them) and nothing of
the policy that chose the slates, which is why the log should be a mixture of policies: trained on one policy's slates
alone, it can be worse than the base rate on another's.

Here is all that beliefs have in common; :mod:`~gems_gym.pretraining.gru` and
:mod:`~gems_gym.pretraining.transformer` add the network that carries a session's past.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gems_gym.beliefs.base import State
from gems_gym.beliefs.trained import TrainedBelief
from gems_gym.common.arrays import held_out_of
from gems_gym.common.checks import Checked, Count, Positive, Share, Units
from gems_gym.common.machine import check_device
from gems_gym.common.threads import one_thread
from gems_gym.embeddings.co_click import co_click_embeddings
from gems_gym.pretraining.click_prediction import (
    MANY_ITEMS,
    ClickHead,
    click_loss,
    click_report,
    draw_linear_weights,
)
from gems_gym.pretraining.loop import train
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import Keep, PretrainingPreset, Upkeep, as_recorded

_MOST_HELD_OUT = 1000

_VALIDATED_SESSIONS = 256
"""Held-out sessions that the loss is measured on during training."""


@dataclass(frozen=True, kw_only=True)
class BeliefSettings(Checked):
    """How a belief is trained; other networks than the GRU have settings of their own beside these.

    Attributes:
        size: Numbers in the belief.
        embedding_size: Numbers in an item embedding.
        slate_input: What a belief sees of a slate. ``"pooled"``: the sum of the clicked items and the sum of those
            passed over, with learned position weights, and the S clicks. ``"concatenated"``: the published one, S
            embeddings and S clicks; it can hardly tell which item got the click, and learns far more slowly.
        item_embeddings: What item embeddings start from: ``"co_click"``, computed from the log, or ``"scratch"``.
        freeze_item_embeddings: Whether they stay what they started from.
        batches: Gradient steps.
        batch_sessions: Sessions in a batch.
        learning_rate: Peak learning rate of Adam; warmed up over the first 5 % of batches, then a half cosine to 0.
        held_out: Share of the sessions kept for the report, in (0, 1); at most 1,000 sessions.
        keep: Which weights to keep: of the "last" batch, or the "best" by the loss on held-out sessions, which is
            measured 20 times or a few more. The report is then a little optimistic.
    """

    size: Units = 20
    embedding_size: Units = 20
    slate_input: Literal["pooled", "concatenated"] = "pooled"
    item_embeddings: Literal["co_click", "scratch"] = "co_click"
    freeze_item_embeddings: bool = False
    batches: Count = 1500
    batch_sessions: Count = 32
    learning_rate: Positive = 2e-2
    held_out: Share = 0.05
    keep: Keep = "last"


BELIEF_PRESETS: Mapping[str, PretrainingPreset[BeliefSettings]] = {
    "default": PretrainingPreset(
        shares={
            "random": 1.0,
            "eps_greedy_oracle": 3.0,
            "random_constant_slate": 2.0,
            "diverse_random": 1.0,
            "eps_boredom_aware_oracle": 1.0,
        },
        sessions=4_000,
        search_sessions=None,
        settings=BeliefSettings(),
    ),
    "unprivileged": PretrainingPreset(
        shares={"random": 2.0, "random_constant_slate": 3.0, "searched_slates": 3.0},
        sessions=8_000,
        search_sessions=100_000,
        settings=BeliefSettings(batches=3_000),
    ),
}
"""Preset -> recipe of the GRU: mixtures, so that a belief stays right when the agent's behaviour moves. *default*: that
of the shipped beliefs, whose log is in part by policies with privileged information. *unprivileged*: logged without
privileged information; it takes twice the sessions and updates to predict clicks and boredom as well."""


class BeliefModel(nn.Module, abc.ABC):
    """An encoder while it is trained, with the click head on top; arrays are (steps, sessions, …).

    A subclass names its ``encoder``, and adds its network, then ``head``, in this order: it decides which weights are
    drawn first.

    Args:
        num_items: Items in the catalogue.
        slate_size: Items in a slate.
        settings: Settings of the belief.
        outputs: Numbers that the network takes in of an observation.
    """

    encoder: ClassVar[type[TrainedBelief]]
    head: ClickHead

    def __init__(self, num_items: int, slate_size: int, settings: BeliefSettings, outputs: int) -> None:
        super().__init__()
        width = settings.embedding_size
        pooled = settings.slate_input == "pooled"
        self.item_embeddings = nn.Parameter(torch.empty(num_items, width))
        # Clicked items and passed-over items have weights of their own where they are pooled.
        self.slot_weights = nn.Parameter(torch.empty(2, slate_size)) if pooled else None
        self.items_to_inputs = nn.Linear(width * (2 if pooled else slate_size), outputs)
        self.clicks_to_inputs = nn.Linear(slate_size, outputs, bias=False)

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
            slates: int64 ``(steps + 1, sessions, slate_size)``; -1 where nothing was shown.
            clicks: float32, same shape, 0 there.

        Returns:
            ``(steps, sessions, slate_size)``.
        """
        items: Tensor = self.item_embeddings
        width = items.shape[1]
        if len(items) > MANY_ITEMS:
            known = torch.unique(slates[slates >= 0])
            items = items[known]
            slates = torch.where(slates < 0, -1, torch.searchsorted(known, slates.contiguous()))
        # One look-up for both uses of an item: as something seen, and as something to predict clicks on.
        table = torch.cat([items, self.head.item_features(items)], dim=1)
        table = nn.functional.pad(table, (0, 0, 0, 1))  # and a row of zeros, for nothing
        rows = nn.functional.embedding(slates % len(table), table)  # (steps + 1, sessions, slate_size, …)
        beliefs = self.beliefs(self.inputs(rows[:-1, ..., :width], clicks[:-1]))
        found: Tensor = self.head(beliefs, rows[1:, ..., width:])
        return found

    def inputs(self, embedded: Tensor, clicks: Tensor) -> Tensor:
        """What the network takes in of slates and clicks: ``(steps, sessions, slate_size, E)`` to ``(…, outputs)``."""
        if self.slot_weights is None:
            items = embedded.flatten(2)
        else:
            weights = torch.stack([self.slot_weights[0] * (1 - clicks), self.slot_weights[1] * clicks], dim=2)
            items = (weights @ embedded).flatten(2)  # (steps, sessions, 2 * E)
        found: Tensor = self.items_to_inputs(items) + self.clicks_to_inputs(clicks)
        return found

    @abc.abstractmethod
    def beliefs(self, inputs: Tensor) -> Tensor:
        """The belief after each observation: ``(steps, sessions, outputs)`` to ``(steps, sessions, size)``."""

    @abc.abstractmethod
    def network_tensors(self) -> Mapping[str, Tensor]:
        """The network's weights by the encoder's names for them."""

    @torch.no_grad()
    def tensors(self) -> dict[str, np.ndarray]:
        """All weights as the encoder takes them."""
        width = self.item_embeddings.shape[1]
        by_slot = self.items_to_inputs.weight.unflatten(1, (-1, width))  # (outputs, 2 or slots, E)
        by_slot = by_slot.transpose(0, 1)
        if self.slot_weights is None:
            weight_items = by_slot.expand(2, *by_slot.shape)
        else:
            weight_items = self.slot_weights[:, :, None, None] * by_slot[:, None]
        tensors = {
            "item_embeddings": self.item_embeddings,
            "weight_items": weight_items,  # (2, slate_size, outputs, E)
            "weight_clicks": self.clicks_to_inputs.weight.t(),
            self.encoder.input_bias: self.items_to_inputs.bias,
            **self.network_tensors(),
        }
        return {name: np.array(tensor.cpu().numpy()) for name, tensor in tensors.items()}


def train_belief(
    model_class: Callable[..., BeliefModel],
    log: SessionLog,
    num_items: int,
    settings: BeliefSettings,
    *,
    seed: int,
    device: str,
    progress: bool,
    upkeep: Upkeep | None,
) -> tuple[Any, dict[str, Any]]:
    """Train a belief of any network.

    Args:
        model_class: A subclass of :class:`BeliefModel`, called with ``num_items``, ``slate_size`` and ``settings``.
        log: Sessions of a mixture of policies. The simulator's click probabilities in it serve the report only.
        num_items: Items in the catalogue (a log need not show them all).
        settings: Settings of the belief and its training.
        seed: Seed of held-out sessions, initial weights and batches. Global generators are left alone.
        device: Device of torch.
        progress: Whether to show a progress bar, with the loss, on stderr.
        upkeep: Where an interrupted training is kept, and where curves go; None: nowhere.

    Returns:
        The model's encoder, and its metrics on held-out sessions (see
        :func:`~gems_gym.pretraining.click_prediction.click_report`), which also stand in the encoder's header.

    Raises:
        ValueError: Fewer than two sessions of more than one slate, an item id that the catalogue does not have, or a
            loss that is no longer finite.
    """
    with one_thread():  # the metrics as well: sums of several threads round otherwise
        model, held_out = train_model(
            model_class, log, num_items, settings, seed=seed, device=device, progress=progress, upkeep=upkeep
        )
        encoder = model.encoder(model.tensors(), log.catalog_hash)
        metrics = _measure(encoder, model, log, held_out)
    encoder.header = {
        "options": as_recorded(settings),
        "metrics": metrics,
        "seed": seed,
        "log": log.provenance,
    }
    return encoder, metrics


def train_model(
    model_class: Callable[..., BeliefModel],
    log: SessionLog,
    num_items: int,
    settings: BeliefSettings,
    *,
    seed: int,
    device: str,
    progress: bool,
    upkeep: Upkeep | None,
) -> tuple[BeliefModel, NDArray[np.int64]]:
    """Train a belief together with the click head that it is trained through.

    Arguments and errors as of :func:`train_belief`.

    Returns:
        The model, and the sessions of the log that were held out.
    """
    check_device(device)
    log.check_trainable(num_items)
    # by a slate that clicks can be predicted on
    followed: np.ndarray = np.any(log.slates[:, 1:] >= 0, axis=(1, 2))
    if followed.sum() < 2:
        raise ValueError(
            f"log holds {followed.sum()} sessions of more than one slate; a belief, which is of what was clicked "
            f"before, requires at least 2"
        )
    order = np.random.default_rng(seed).permutation(log.num_sessions)
    order = order[followed[order]]
    num_held_out = min(held_out_of(len(order), settings.held_out), _MOST_HELD_OUT)
    held_out, training = order[:num_held_out], order[num_held_out:]
    generator = torch.Generator().manual_seed(seed)
    with one_thread():
        model = _initialised(model_class, log, training, num_items, settings, generator).to(device)
        trainee = _Trainee(model, log, training, held_out, settings, generator)
        train(trainee, settings.batches, settings.keep, log, upkeep or Upkeep(), progress)
    return model, held_out


def _initialised(
    model_class: Callable[..., BeliefModel],
    log: SessionLog,
    training: np.ndarray,
    num_items: int,
    settings: BeliefSettings,
    generator: torch.Generator,
) -> BeliefModel:
    # Made without memory first: torch's own initialisation would draw from the global generator.
    with torch.device("meta"):
        model = model_class(num_items, log.slates.shape[2], settings)
    model = model.to_empty(device="cpu")
    start: Tensor | None = None
    if settings.item_embeddings == "co_click":
        start = torch.from_numpy(co_click_embeddings(log.take(training), num_items, settings.embedding_size))
    model.initialise(start, generator)
    model.item_embeddings.requires_grad_(not settings.freeze_item_embeddings)
    return model


class _Trainee:
    """The model with its sessions; see :class:`~gems_gym.pretraining.loop.Trainee`."""

    name = "belief"
    clip = 1.0

    def __init__(
        self,
        model: BeliefModel,
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
        return click_loss(self.model(slates, clicks), clicks[1:], slates[1:] >= 0)


def _batch(log: SessionLog, rows: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Slates (int64) and clicks (float32) of some sessions, time first, up to the end of the longest."""
    chosen = log.slates[rows]
    end = np.flatnonzero((chosen >= 0).any(axis=(0, 2))).max(initial=0) + 1
    slates = torch.from_numpy(chosen[:, :end].transpose(1, 0, 2).astype(np.int64))
    clicks = torch.from_numpy(log.clicks[rows][:, :end].transpose(1, 0, 2).astype(np.float32))
    return slates.to(device), clicks.to(device)


@torch.no_grad()
def _measure(encoder: TrainedBelief, model: BeliefModel, log: SessionLog, rows: np.ndarray) -> dict[str, Any]:
    """The report on some sessions, with beliefs from the encoder as it will be used, not from the model."""
    slates, clicks = log.slates[rows], log.clicks[rows]
    device = model.item_embeddings.device
    features = model.head.item_features(model.item_embeddings)
    state: State = encoder.initial(len(rows))
    predicted = np.empty((len(rows), slates.shape[1] - 1, slates.shape[2]), dtype=np.float32)
    for step in range(predicted.shape[1]):
        state = encoder.update(state, slates[:, step], clicks[:, step])
        belief = encoder.read(state)
        shown = features[torch.from_numpy(slates[:, step + 1].astype(np.int64)).to(device)]
        predicted[:, step] = model.head(torch.from_numpy(belief).to(device), shown).exp().cpu().numpy()
    truth = None if log.click_probabilities is None else log.click_probabilities[rows][:, 1:]
    shown = slates[:, 1:] >= 0
    return click_report(predicted, clicks[:, 1:], truth, log.policy[rows], log.policy_names, shown)
