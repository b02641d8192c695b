"""HAC: hyper-actions and their slates, what each loss teaches, and that it learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.agents.slates.tiny_feed import INTEREST, MOODS, TinyFeed, values

pytest.importorskip("torch")

import torch

from gems_gym_agents.slates.hac import HACAgent
from gems_gym_agents.slates.hac_learner import HACLearner

SMALL: dict[str, Any] = {
    "sessions": 40, "hidden_units": (16,), "embedding_size": 4, "batch_size": 64, "tau": 0.02,
    "critic_learning_rate": 5e-3, "actor_learning_rate": 5e-3, "behaviour_learning_rate": 1e-3,
}  # fmt: skip
ROWS = 20


def learner(**options: Any) -> HACLearner:
    return HACLearner(HACAgent(**SMALL | options).options, TinyFeed(2), 0, {})


def batch() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    beliefs = torch.from_numpy(MOODS[rng.integers(2, size=ROWS)])
    slates = torch.from_numpy(np.stack([rng.permutation(len(INTEREST))[:2] for _ in range(ROWS)]))
    clicks = torch.from_numpy(rng.integers(2, size=(ROWS, 2)).astype(np.float32))
    return {
        "beliefs": beliefs, "slates": slates, "clicks": clicks, "rewards": clicks.sum(1),
        "continues": torch.ones(ROWS), "next_beliefs": beliefs.flip(0), "next_slates": slates.flip(0),
    }  # fmt: skip


def test_slates_are_the_items_closest_to_hyper_actions() -> None:
    one, beliefs = learner(), torch.from_numpy(MOODS)
    chosen = one.actor.query(beliefs)
    slates = one.actor.slates(chosen)
    assert one.policy().slates(MOODS).tolist() == slates.tolist()
    for slate, vector, found in zip(slates, chosen, one.actor.hyper_actions(slates), strict=True):
        scores = one.actor.items @ vector
        assert scores[slate].min() >= scores.sort(descending=True).values[1]
        assert torch.allclose(found, one.actor.items[slate].mean(0))


def test_noise_moves_hyper_actions() -> None:
    policy, rngs = learner().policy(), [np.random.default_rng(seed) for seed in range(200)]
    beliefs = np.repeat(MOODS[:1], 200, axis=0)
    assert (policy.noisy_slates(beliefs, 0.0, rngs) == policy.slates(beliefs)).all()
    assert len(np.unique(policy.noisy_slates(beliefs, 1.0, rngs), axis=0)) > 3


def moved(loss: str, **options: Any) -> set[str]:
    """What a loss has gradients for."""
    one = learner(**options)
    getattr(one, f"{loss}_loss")(batch()).backward()
    parts = {"query": one.actor.query[0].weight, "items": one.actor.items, "critic": one.critic[0].weight}
    return {name for name, one in parts.items() if one.grad is not None and one.grad.abs().max() > 0}


def test_what_each_loss_moves() -> None:
    assert moved("critic") == {"critic"}
    assert moved("actor") == {"query", "items", "critic"}  # the critic has an optimiser of its own
    assert moved("actor", hyper_weight=0.0) == {"query", "critic"}
    assert moved("behaviour") == {"query", "items"}


def test_the_actor_leaves_the_critic_alone() -> None:
    one = learner(critic_learning_rate=1e-30)
    before = one.critic[0].weight.clone()
    one.update(batch())
    assert torch.equal(one.critic[0].weight, before)


def test_alignment_brings_hyper_actions_to_their_slates() -> None:
    def apart(weight: float) -> float:
        one, rows = learner(hyper_weight=weight), batch()
        for _ in range(150):
            one.update(rows)
        chosen = one.actor.query(rows["beliefs"])
        found = one.actor.hyper_actions(one.actor.slates(chosen))
        return (found - chosen).square().mean().item()

    assert apart(10.0) < 0.5 * apart(0.0)


def reached(steps: int, **options: Any) -> float:
    agent = HACAgent(**SMALL | options)
    agent.fit(TinyFeed(40), steps=steps, seed=0, progress=False)
    slates = agent.policy.slates(MOODS)
    return values(0.8, (slates[0], slates[1]))[0]


@pytest.mark.slow
def test_it_learns_slates() -> None:
    """It can't tell the positions of a slate apart, so the best slate may stand the other way round."""
    best = values(0.8)[0]
    assert reached(8_000, updates=60) >= 0.9 * best
    assert reached(400, updates=1) < 0.8 * best
