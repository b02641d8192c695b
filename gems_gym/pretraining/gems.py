"""Pretraining of the GeMS ranker: a variational autoencoder over (slate, clicks), in torch.

Deffayet, Thonet, Renders, de Rijke, *Generative Slate Recommendation with Reinforcement Learning*, WSDM 2023
(arXiv 2301.08632), section 4. The network is in
:mod:`gems_gym.pretraining.gems_model`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gems_gym.artifacts import shipped
from gems_gym.common.arrays import held_out_of
from gems_gym.common.checks import (
    Count,
    NonNegative,
    Positive,
    Seed,
    Share,
    Units,
    check_fields,
    checked_arguments,
)
from gems_gym.common.machine import check_device
from gems_gym.common.threads import one_thread
from gems_gym.embeddings import EmbeddingTable, co_click_embeddings, load_embeddings
from gems_gym.pretraining.click_prediction import MANY_ITEMS
from gems_gym.pretraining.gems_model import GemsVae, kl_to_standard_normal
from gems_gym.pretraining.loop import train
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import Keep, PretrainingPreset, Trainer, Upkeep, as_recorded
from gems_gym.rankers.gems import GemsRanker

_MADE_HERE = ("co_click", "scratch")

_MEASURED_SLATES = 100_000
"""Slates that bounds are computed from; a tenth of them (held out) for the metrics."""

_VALIDATED_SLATES = 2_048
"""Held-out slates that the loss is measured on during training."""

_DRAWN_ITEMS = 4_096
"""Items that stand for the catalogue in a batch's loss, where the catalogue has more than :data:`MANY_ITEMS`."""

_MOST_LOGITS, _LOGITS_AT_ONCE = 2**31, 2**26
"""Of held-out slates, in metrics: few slates of large catalogues are decoded."""

_ACTIVE_VARIANCE = 0.01
"""A latent dimension is active when its posterior means vary by more than this (Burda et al., 2016)."""


@dataclass(frozen=True)
class GemsSettings:
    """How a GeMS VAE is made and trained.

    Attributes:
        item_embeddings: What they start from. "co_click": made from the log's clicks; "scratch": N(0, 1) numbers; or a
            file (or shipped name) of item embeddings, see :mod:`gems_gym.embeddings`. All but "scratch" are
            standardised, each dimension for itself.
        frozen: Whether they stay as they start or are trained with the VAE; None: all but "scratch" stay.
        embedding_size: Numbers in an item embedding.
        latent_size: Numbers in a latent, and in the agent's action.
        hidden_sizes: Units of the encoder's two hidden layers; the decoder has them in the other order.
        beta: Weight of the KL divergence, averaged over latent dimensions.
        click_weight: Weight of the clicks' binary cross-entropy.
        batch_size: Slates per update.
        batches: Updates, each on slates drawn with replacement.
        learning_rate: Adam's, after a warm-up over 2 % of the updates; falls to zero along a half cosine.
        coordinates: What an action in [-1, 1]^n stands for. "box", the only one: per latent dimension the range
            [min(mean - sd), max(mean + sd)] of the posteriors of logged slates.
        deduplicate: Whether the ranker puts no item twice in a slate.
        held_out: Share of the sessions that the metrics are measured on and nothing is trained on.
        keep: Which weights to keep: of the "last" batch, or the "best" by the loss on held-out slates, which is
            measured 20 times or a few more. The metrics are then a little optimistic.
    """

    item_embeddings: str = "co_click"
    frozen: bool | None = None
    embedding_size: Units = 20
    latent_size: Units = 32
    hidden_sizes: tuple[Units, Units] = (256, 256)
    beta: NonNegative = 0.2
    click_weight: NonNegative = 0.5
    batch_size: Count = 256
    batches: Count = 3000
    learning_rate: Positive = 3e-3
    coordinates: Literal["box"] = "box"  # recorded in the files of shipped rankers
    deduplicate: bool = True
    held_out: Share = 0.1
    keep: Keep = "last"

    def __post_init__(self) -> None:
        """Raises a TypeError or ValueError that names the setting, its value and what would be right."""
        check_fields(self)
        if self.item_embeddings not in _MADE_HERE:
            try:
                shipped.path(self.item_embeddings, "embeddings")
            except ValueError as error:
                raise ValueError(
                    f"item_embeddings must be one of {_MADE_HERE} or a file of item embeddings, "
                    f"got {self.item_embeddings!r}: {error}"
                ) from error

    def load_item_vectors(self, num_items: int, catalog_hash: str) -> EmbeddingTable | None:
        """The item embeddings that a file holds; None if they are made from the log or drawn.

        Args:
            num_items: Items in the catalogue.
            catalog_hash: Hash of the catalogue.

        Raises:
            FileNotFoundError: There is no such file.
            ArtifactError: The file is no sound artefact of item embeddings.
            ValueError: They belong to another catalogue, or are not of ``embedding_size`` numbers.
        """
        if self.item_embeddings in _MADE_HERE:
            return None
        table = load_embeddings(self.item_embeddings, catalog_hash)
        if table.vectors.shape != (num_items, self.embedding_size):
            raise ValueError(
                f"item_embeddings={self.item_embeddings!r} has shape {table.vectors.shape}; (num_items, "
                f"embedding_size) = ({num_items}, {self.embedding_size}) was expected"
            )
        return table


