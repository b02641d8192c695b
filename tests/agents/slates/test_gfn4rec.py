"""GFN4Rec: probabilities against enumeration, what detailed balance comes to, and that it learns."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from tests.agents.slates.tiny_feed import INTEREST, MOODS, SLATES, TinyFeed, chances

pytest.importorskip("torch")

import torch

from gems_gym_agents.slates.gfn4rec import GFN4RecAgent
from gems_gym_agents.slates.gfn4rec_learner import GFN4RecLearner
from gems_gym_agents.slates.sessions import Sessions

SMALL: dict[str, Any] = {"sessions": 40, "hidden_units": (16,), "embedding_size": 4, "learning_rate": 5e-3}
EVERY = torch.tensor(np.array(SLATES))
GOOD = torch.from_numpy(MOODS[:1]).expand(len(SLATES), -1)


def learner(**options: Any) -> GFN4RecLearner:
    return GFN4RecLearner(GFN4RecAgent(**SMALL | options).options, TinyFeed(2), 0, {})


@torch.no_grad()
def probabilities(of: GFN4RecLearner) -> np.ndarray:
    """Of all slates in a good mood."""
    logs, _ = of.network(GOOD, EVERY)
    return logs.sum(1).exp().numpy()


def test_probabilities_are_those_of_the_items_that_are_left() -> None:
    one = learner()
    network = one.network
    with torch.no_grad():
        network.query_bias.copy_(torch.tensor([0.0, 1.0, -1.0, 0.5, 0.0]))
        logs, _ = network(GOOD, EVERY)
        for slate, found in zip(EVERY, logs, strict=True):
            left, shown = list(range(len(INTEREST))), torch.zeros(2, 4)
            for position, item in enumerate(slate.tolist()):
                query = network.query(torch.cat([GOOD[0], shown.flatten()])[None])[0]
                scores = network.items @ query + network.query_bias
                expected = scores[left].log_softmax(0)[left.index(item)]
                assert found[position].item() == pytest.approx(expected.item(), abs=1e-5)
                left.remove(item)
                shown[position] = network.items[item]
    assert probabilities(one).sum() == pytest.approx(1.0, abs=1e-5)


def test_slates_are_drawn_as_often_as_they_are_likely() -> None:
    one = learner()
    with torch.no_grad():
        one.network.items.mul_(3.0)
    count = 5_000
    beliefs = np.repeat(MOODS[:1], count, axis=0)
    drawn = one.chooser(0.0)(beliefs, [np.random.default_rng(seed) for seed in range(count)])
    expected = probabilities(one)
    assert expected.max() > 2 * expected.min()
    for slate, chance in zip(permutations(range(len(INTEREST)), 2), expected, strict=True):
        assert (drawn == slate).all(axis=1).mean() == pytest.approx(chance, abs=0.025)


def test_in_detailed_balance_slates_are_as_likely_as_they_are_rewarded() -> None:
    rewards = torch.from_numpy(chances(EVERY.numpy(), np.zeros(len(SLATES), np.bool_)).sum(1)).float()
    one = learner(forward_offset=0.0, flow_offset=0.0, reward_smoothing=0.1)
    before = probabilities(one)
    for _ in range(1_500):
        one.update({"beliefs": GOOD, "slates": EVERY, "rewards": rewards})
    expected = (rewards + 0.1).numpy() / (rewards + 0.1).sum().item()
    assert np.abs(probabilities(one) - expected).max() < 0.004 < np.abs(before - expected).max()
    # what flows in is what is shared out
    _, flows = one.network(GOOD, EVERY)
    assert flows[0, 0].exp().item() == pytest.approx((rewards + 0.1).sum().item(), rel=0.03)


def test_offsets_have_an_effect() -> None:
    batch = {"beliefs": GOOD, "slates": EVERY, "rewards": torch.ones(len(SLATES))}
    usual = learner().losses(**batch)
    for name, which in (
        ("forward_offset", 0),
        ("flow_offset", 0),
        ("flow_offset", 1),
        ("reward_smoothing", 1),
    ):
        assert learner(**{name: 0.2}).losses(**batch)[which].item() != usual[which].item()


def test_what_counts_as_a_reward() -> None:
    played = Sessions(
        beliefs=np.zeros((1, 4, 2), np.float32),
        actions=np.zeros((1, 4, 2), np.int64),
        clicks=np.array([[[1, 1], [0, 0], [1, 0]]], np.int8),
        playing=np.ones((1, 3), np.bool_),
        left=np.zeros(1, np.bool_),
    )
    assert learner().rows(played)["rewards"].tolist() == [2.0, 0.0, 1.0]
    assert learner(gamma=0.5).rows(played)["rewards"].tolist() == [2.25, 0.5, 1.0]


def clicks(steps: int, updates: int) -> float:
    """What the slate in a good mood is expected to earn."""
    agent = GFN4RecAgent(**SMALL, updates=updates, forward_offset=0.0, reward_smoothing=0.05, batch_size=64)
    agent.fit(TinyFeed(40), steps=steps, seed=0, progress=False)
    return float(chances(agent.policy.slates(MOODS[:1]), np.zeros(1, np.bool_)).sum())


def test_it_learns_the_slate_of_most_clicks() -> None:
    best = max(chances(slate, np.bool_(False)).sum() for slate in SLATES)
    assert clicks(6_000, updates=60) >= 0.95 * best
    assert clicks(400, updates=1) < 0.8 * best
