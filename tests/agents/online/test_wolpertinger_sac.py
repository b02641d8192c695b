"""SAC with Wolpertinger's choice: its critics choose, by as many candidates as the ranker says, and are in its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers.vector import TransformAction

pytest.importorskip("stable_baselines3")

from gems_gym.beliefs import GruBelief
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import GemsRanker, WknnRanker
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online import WolpertingerSACAgent
from gems_gym_agents.online.refined_latents import RefinedLatents, refined
from tests.agents.online.test_algorithms import hashes
from tests.agents.slates.tiny_feed import INTEREST, MOODS, TinyFeed, values

SMALL: dict[str, Any] = {
    "net_arch": (16,), "batch_size": 32, "learning_starts": 32, "buffer_size": 400, "validate_every": 64,
}  # fmt: skip
BELIEFS = np.random.default_rng(0).uniform(-1, 1, (30, 20)).astype(np.float32)


@pytest.fixture
def users(tiny_world: dict[str, Any], tiny_belief: GruBelief) -> Any:
    def made(k: int) -> Any:
        items = np.random.default_rng(1).normal(size=(tiny_world["num_items"], 2))
        ranker = WknnRanker(items, tiny_world["slate_size"], tiny_belief.catalog_hash, k=k)
        world = LatentWorld(gymnasium.spec("GemsSlate-diffuse_topdown-v0"), ranker, tiny_belief)
        return world.users(8, **tiny_world)

    return made


def fitted(env: Any, folder: Path | None = None, steps: int = 192, **options: Any) -> WolpertingerSACAgent:
    agent = WolpertingerSACAgent(**SMALL | options)
    agent.fit(env, steps=steps, seed=0, directory=folder, progress=False)
    return agent


def test_a_critic_that_knows_the_best_items_finds_them() -> None:
    """Of the k nearest, in every slot, and no more than those."""
    items = np.linspace(-1.0, 1.0, 21)[:, None]
    beliefs, latents = np.zeros((1, 1), np.float32), np.zeros((1, 2), np.float32)
    for k, expected in ((1, [10, 9]), (3, [11, 10]), (5, [12, 11])):
        ranker = WknnRanker(items, 2, "none", k=k)
        found = refined(ranker, beliefs, latents, lambda seen, acted: acted.sum(axis=1))
        assert ranker.rank(found).tolist() == [expected]


def test_more_candidates_make_another_policy(users: Any) -> None:
    one, ten = (fitted(users(k)).policy for k in (1, 10))
    assert isinstance(ten, RefinedLatents) and ten.ranker.k == 10
    nearest = RefinedLatents(ten.networks, one.ranker)  # the same networks
    slates, refined_slates = (policy.ranker.rank(policy(BELIEFS)) for policy in (nearest, ten))
    assert (nearest.ranker.rank(nearest.networks["actor"](BELIEFS)) == slates).all()
    assert (slates != refined_slates).any(axis=1).mean() > 0.5
    assert (one.ranker.rank(one(BELIEFS)) != refined_slates).any()


def test_the_policy_chooses_as_the_model_does(users: Any) -> None:
    agent, env = WolpertingerSACAgent(**SMALL), users(10)
    with borrowed_global_state():
        model: Any = agent.make_model(env, seed=0, device="cpu")
        model.learn(160)
        proto, _ = model.predict(BELIEFS, deterministic=True)
        expected = refined(model.ranker, BELIEFS, proto, model._least_values)
    policy = agent.export_actor(model, {"kept": 1})
    assert (np.abs(policy(BELIEFS) - expected).max(axis=1) < 1e-5).mean() > 0.9, (
        "but for critics' close calls"
    )
    shown = model.ranker.rank(model.replay_buffer.actions[:20].reshape(-1, model.ranker.action_size))
    again = model.ranker.encode(shown, np.zeros_like(shown)).reshape(20, 8, -1)
    np.testing.assert_allclose(
        model.replay_buffer.actions[:20], again, atol=1e-6
    )  # what is learned from points at items


def test_resumed_to_the_same_bits_and_read_without_the_library(users: Any, tmp_path: Path) -> None:
    whole = fitted(users(3), tmp_path / "whole")
    env, steps = users(3), []
    step = env.step

    def interrupted(actions: Any) -> Any:
        steps.append(1)
        if len(steps) == 20:
            raise KeyboardInterrupt
        return step(actions)

    env.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        fitted(env, tmp_path / "run")
    fitted(users(3), tmp_path / "run")
    assert hashes(tmp_path / "run") == hashes(tmp_path / "whole")
    whole.save(tmp_path / "whole")
    read = WolpertingerSACAgent.load(tmp_path / "whole")
    assert (read(BELIEFS) == whole.policy(BELIEFS)).all() and (read(BELIEFS[:1]) == read(BELIEFS)[:1]).all()
    assert (
        read.ranker.tensors["item_embeddings"].tolist()
        == whole.policy.ranker.tensors["item_embeddings"].tolist()
    )


def worth(steps: int, **options: Any) -> float:
    """What the slates that it has learned are worth in the tiny feed, as a share of the best."""
    ranker = WknnRanker(np.random.default_rng(1).normal(size=(len(INTEREST), 2)), 2, "none", k=3)
    feed, pointed = TinyFeed(40), spaces.Box(-1.0, 1.0, (ranker.action_size,), np.float32)
    env: Any = TransformAction(feed, ranker.rank, batch_space(pointed, feed.num_envs), pointed)
    env.ranker = ranker
    agent = WolpertingerSACAgent(
        net_arch=(32,), batch_size=64, learning_starts=800, buffer_size=8_000, validate_every=4_000, **options
    )
    agent.fit(env, steps=steps, seed=0, progress=False)
    good, bad = ranker.rank(agent.policy(MOODS))
    return float(values(0.8, (good, bad))[0] / values(0.8)[0])


def test_it_learns_good_items() -> None:
    assert worth(4_000, learning_rate=5e-3) > 0.75
    assert worth(840, learning_rate=1e-12) < 0.6


def test_another_ranker_is_refused(
    tiny_world: dict[str, Any], tiny_belief: GruBelief, tiny_ranker: GemsRanker
) -> None:
    world = LatentWorld(gymnasium.spec("GemsSlate-diffuse_topdown-v0"), tiny_ranker, tiny_belief)
    with pytest.raises(
        ValueError, match="finds, and source has another one: make it by 'gems-gym pretrain ranker"
    ):
        fitted(world.users(4, **tiny_world))