GEMS_PRESETS: Mapping[str, PretrainingPreset[GemsSettings]] = {
    "default": PretrainingPreset(
        shares={"searched_slates": 1.0}, sessions=512, search_sessions=400_000, settings=GemsSettings()
    ),
    "published": PretrainingPreset(
        shares={"eps_greedy_oracle": 1.0},
        sessions=5_000,
        search_sessions=None,
        settings=GemsSettings(
            item_embeddings="scratch",
            hidden_sizes=(512, 256),
            beta=1.0,
            batches=4_000,
            learning_rate=1e-3,
            deduplicate=False,
        ),
    ),
}
"""Preset -> recipe. *default*: learns from slates that were searched by their clicks; nothing privileged. *published*:
the recipe of arXiv 2301.08632, for comparison, from the log of a privileged policy, and shorter: the paper has 100,000
sessions and 10 epochs, 390,000 batches."""


@checked_arguments
def pretrain_gems(
    log: SessionLog,
    num_items: Count,
    settings: GemsSettings | None = None,
    *,
    seed: Seed,
    device: str = "cpu",
    progress: bool = True,
    upkeep: Upkeep | None = None,
) -> tuple[GemsRanker, dict[str, float]]:
    """Trains a GeMS ranker on logged slates and clicks.

    Of catalogues of more than 32,768 items, a batch's loss looks at 4,096 drawn ones (sampled softmax).

    Args:
        log: The sessions; every slate counts, the first ones included.
        num_items: Items in the catalogue.
        settings: How; the defaults of :class:`GemsSettings` if None.
        seed: Seed of everything random: held-out sessions, initial weights, batches, noise.
        device: Where torch trains. The random numbers are drawn on the CPU, whatever the device.
        progress: Whether to show a progress bar with the loss on stderr.
        upkeep: Where an interrupted training is kept, and where curves go; None: nowhere.

    Returns:
        The ranker, whose header holds settings, logging policies, seed and metrics, and the metrics, measured on the
        held-out sessions' posterior means: ``slot_accuracy`` (share of slots whose item is decoded), ``click_bce``
        (nats per slot), ``kl`` (nats per slate), ``active_dimensions``, ``duplicates`` (items per slate that are there
        already, decoding without deduplication).

    Raises:
        ValueError: A log of fewer than two sessions or with unknown items, or a loss that is no longer finite.
    """
    check_device(device)
    settings = settings or GemsSettings()
    with one_thread():  # the same bits whatever the number of cores
        return _pretrain(log, num_items, settings, seed, device, upkeep or Upkeep(), progress)


