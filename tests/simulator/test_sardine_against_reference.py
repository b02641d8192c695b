"""SARDINE against its specification, written down once more in its own order, for parameters that no recording has."""

from collections import deque

import numpy as np
import pytest

from gems_gym import SardineConfig
from gems_gym.testing import replay_sardine_session

STEPS, SLATE_SIZE, NUM_ITEMS = 40, 6, 30
PARAMETERS = [
    {"click_model": "mixPBM"},
    {"rel_penalty": True, "boredom_type": "user_tloi"},
    {"rel_threshold": 0.2},
    {"rel_threshold": 0.1, "rel_penalty": True, "boredom_type": "user_tloi"},
    {"boredom_type": "user_tloi", "boredom_threshold": 2},
    {"diversity_penalty": 3.0, "diversity_threshold": 2, "alpha": 0.7},
    {"boredom_moving_window": 2, "recent_items_maxlen": 25},
    {"boredom_moving_window": 1, "boredom_threshold": 1},
    {"boredom_timeout": 1, "recent_items_maxlen": 4},
    {"dynamics_version": 1, "omega": 0.5},
    {"omega": 0.0},
    {"num_topics": 4, "boredom_timeout": 8},
]


class Reference:
    def __init__(self, config, items, user):
        self.config, self.items, self.u = config, items, user
        self.topics, self.max_score = items.argmax(axis=1), np.linalg.norm(items, axis=1).max()
        self.v, self.t, self.log = user, 0, deque(maxlen=config.recent_items_maxlen)
        self.bored = np.zeros(config.num_topics, bool)
        self.timeout = np.full(config.num_topics, config.boredom_timeout)

    def show(self, slate, clicks):
        config, during = self.config, self.bored.copy()
        scores = self.items[slate] @ self.v / self.max_score
        if config.rel_threshold is None:
            relevances = 1 / (1 + np.exp(-(scores - config.relevance_offset) * config.relevance_slope))
        else:
            relevances = (scores > config.rel_threshold).astype(float)
        if config.rel_penalty:
            relevances = relevances * 0.5 ** during.sum()
        down = config.click_prop ** np.arange(len(slate))
        propensities = (down + down[::-1]) / 2 if config.click_model == "mixPBM" else down
        monotonous = np.bincount(self.topics[slate]).max() >= config.diversity_threshold
        probabilities = (
            config.alpha * relevances * propensities / (config.diversity_penalty if monotonous else 1)
        )
        self.be_changed(slate[clicks > 0])
        return {
            "scores": scores, "relevances": relevances, "click_prob": probabilities, "bored_during": during,
            "bored_after": self.bored.copy(), "bored_timeout": self.timeout.copy(), "hist": self.hist,
            "preference": self.u, "user_state": self.state, "rewards": clicks.sum(),
        }  # fmt: skip

    def be_changed(self, clicked):
        config = self.config
        self.log.extend((topic, self.t) for topic in self.topics[clicked])
        self.t += 1
        while self.log and self.log[0][1] < self.t - config.boredom_moving_window:
            self.log.popleft()
        self.timeout = self.timeout - self.bored
        self.bored = self.bored & (self.timeout != 0)
        self.timeout[~self.bored] = config.boredom_timeout
        self.bored |= self.counts >= config.boredom_threshold
        if len(clicked):
            vectors = self.items[clicked]
            target = vectors.mean() if config.dynamics_version == 0 else vectors.mean(axis=0)
            u = config.omega * self.u + (1 - config.omega) * target
            self.u = u / np.linalg.norm(u)
        gone = self.bored.any() if config.boredom_type == "user_car" else self.bored
        self.v = np.where(gone, 0.0, self.u)

    @property
    def counts(self):
        return np.bincount([topic for topic, _ in self.log], minlength=self.config.num_topics).astype(int)

    @property
    def hist(self):
        return np.clip(self.counts / self.config.boredom_threshold, 0, 1)

    @property
    def state(self):
        return np.concatenate([self.v, self.hist, self.timeout / self.config.boredom_timeout])


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_a_replay_gives_what_the_specification_says(parameters):
    rng = np.random.default_rng(1)
    config = SardineConfig(
        **{"num_items": NUM_ITEMS, "slate_size": SLATE_SIZE, "omega": 0.9, "relevance_slope": 10.0,
           "relevance_offset": 0.3, "boredom_threshold": 4, **parameters}
    )  # fmt: skip
    items = rng.normal(size=(NUM_ITEMS, config.num_topics)).astype(np.float32)  # some topics are below 0
    items[0] *= 2.0
    user = rng.random(config.num_topics).astype(np.float32)
    user /= np.linalg.norm(user)
    slates = rng.integers(NUM_ITEMS, size=(STEPS + 1, SLATE_SIZE))
    clicks = (rng.random(slates.shape) < 0.3).astype(int)
    found = replay_sardine_session(config, items, user, slates[0], clicks[0], slates[1:], clicks[1:])

    reference = Reference(config, items.astype(float), user.astype(float))
    reference.show(slates[0], clicks[0])
    opening = {
        "first_hist": reference.hist, "first_user_state": reference.state, "preference_after_reset": reference.u,
        "bored_after_reset": reference.bored, "timeout_after_reset": reference.timeout,
    }  # fmt: skip
    steps = [reference.show(*one) for one in zip(slates[1:], clicks[1:], strict=True)]
    assert any(step["bored_during"].any() for step in steps)
    expected = opening | {name: np.array([step[name] for step in steps]) for name in steps[0]}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("changed", "error", "words"),
    [
        ({"first_clicks": [2] * SLATE_SIZE}, ValueError, "first_clicks must be 0 or 1, got 2"),
        ({"user_initial": [1.0]}, ValueError, r"user_initial must have shape \(10,\), got \(1,\)"),
        (
            {"first_slate": [99] * SLATE_SIZE},
            ValueError,
            r"first_slate must hold item ids in \[0, 30\), got 99",
        ),
        ({"slates": [[0]]}, ValueError, "slates must hold item ids in the shape"),
        ({"id_or_config": "GemsSlate-diffuse_mix-v0"}, TypeError, "id_or_config must be a SardineConfig"),
    ],
)
def test_what_does_not_fit_is_named(changed, error, words):
    given = {
        "id_or_config": SardineConfig(slate_size=SLATE_SIZE), "item_embeddings": np.ones((NUM_ITEMS, 10)),
        "user_initial": np.ones(10), "first_slate": [0] * SLATE_SIZE, "first_clicks": [0] * SLATE_SIZE,
        "slates": [[0] * SLATE_SIZE], "clicks": [[0] * SLATE_SIZE],
    }  # fmt: skip
    with pytest.raises(error, match=words):
        replay_sardine_session(**(given | changed))
