"""BCQ chooses among the same candidates for every belief, as d3rlpy's networks value them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

import d3rlpy
import torch

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym_agents.offline import BCQAgent
from gems_gym_agents.offline.candidates import CandidatesPolicy
from tests.agents.offline.rewarded_latents import ACTION_SIZE, BELIEFS, rewarded_latents

OPTIONS: dict[str, Any] = {
    "hidden_units": (12, 8),
    "batch_size": 8,
    "num_action_samples": 4,
    "flexibility": 0.2,
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield rewarded_latents("rewarded/candidates-v0", 8)


def trained(dataset: Any, seed: int = 0) -> tuple[BCQAgent, Any]:
    """An agent, and d3rlpy's algorithm that it was exported from."""
    algorithms = []

    class Kept(BCQAgent):
        def export(self, algorithm: Any, observations: Any) -> Any:
            algorithms.append(algorithm)
            return super().export(algorithm, observations)

    agent = Kept(**OPTIONS)
    agent.fit(dataset, steps=6, seed=seed, progress=False)
    return agent, algorithms[-1]


def test_it_chooses_as_d3rlpy_does_of_the_same_noise(dataset: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, algorithm = trained(dataset)
    noise = torch.from_numpy(agent.policy.noise)
    assert noise.shape == (4, 2 * ACTION_SIZE)
    assert noise.abs().max() <= 0.5
    monkeypatch.setattr(torch, "randn", lambda rows, size, device: noise.repeat(rows // 4, 1))
    found, expected = agent.policy(BELIEFS), algorithm.predict(BELIEFS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_seed_decides_the_noise_and_users_are_served_alike_alone(dataset: Any, tmp_path: Path) -> None:
    agent, _ = trained(dataset)
    actions = agent.policy(BELIEFS)
    np.testing.assert_array_equal(trained(dataset)[0].policy(BELIEFS), actions)
    assert (trained(dataset, seed=1)[0].policy.noise != agent.policy.noise).any()
    for user in range(3):
        np.testing.assert_array_equal(agent.policy(BELIEFS[user : user + 1])[0], actions[user])
    agent.save(tmp_path)
    np.testing.assert_array_equal(BCQAgent.load(tmp_path)(BELIEFS), actions)


def test_files_that_do_not_fit_are_refused(dataset: Any, tmp_path: Path) -> None:
    trained(dataset)[0].save(tmp_path)
    file = tmp_path / "policy.safetensors"
    artifact = load_artifact(file, "policy/bcq")
    for words, tensors in (
        ("noise must be", np.zeros((0, 4), np.float32)), ("the networks have", np.zeros((4, 9), np.float32))
    ):  # fmt: skip
        save_artifact(file, artifact.kind, artifact.tensors | {"noise": tensors}, artifact.header)
        with pytest.raises(ArtifactError, match=words):
            CandidatesPolicy.load(file)


def test_options_reach_d3rlpy() -> None:
    config = BCQAgent(pessimism=0.6, num_action_samples=3, flexibility=0.1, warmup_steps=7).config(d3rlpy)
    assert (config.lam, config.n_action_samples) == (0.6, 3)
    assert (config.action_flexibility, config.rl_start_step) == (0.1, 7)
    with pytest.raises(ValueError, match="pessimism must be"):
        BCQAgent(pessimism=1.5)
    with pytest.raises(
        ValueError, match="unknown option of BCQAgent 'flexibillity': did you mean 'flexibility'"
    ):
        BCQAgent(flexibillity=0.1)