def _pretrain(
    log: SessionLog,
    num_items: int,
    settings: GemsSettings,
    seed: int,
    device: str,
    upkeep: Upkeep,
    progress: bool,
) -> tuple[GemsRanker, dict[str, float]]:
    shown = np.asarray((log.slates >= 0).any(axis=(1, 2)))
    log = log if shown.all() else log.take(shown)
    log.check_trainable(num_items)
    generator = torch.Generator().manual_seed(int(np.random.default_rng(seed).integers(2**63)))
    training_log, held_out_log = _split(log, settings.held_out, generator)
    embeddings, origin = _initial_embeddings(training_log, num_items, settings, generator)
    training, held_out = _Slates.of(training_log), _Slates.of(held_out_log)
    frozen = settings.item_embeddings != "scratch" if settings.frozen is None else settings.frozen
    vae = GemsVae(
        embeddings, frozen, log.slates.shape[-1], settings.latent_size, settings.hidden_sizes, generator
    ).to(device)
    trainee = _Trainee(vae, training, held_out, settings, generator)
    train(trainee, settings.batches, settings.keep, log, upkeep, progress)
    centre, half_widths = _bounds(vae, *_sample(training, _MEASURED_SLATES, generator))
    most = max(1, _MOST_LOGITS // (num_items * vae.slate_size))
    metrics = _measure(vae, *_sample(held_out, min(_MEASURED_SLATES // 10, most), generator))
    tensors = {name: tensor.detach().cpu().numpy() for name, tensor in vae.state_dict().items()}
    header = {
        "options": {**as_recorded(settings), "item_embeddings": origin["kind"], "frozen": frozen},
        "item_embeddings": origin,
        "metrics": metrics,
        "seed": seed,
        "log": log.provenance,
    }
    ranker = GemsRanker(
        {**tensors, "centre": centre, "basis": np.diag(half_widths)},
        log.catalog_hash,
        deduplicate=settings.deduplicate,
        header=header,
    )
    return ranker, metrics


@dataclass(frozen=True)
class _Slates:
    slates: Tensor  # (num_slates, slate_size) int32
    clicks: Tensor  # (num_slates, slate_size) uint8

    @classmethod
    def of(cls, log: SessionLog) -> "_Slates":
        used = (log.slates >= 0).any(axis=2)  # not what fills up short sessions
        return cls(*(torch.from_numpy(array[used]) for array in (log.slates, log.clicks)))

    def rows(self, index: Tensor, device: torch.device | str) -> tuple[Tensor, Tensor]:
        return self.slates[index].long().to(device), self.clicks[index].float().to(device)


def _split(log: SessionLog, share: float, generator: torch.Generator) -> tuple[SessionLog, SessionLog]:
    """The sessions to train on, and those held out."""
    order = torch.randperm(log.num_sessions, generator=generator).numpy()
    cut = held_out_of(log.num_sessions, share)
    return log.take(order[cut:]), log.take(order[:cut])


def _sample(data: _Slates, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    index = torch.randperm(len(data.slates), generator=generator)[:count]
    return data.rows(index, "cpu")


def _initial_embeddings(
    log: SessionLog, num_items: int, settings: GemsSettings, generator: torch.Generator
) -> tuple[Tensor, dict[str, Any]]:
    """What the item embeddings start from, ``(num_items, embedding_size)``, and its origin for the header."""
    size = settings.embedding_size
    origin: dict[str, Any] = {"kind": settings.item_embeddings, "privileged": False}
    if settings.item_embeddings == "scratch":
        return torch.randn(num_items, size, generator=generator), origin
    table = settings.load_item_vectors(num_items, log.catalog_hash)
    if table is None:
        vectors = co_click_embeddings(log, num_items, size)
    else:
        vectors, origin = table.vectors, table.provenance
    embeddings = torch.from_numpy(vectors)
    deviations, means = torch.std_mean(embeddings, dim=0)
    # The later dimensions are what tells items of one topic apart: they should weigh as much as the first.
    return (embeddings - means) / deviations.clamp_min(1e-6), origin


class _Trainee:
    """The VAE with its slates; see :class:`~gems_gym.pretraining.loop.Trainee`."""

    name = "ranker"
    clip = None

    def __init__(
        self,
        vae: GemsVae,
        data: _Slates,
        held_out: _Slates,
        settings: GemsSettings,
        generator: torch.Generator,
    ) -> None:
        self.model, self.generator = vae, generator
        self._data, self._settings = data, settings
        parameters = [parameter for parameter in vae.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, fused=True)
        own = torch.Generator().manual_seed(0)  # the same slates and noise at each validation
        self._held_out = _sample(held_out, _VALIDATED_SLATES, own)
        self._held_out_noise = torch.randn(len(self._held_out[0]), settings.latent_size, generator=own)

    def learning_rate(self, batch: int) -> float:
        batches = self._settings.batches
        rise = min(1.0, (batch + 1) / max(1, batches // 50))
        return self._settings.learning_rate * (rise * 0.5 * (1 + math.cos(math.pi * batch / batches)))

    def next_loss(self) -> Tensor:
        size, device = self._settings.batch_size, self.model.item_embeddings.device
        index = torch.randint(len(self._data.slates), (size,), generator=self.generator)
        noise = torch.randn(size, self._settings.latent_size, generator=self.generator).to(device)
        return self._loss(*self._data.rows(index, device), noise, self._drawn(self.generator))

    def held_out_loss(self) -> float:
        device = self.model.item_embeddings.device
        slates, clicks, noise = (part.to(device) for part in (*self._held_out, self._held_out_noise))
        drawn = self._drawn(torch.Generator().manual_seed(0))
        return float(self._loss(slates, clicks, noise, drawn))

    def arrays(self) -> dict[str, np.ndarray]:
        return {}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        pass

    def _drawn(self, generator: torch.Generator) -> Tensor | None:
        """The items that a loss looks at; None for all."""
        num_items, device = len(self.model.item_embeddings), self.model.item_embeddings.device
        if num_items <= MANY_ITEMS:
            return None
        return torch.randint(num_items, (_DRAWN_ITEMS,), generator=generator).to(device)

    def _loss(self, slates: Tensor, clicks: Tensor, noise: Tensor, drawn: Tensor | None) -> Tensor:
        beta, click_weight = self._settings.beta, self._settings.click_weight
        return self.model.loss(slates, clicks, noise, beta=beta, click_weight=click_weight, drawn=drawn)[0]


@torch.no_grad()
def _bounds(vae: GemsVae, slates: Tensor, clicks: Tensor) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre and half-widths, ``(n,)`` each, of what actions stand for; see GemsSettings.coordinates."""
    mean, log_variance = _encode_all(vae, slates, clicks)
    deviation = torch.exp(0.5 * log_variance)
    low, high = (mean - deviation).amin(dim=0), (mean + deviation).amax(dim=0)
    return ((low + high) / 2).float().numpy(), ((high - low) / 2).float().numpy()


@torch.no_grad()
def _encode_all(vae: GemsVae, slates: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
    """Posterior means and log-variances, ``(N, n)`` each, on the CPU."""
    device = vae.item_embeddings.device
    chunks = zip(slates.split(4096), clicks.split(4096), strict=True)
    encoded = [vae.encode(part.to(device), clicked.to(device)) for part, clicked in chunks]
    means, log_variances = zip(*encoded, strict=True)
    return torch.cat(means).cpu(), torch.cat(log_variances).cpu()


@torch.no_grad()
def _measure(vae: GemsVae, slates: Tensor, clicks: Tensor) -> dict[str, float]:
    mean, log_variance = _encode_all(vae, slates, clicks)
    device = vae.item_embeddings.device
    right = duplicates = bce = 0.0
    at_once = max(1, min(1024, _LOGITS_AT_ONCE // (slates.shape[1] * len(vae.item_embeddings))))
    for rows in torch.arange(len(slates)).split(at_once):
        slots, click_logits = vae.decode(mean[rows].to(device))
        decoded = (slots @ vae.item_embeddings.T).argmax(dim=2).cpu()  # (rows, slate_size)
        right += (decoded == slates[rows]).sum().item()  # -1 is no item
        ordered = decoded.sort(dim=1).values
        duplicates += (ordered[:, 1:] == ordered[:, :-1]).sum().item()
        shown = slates[rows] >= 0
        bce += functional.binary_cross_entropy_with_logits(
            click_logits.cpu()[shown], clicks[rows][shown], reduction="sum"
        ).item()
    num_shown = (slates >= 0).sum().item()
    return {
        "slot_accuracy": right / num_shown,
        "click_bce": bce / num_shown,
        "kl": kl_to_standard_normal(mean, log_variance).sum(dim=1).mean().item(),
        "active_dimensions": float((mean.var(dim=0) > _ACTIVE_VARIANCE).sum().item()),
        "duplicates": duplicates / len(slates),
    }


TRAINER = Trainer(pretrain_gems, GEMS_PRESETS)
