"""SlateQ: what it learns in a feed whose best slates are known, and the file of its policy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.agents.slates.tiny_feed import INTEREST, MOODS, PROPENSITIES, SPOILED, TinyFeed, values

pytest.importorskip("torch")

import torch

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym_agents.slates.policies import SlateQPolicy
from gems_gym_agents.slates.sessions import with_random_items
from gems_gym_agents.slates.slateq import SlateQAgent
from gems_gym_agents.slates.slateq_learner import SlateQLearner, SlateQNetwork

SMALL: dict[str, Any] = {
    "sessions": 40, "hidden_units": (16,), "embedding_size": 4, "learning_rate": 5e-3, "tau": 0.02, "batch_size": 128,
}  # fmt: skip


def fitted(steps: int, **options: Any) -> SlateQAgent:
    agent = SlateQAgent(**{**SMALL, **options})
    agent.fit(TinyFeed(40), steps=steps, seed=0, progress=False)
    return agent


@pytest.mark.slow
@pytest.mark.parametrize("target", ["q_learning", "sarsa"])
def test_it_finds_the_best_slates(target: str) -> None:
    """The item that is clicked most is not in them: it spoils what follows."""
    policy = fitted(8_000, target=target, updates=100).policy
    slates = policy.slates(MOODS)
    assert slates[0].tolist() == [2, 1]
    best = values(0.8)
    assert values(0.8, tuple(slates))[0] >= 0.98 * best[0]  # type: ignore[arg-type]
    myopic, nothing = np.array([1, 0]), np.array([4, 3])
    for worse in (myopic, nothing):
        assert values(0.8, (worse, worse))[0] < 0.9 * best[0]


def test_it_learns_what_users_click_and_what_follows() -> None:
    learned, untouched = fitted(1_600, updates=80).policy, fitted(1, updates=1).policy

    def off(policy: SlateQPolicy) -> float:
        """How far the probabilities of clicks in a good mood are from the true ones."""
        interest = 1.0 / (1.0 + np.exp(-policy._scores("interest", MOODS[:1])))
        found = policy.tensors["propensities"][:, None] * interest
        return float(np.abs(found - PROPENSITIES[:, None] * INTEREST).max())

    assert off(learned) < 0.15 < off(untouched)
    worth = learned._scores("value", MOODS[:1])[0]
    # a click on item 0 costs what a bad mood costs, γ times what it takes away; other clicks cost nothing
    assert worth[0] < worth[1:].min() - 0.15


@pytest.fixture
def network() -> SlateQNetwork:
    learner = SlateQLearner(SlateQAgent(**SMALL).options, TinyFeed(2), 0, {})
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return learner.network


def test_the_best_value_is_that_of_the_best_slate(network: SlateQNetwork) -> None:
    from itertools import permutations

    beliefs = torch.from_numpy(MOODS)
    every = torch.stack([
        network.slate_values(beliefs, torch.tensor([slate, slate]))
        for slate in permutations(range(len(INTEREST)), 2)
    ])  # fmt: skip
    assert torch.allclose(network.best_values(beliefs), every.max(0).values, atol=1e-5)


def test_values_leave_the_embeddings_to_the_click_model(network: SlateQNetwork) -> None:
    network.click_values(torch.from_numpy(MOODS)).sum().backward()
    assert network.items.grad is None and network.value_bias.grad is not None


@pytest.mark.parametrize("slate_search", ["top_k", "greedy", "lp"])
def test_the_policy_shows_what_the_network_finds_best(slate_search: Any) -> None:
    learner = SlateQLearner(SlateQAgent(**SMALL, slate_search=slate_search).options, TinyFeed(2), 3, {})
    beliefs = np.random.default_rng(0).uniform(-1, 1, (20, 2)).astype(np.float32)
    shown, seen = torch.from_numpy(learner.policy().slates(beliefs)), torch.from_numpy(beliefs)
    best = learner.network.best_values(seen)
    assert torch.allclose(learner.network.slate_values(seen, shown), best, atol=1e-5)


def test_exploration_replaces_a_share_of_the_items() -> None:
    slates = np.full((2_000, 3), 7)
    rngs = [np.random.default_rng(seed) for seed in range(2_000)]
    replaced = (with_random_items(slates, 0.3, 1_000, rngs) != slates).mean()
    assert replaced == pytest.approx(0.3, abs=0.03)
    assert (with_random_items(slates, 0.0, 1_000, rngs) == slates).all()


def test_the_policy_is_a_file(tmp_path: Path) -> None:
    policy = SlateQLearner(SlateQAgent(**SMALL, slate_search="greedy").options, TinyFeed(2), 0, {}).policy()
    policy.save(tmp_path / "policy.safetensors")
    read = SlateQPolicy.load(tmp_path / "policy.safetensors")
    assert read.slate_search == "greedy" and read.sha256 == policy.sha256
    assert read.content_sha256 == policy.content_sha256
    assert (read.slates(MOODS) == policy.slates(MOODS)).all()
    stored = load_artifact(tmp_path / "policy.safetensors", SlateQPolicy.kind)
    wrong: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"propensities": np.ones(3, np.float32)}, {}),
        ({"value_bias": np.full(5, np.nan, np.float32)}, {}),
        ({"items": np.ones((4, 4), np.float32)}, {}),
        ({}, {"slate_search": "best"}),
        ({}, {"slate_size": 6}),
        ({}, {"layers": {}}),
    ]
    for tensors, header in wrong:
        path = tmp_path / "wrong.safetensors"
        save_artifact(path, SlateQPolicy.kind, stored.tensors | tensors, stored.header | header)
        with pytest.raises(ArtifactError, match="not a readable policy/slateq"):
            SlateQPolicy.load(path)


def test_the_feed_is_what_it_says() -> None:
    """The clicks that its users make come with the probabilities that the slates above are enumerated by."""
    feed = TinyFeed(4_000)
    feed.reset(seed=range(4_000))
    _, rewards, *_ = feed.step(np.tile([1, 0], (4_000, 1)))
    assert rewards.mean() == pytest.approx(0.6 * 0.6 + 0.9 * 0.8, abs=0.05)
    bad = feed.bad.copy()
    _, rewards, *_ = feed.step(np.tile([2, 1], (4_000, 1)))
    assert rewards[bad].mean() == pytest.approx(SPOILED * (0.6 * 0.5 + 0.9 * 0.6), abs=0.05)
