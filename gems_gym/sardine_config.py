"""The worlds of SARDINE: their parameters in one frozen, checked record, and the eight published tasks.

SARDINE (Deffayet, Thonet, Hwang, Lehoux, Renders, de Rijke, *SARDINE: Simulator for Automated Recommendation in Dynamic
and Interactive Environments*, TORS 2024) is the successor of the GeMS simulator by the same group: simpler users, and
tasks of three shapes.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from gems_gym.click_models import position_propensities
from gems_gym.common.check_messages import LARGEST
from gems_gym.common.checks import Count, NonNegative, Probability, WholeNumber
from gems_gym.world_config import SMALLEST, WorldConfig

SARDINE_DYNAMICS: Final = "sardine"


@dataclass(frozen=True, kw_only=True)
class SardineConfig(WorldConfig):
    """Every parameter of a SARDINE world; immutable, checked when made.

    Args:
        catalog_seed: Seed of the drawn catalogue; the default belongs to the registered environments.
        num_items: Items in the catalogue, I ≥ slate_size.
        slate_size: Items shown per step, S ≥ 1.
        num_topics: Topics, T ≥ 3, and the numbers of item and user embeddings; a user likes 3 to 5 of them.
        episode_length: Steps per session, H ≥ 1; then the session terminates.
        click_model: As in :class:`gems_gym.SlateConfig`.
        click_prop: γ in [0, 1], base of the position propensities.
        alpha: Factor from relevance to attractiveness, ≥ 0; clicks stay probabilities (checked).
        relevance_offset: Score at which relevance is ½.
        relevance_slope: Steepness of the logistic relevance.
        rel_threshold: If set, relevance is 1 where the score exceeds it, else 0.
        rel_penalty: If true, relevance is halved for every topic that bores the user.
        diversity_threshold: Items of one topic in a slate from which on the slate counts as monotonous, ≥ 1.
        diversity_penalty: Divides every attractiveness of a monotonous slate, > 0.
        omega: Inertia of the user's preference in [0, 1]; 1 means no drift.
        boredom_type: ``"user_car"`` (churn and return: while any topic bores, the user likes nothing) or
            ``"user_tloi"`` (temporary loss of interest in the topics that bore).
        boredom_threshold: Recent clicks on one topic that make it boring, ≥ 1; above ``recent_items_maxlen``, never.
        boredom_moving_window: Steps that a click counts as recent, ≥ 0.
        boredom_timeout: Steps that a topic stays boring, ≥ 1.
        recent_items_maxlen: Most recent clicks remembered, ≥ 1.
        dynamics_version: 0 for the published dynamics (``-v0``), in which the preference drifts towards one number, the
            mean of all components of all clicked items; in 1 (``-v1``) it drifts towards the mean of their vectors.
        dynamics: ``"sardine"``.

    Raises:
        TypeError: A value of the wrong type.
        ValueError: A value or a combination of values out of range; the message names it and what is right.
    """

    catalog_seed: Annotated[int, Interval(ge=0, le=2**128 - 1)] = 2024
    num_items: Count = 1000
    slate_size: Count = 10
    num_topics: Annotated[int, Interval(ge=3, le=LARGEST)] = 10
    episode_length: Count = 100
    click_model: str = "tdPBM"
    click_prop: Probability = 0.85
    alpha: NonNegative = 1.0
    relevance_offset: float = 0.65
    relevance_slope: float = 100.0
    rel_threshold: float | None = None
    rel_penalty: bool = False
    diversity_threshold: Count = 4
    diversity_penalty: Annotated[float, Ge(SMALLEST)] = 1.0
    omega: Probability = 1.0
    boredom_type: Literal["user_car", "user_tloi"] = "user_car"
    boredom_threshold: Count = 5
    boredom_moving_window: WholeNumber = 5
    boredom_timeout: Count = 5
    recent_items_maxlen: Count = 10
    dynamics_version: Annotated[int, Interval(ge=0, le=1)] = 0
    dynamics: Literal["sardine"] = SARDINE_DYNAMICS

    shows_history: ClassVar[bool] = True

    @property
    def state_size(self) -> int:
        """Numbers in ``info["user_state"]``: the preference as boredom leaves it, the history, and the timeouts."""
        return 3 * self.num_topics

    @property
    def unit_size(self) -> int:
        """All of a preference: its Euclidean norm is 1."""
        return self.embedding_size

    @property
    def users_leave(self) -> bool:
        """Every session ends terminated, after ``episode_length`` steps."""
        return True

    def position_propensities(self) -> NDArray[np.float64]:
        """See :meth:`WorldConfig.position_propensities`."""
        return position_propensities(self.click_model, self.slate_size, self.click_prop)


_SINGLE = SardineConfig(slate_size=1, boredom_threshold=11)
_TOP_K = SardineConfig()
_RERANK = SardineConfig(
    num_items=10, episode_length=10, click_prop=0.7, relevance_offset=0.3, relevance_slope=5.0,
    boredom_threshold=11,
)  # fmt: skip

SARDINE_PRESETS: dict[str, SardineConfig] = {
    "SingleItem-Static": _SINGLE,
    "SingleItem-BoredInf": _SINGLE.replace(omega=0.95, boredom_threshold=5),
    "SingleItem-Uncertain": _SINGLE.replace(relevance_slope=10.0),
    "SlateTopK-Bored": _TOP_K,
    "SlateTopK-BoredInf": _TOP_K.replace(omega=0.95),
    "SlateTopK-Uncertain": _TOP_K.replace(omega=0.95, relevance_slope=10.0),
    "SlateRerank-Static": _RERANK,
    "SlateRerank-Bored": _RERANK.replace(boredom_threshold=4),
}
"""Preset name, as in the id ``Sardine-SlateTopK-Bored-v0`` -> its configuration: the eight published tasks."""
