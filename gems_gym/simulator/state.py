"""What the kernels read and write: a world's constants, all users' state, and what came of the slates shown."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gems_gym.simulator.catalog import Catalog
from gems_gym.world_config import WorldConfig


class Dynamics(NamedTuple):
    """A world's constants as the kernels read them."""

    items: NDArray[np.float64]  # (num_items, embedding_size)
    items_by_feature: NDArray[np.float64]  # (embedding_size, num_items), the same numbers
    item_topics: NDArray[np.int64]  # (num_items,)
    max_score: float
    propensities: NDArray[np.float64]  # (slate_size,)
    num_topics: int
    topic_size: int
    alpha: float
    relevance_offset: float
    relevance_slope: float
    rel_threshold: float  # NaN: none
    diversity_threshold: int
    diversity_penalty: float
    omega: float
    short_term_boost: float
    boredom_threshold: int
    boredom_moving_window: int
    boredom_timeout: int
    churn_and_return: bool  # a topic that bores takes the interest in all
    click_only_once: bool
    leave_probability: float
    leave_after: int  # 0: users leave by boredom
    published_oddities: bool  # dynamics_version 0


class Users(NamedTuple):
    """The state of all users, one row each."""

    preference: NDArray[np.float64]  # (num_users, embedding_size), normalised
    bored: NDArray[np.bool_]  # (num_users, num_topics)
    bored_timeout: NDArray[np.int64]  # (num_users, num_topics)
    recent_topics: NDArray[np.int64]  # (num_users, recent_items_maxlen), oldest first
    num_recent_topics: NDArray[np.int64]  # (num_users,)
    recent_steps: NDArray[np.int64]  # (num_users, recent_items_maxlen), oldest first
    num_recent_steps: NDArray[np.int64]  # (num_users,)
    short_term_topic: NDArray[np.int64]  # (num_users,)
    step: NDArray[np.int64]  # (num_users,)
    clicked_items: NDArray[np.bool_]  # (num_users, num_items), (num_users, 0) unless click_only_once
    empty_slates: NDArray[np.int64]  # (num_users,), in a row until now, without a click
    left: NDArray[np.bool_]  # (num_users,), whose session is over since the user left


class Shown(NamedTuple):
    """What came of the slates last shown, one row a user."""

    slates: NDArray[np.int64]  # (num_users, slate_size)
    clicks: NDArray[np.int8]  # (num_users, slate_size), 0 or 1
    scores: NDArray[np.float32]  # (num_users, slate_size)
    relevances: NDArray[np.float32]  # (num_users, slate_size), in [0, 1]
    click_probabilities: NDArray[np.float32]  # (num_users, slate_size), in [0, 1]
    bored: NDArray[np.bool_]  # (num_users, num_topics), as used for this slate
    user_state: NDArray[np.float32]  # (num_users, state_size), first the preference after the drift
    rewards: NDArray[np.float32]  # (num_users,), clicks of the slate


def make_dynamics(config: WorldConfig, catalog: Catalog) -> Dynamics:
    """A world's constants from its configuration and catalogue."""
    items = np.ascontiguousarray(catalog.item_embeddings, dtype=np.float64)
    return Dynamics(
        items=items,
        items_by_feature=np.ascontiguousarray(items.T),
        item_topics=catalog.item_topics,
        max_score=catalog.max_score,
        propensities=config.position_propensities(),
        num_topics=config.num_topics,
        topic_size=config.topic_size,
        alpha=config.alpha,
        relevance_offset=config.relevance_offset,
        relevance_slope=config.relevance_slope,
        rel_threshold=np.nan if config.rel_threshold is None else config.rel_threshold,
        diversity_threshold=config.diversity_threshold,
        diversity_penalty=config.diversity_penalty,
        omega=config.omega,
        short_term_boost=config.short_term_boost,
        boredom_threshold=config.boredom_threshold,
        boredom_moving_window=config.boredom_moving_window,
        boredom_timeout=config.boredom_timeout,
        churn_and_return=False,
        click_only_once=config.click_only_once,
        leave_probability=config.leave_probability,
        leave_after=config.leave_after or 0,
        published_oddities=config.dynamics_version == 0,
    )


def empty_users(config: WorldConfig, num_users: int) -> Users:
    """Room for the state of users whose sessions are not open yet."""
    return Users(
        preference=np.zeros((num_users, config.embedding_size)),
        bored=np.zeros((num_users, config.num_topics), np.bool_),
        bored_timeout=np.zeros((num_users, config.num_topics), np.int64),
        recent_topics=np.zeros((num_users, config.recent_items_maxlen), np.int64),
        num_recent_topics=np.zeros(num_users, np.int64),
        recent_steps=np.zeros((num_users, config.recent_items_maxlen), np.int64),
        num_recent_steps=np.zeros(num_users, np.int64),
        short_term_topic=np.zeros(num_users, np.int64),
        step=np.zeros(num_users, np.int64),
        clicked_items=np.zeros((num_users, config.num_items if config.click_only_once else 0), np.bool_),
        empty_slates=np.zeros(num_users, np.int64),
        left=np.zeros(num_users, np.bool_),
    )


# made once: numpy would look each of them up anew, which a single user's step can feel
_INT64, _INT8, _FLOAT32, _BOOL = map(np.dtype, ("int64", "int8", "float32", "bool"))


def empty_shown(config: WorldConfig, num_users: int) -> Shown:
    """Room for what comes of slates, one row a user; not set to anything."""
    shape = (num_users, config.slate_size)
    return Shown(
        slates=np.empty(shape, _INT64),
        clicks=np.empty(shape, _INT8),
        scores=np.empty(shape, _FLOAT32),
        relevances=np.empty(shape, _FLOAT32),
        click_probabilities=np.empty(shape, _FLOAT32),
        bored=np.empty((num_users, config.num_topics), _BOOL),
        user_state=np.empty((num_users, config.state_size), _FLOAT32),
        rewards=np.empty(num_users, _FLOAT32),
    )
