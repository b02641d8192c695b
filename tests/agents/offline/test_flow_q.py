"""Flow Q-learning: its flow has the shape of the data, its policy draws, and acts as the trained network does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

import d3rlpy
import torch

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.policies.actor import NoisyActor
from gems_gym.policies.base import policy_rng
from gems_gym_agents.offline import FlowQAgent
from gems_gym_agents.offline.drawing_policy import OneStepPolicy
from tests.agents.offline.rewarded_latents import ACTION_SIZE, BELIEFS, first_number, rewarded_latents

OPTIONS: dict[str, Any] = {"hidden_units": (32, 32), "batch_size": 64, "actor_learning_rate": 3e-3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield rewarded_latents("rewarded/flow-v0")


def trained(dataset: Any, steps: int = 300, **options: Any) -> tuple[FlowQAgent, Any]:
    """An agent, and the algorithm that it was exported from."""
    algorithms = []

    class Kept(FlowQAgent):
        def export(self, algorithm: Any, observations: Any) -> Any:
            algorithms.append(algorithm)
            return super().export(algorithm, observations)

    agent = Kept(**(OPTIONS | options))
    agent.fit(dataset, steps=steps, seed=0, progress=False)
    return agent, algorithms[-1]


@pytest.fixture(scope="module")
def imitating(dataset: Any) -> tuple[FlowQAgent, Any]:
    """Trained with next to no weight on what earns."""
    return trained(dataset, alpha=1e4)


def test_the_flow_and_the_policy_do_both_things_that_were_done(imitating: Any) -> None:
    """A policy with one mean would do neither: recorded first numbers are around -0.4 and around 0.4."""
    agent, algorithm = imitating
    beliefs = np.tile(BELIEFS, (10, 1))
    noise = np.random.default_rng(1).standard_normal((len(beliefs), ACTION_SIZE), dtype=np.float32)
    followed = algorithm.impl.imitated(torch.from_numpy(beliefs), torch.from_numpy(noise)).numpy()
    for found in (followed[:, 0], agent.policy.choose(beliefs, noise)[:, 0]):
        assert (found < -0.2).mean() > 0.15
        assert (found > 0.2).mean() > 0.15
        assert abs(found.mean()) < 0.2
    assert algorithm.impl._flow_steps == 10


def test_a_larger_alpha_imitates_more(dataset: Any, imitating: Any) -> None:
    assert first_number(trained(dataset, steps=200, alpha=0.1)[0].policy) > 0.5
    assert abs(first_number(imitating[0].policy)) < 0.15


def test_it_draws_each_users_latents_from_the_users_seed(imitating: Any, tmp_path: Path) -> None:
    agent, algorithm = imitating
    agent.save(tmp_path)
    policy, seeds = FlowQAgent.load(tmp_path), range(100, 100 + len(BELIEFS))
    state, chosen = policy.open(seeds), []
    for _ in range(2):
        actions, state = policy.act(state, BELIEFS)
        chosen.append(actions)
    assert (chosen[0] != chosen[1]).any(axis=1).all()
    noise = [policy_rng(seed).spawn(1)[0].standard_normal(ACTION_SIZE, dtype=np.float32) for seed in seeds]
    with torch.no_grad():
        expected = algorithm.impl.act(torch.from_numpy(BELIEFS), torch.from_numpy(np.stack(noise)))
    np.testing.assert_allclose(chosen[0], expected, atol=1e-5)
    for user in range(3):
        alone, _ = policy.act(policy.open([seeds[user]]), BELIEFS[user : user + 1])
        np.testing.assert_array_equal(alone[0], chosen[0][user])
    noisy = NoisyActor(policy, 0.0)
    np.testing.assert_array_equal(noisy.act(noisy.open(seeds), BELIEFS)[0], chosen[0])
    with pytest.raises(ValueError, match="observations has 2 rows; 3 users were opened"):
        policy.act(policy.open(range(3)), BELIEFS[:2])


def test_a_network_that_does_not_fit_is_refused(imitating: Any, tmp_path: Path) -> None:
    imitating[0].save(tmp_path)
    file = tmp_path / "policy.safetensors"
    artifact = load_artifact(file, "policy/flow_q")
    save_artifact(
        file, artifact.kind, artifact.tensors, artifact.header | {"network": artifact.header["network"][:-1]}
    )
    with pytest.raises(ArtifactError, match="should take a belief and as much noise as it makes"):
        OneStepPolicy.load(file)


def test_options_reach_the_algorithm() -> None:
    config = FlowQAgent(alpha=7, flow_steps=4, gamma=0.7).config(d3rlpy)
    assert (config.alpha, config.flow_steps, config.gamma, config.n_critics) == (7.0, 4, 0.7, 2)
    assert config.critic_encoder_factory.use_layer_norm
    assert not config.actor_encoder_factory.use_layer_norm
    with pytest.raises(ValueError, match="alpha must be"):
        FlowQAgent(alpha=0)
