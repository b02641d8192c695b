"""Worlds of pure items, small enough to be worked out by hand."""

from typing import Any

import numpy as np
import pytest

from gems_gym import SlateConfig
from gems_gym.testing import replay_session

# Three topics of one number each; items 0, 1, 2 are pure topic 0, 1, 2, and so are 3, 4, 5.
PURE = np.concatenate([np.eye(3), np.eye(3)]).astype(np.float32)
EVENLY = np.full(3, 1 / 3)
SURE: dict[str, Any] = {
    "num_topics": 3,
    "topic_size": 1,
    "rel_threshold": -1.0,
}  # whatever is looked at is relevant
VERSIONS = pytest.mark.parametrize("version", [0, 1])


def replay(slates, clicks, first_clicks=None, user=EVENLY, items=PURE, topic=0, **overrides):
    """One session of a world of pure items; slates and clicks one row a step."""
    slates = np.array(slates)
    config = SlateConfig(**{**SURE, "num_items": len(items), "slate_size": slates.shape[1], **overrides})
    first_clicks = np.zeros(slates.shape[1]) if first_clicks is None else first_clicks
    return replay_session(config, items, user, first_clicks, slates, clicks, topic)


def bored_steps(session, topic=0):
    """The steps, counted from 1, in which a topic bores."""
    return (np.flatnonzero(session["bored"][:, topic]) + 1).tolist()


def click_probabilities(slate, **overrides):
    """Of a slate that the user sees first thing."""
    return replay([slate], [np.zeros(len(slate))], **overrides)["click_prob"][0]
