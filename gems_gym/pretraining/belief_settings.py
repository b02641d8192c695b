"""Settings of the GRU belief's pretraining, and its presets: who logs for it, with oracles and without."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gems_gym.common.checks import Count, Positive, Share, Units, check_fields
from gems_gym.pretraining.presets import Keep, PretrainingPreset


@dataclass(frozen=True, kw_only=True)
class BeliefSettings:
    """How a GRU belief is trained.

    Attributes:
        size: numbers in the belief.
        embedding_size: numbers in an item embedding.
        slate_input: what the GRU sees of a slate. ``"pooled"``: the sum of the clicked items and the sum of those
            passed over, with learned position weights, and the S clicks. ``"concatenated"``: the published one, S
            embeddings and S clicks; it can hardly tell which item got the click, and learns far more slowly.
        item_embeddings: what item embeddings start from: ``"co_click"``, computed from the log, or ``"scratch"``.
        freeze_item_embeddings: whether they stay what they started from.
        batches: gradient steps.
        batch_sessions: sessions in a batch.
        learning_rate: of Adam, at its peak; warmed up over the first 5 % of batches, then a half cosine to 0.
        held_out: share of the sessions kept for the report, in (0, 1); at most 1,000 sessions.
        keep: which weights to keep: of the "last" batch, or the "best" by the loss on held-out sessions, which is
            measured 20 times. The report is then a little optimistic.
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

    def __post_init__(self) -> None:
        """Raises a TypeError or ValueError that names the setting, its value and what would be right."""
        check_fields(self)


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
"""Preset -> recipe: mixtures, so that a belief stays right when the agent's behaviour moves. *default*: the shipped
beliefs', whose log is in part by policies with privileged information. *unprivileged*: logged without privileged
information; it takes twice the sessions and updates to predict clicks and boredom as well."""
