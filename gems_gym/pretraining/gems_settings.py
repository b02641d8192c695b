"""Settings of the GeMS ranker's pretraining, and its presets: our recipe and the published one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gems_gym.artifacts import shipped
from gems_gym.common.checks import Count, NonNegative, Positive, Share, Units, check_fields
from gems_gym.embeddings import EmbeddingTable, load_embeddings
from gems_gym.pretraining.presets import Keep, PretrainingPreset

_MADE_HERE = ("co_click", "scratch")


@dataclass(frozen=True)
class GemsSettings:
    """How a GeMS VAE is made and trained.

    Attributes:
        item_embeddings: what they start from. "co_click": made from the log's clicks; "scratch": N(0, 1) numbers; or a
            file (or shipped name) of item embeddings, see :mod:`gems_gym.embeddings`. All but "scratch" are
            standardised, each dimension for itself.
        frozen: whether they stay as they start or are trained with the VAE; None: all but "scratch" stay.
        embedding_size: numbers in an item embedding.
        latent_size: numbers in a latent, and in the agent's action.
        hidden_sizes: units of the encoder's two hidden layers; the decoder has them in the other order.
        beta: weight of the KL divergence, averaged over latent dimensions.
        click_weight: weight of the clicks' binary cross-entropy.
        batch_size: slates per update.
        batches: updates, each on slates drawn with replacement.
        learning_rate: Adam's, after a warm-up over 2 % of the updates; falls to zero along a half cosine.
        coordinates: what an action in [-1, 1]^n stands for. "box": per latent dimension the range [min(mean - sd),
            max(mean + sd)] of the posteriors of logged slates. "whitened": ± 3 standard deviations along the
            principal components of the aggregated posterior.
        deduplicate: whether the ranker puts no item twice in a slate.
        held_out: share of the sessions that the metrics are measured on and nothing is trained on.
        keep: which weights to keep: of the "last" batch, or the "best" by the loss on held-out slates, which is
            measured 20 times. The metrics are then a little optimistic.
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
    coordinates: Literal["box", "whitened"] = "box"
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
            num_items: items in the catalogue.
            catalog_hash: hash of the catalogue.

        Raises:
            FileNotFoundError: there is no such file.
            ArtifactError: the file is no sound artefact of item embeddings.
            ValueError: they belong to another catalogue, or are not of ``embedding_size`` numbers.
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
