"""Any algorithm of d3rlpy by its configuration's name: what it is set to, what is refused, and that it resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

import d3rlpy

from gems_gym_agents.offline import D3rlpyAgent, OfflineTD3Agent, TD3PlusBCAgent
from tests.agents.offline.rewarded_latents import BELIEFS, rewarded_latents

SMALL: dict[str, Any] = {"hidden_units": (8,), "batch_size": 8, "steps_per_epoch": 5}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield rewarded_latents("rewarded/any-v0", 8)


@pytest.mark.slow
def test_it_is_the_agent_of_the_same_algorithm(dataset: Any) -> None:
    pairs = (
        (D3rlpyAgent(config="TD3PlusBC", alpha=1.0, **SMALL), TD3PlusBCAgent(alpha=1.0, **SMALL)),
        (D3rlpyAgent(config="TD3", **SMALL), OfflineTD3Agent(**SMALL)),
    )
    for generic, own in pairs:
        for agent in (generic, own):
            agent.fit(dataset, steps=10, seed=0, progress=False)
        np.testing.assert_array_equal(generic.policy(BELIEFS), own.policy(BELIEFS))
        assert generic.history == own.history


def test_options_are_ours_where_we_have_them_and_the_configurations_otherwise() -> None:
    config = D3rlpyAgent(config="IQL", expectile=0.9, gamma=0.7, hidden_units=(8,), n_critics=3).config(
        d3rlpy
    )
    assert isinstance(config, d3rlpy.algos.IQLConfig)
    assert (config.expectile, config.gamma, config.n_critics, config.weight_temp) == (0.9, 0.7, 3, 3.0)
    assert config.value_encoder_factory.hidden_units == [8]
    assert D3rlpyAgent(config="BC", learning_rate=0.5).config(d3rlpy).learning_rate == 0.5
    assert D3rlpyAgent(config="BC").config(d3rlpy).learning_rate == 1e-3
    assert type(D3rlpyAgent(config="TD3PlusBC", alpha=1).options.fields["alpha"]) is float


@pytest.mark.parametrize("name", ["BC", "CalQL", "DDPG", "SAC"])
def test_others_without_an_agent_of_their_own(dataset: Any, name: str, tmp_path: Path) -> None:
    agent = D3rlpyAgent(config=name, **SMALL)
    agent.fit(dataset, steps=5, seed=0, progress=False)
    assert ("q_abs_max" in agent.history[-1]) == (name != "BC")
    agent.save(tmp_path)
    np.testing.assert_array_equal(D3rlpyAgent.load(tmp_path)(BELIEFS), agent.policy(BELIEFS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "unknown config .* ''"),
        ({"config": "TD3PlusBCC"}, "unknown config .* 'TD3PlusBCC': did you mean 'TD3PlusBC'"),
        ({"config": "DQN"}, "unknown config .* 'DQN'"),  # discrete
        ({"config": "TD3PlusBC", "alhpa": 1}, "unknown option of D3rlpyAgent .*'alhpa': did you mean 'alpha'"),
        ({"config": "BC", "tau": 0.1}, "unknown option of D3rlpyAgent with config='BC': 'tau'"),
        ({"config": "BC", "alpha": 1.0}, "unknown option of D3rlpyAgent with config='BC': 'alpha'"),
        ({"config": "TD3PlusBC", "alpha": "much"}, "alpha must be a finite number, got 'much'"),
        ({"config": "TD3PlusBC", "gamma": 1.0}, r"gamma must be a number in \[0, 1\), got 1.0"),
        ({"config": "SAC", "compile_graph": True}, "unknown option .*'compile_graph'"),
        *(
            ({"config": name}, f"config='{name}' can't be trained or exported by the agent 'd3rlpy'.* of their own")
            for name in ("BCQ", "PLAS", "BEAR", "CRR", "PRDC", "RandomPolicy", "DecisionTransformer", "TACR")
        ),
    ],
)  # fmt: skip
def test_what_is_refused_before_any_work(options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        D3rlpyAgent(**options)


def test_interrupted_it_ends_with_the_same_bytes(
    dataset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(folder: Path, updates: int = 0) -> D3rlpyAgent:
        agent, sample, drawn = D3rlpyAgent(config="SAC", **SMALL), D3rlpyAgent.sample, []

        def interrupted(self: Any, buffer: Any) -> Any:
            drawn.append(1)
            if len(drawn) == updates:
                raise KeyboardInterrupt
            return sample(self, buffer)

        with monkeypatch.context() as patched:
            patched.setattr(D3rlpyAgent, "sample", interrupted)
            agent.fit(dataset, steps=12, seed=0, directory=folder, progress=False)
        agent.save(folder)
        return agent

    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "run", updates=8)
    fit(tmp_path / "run")
    fit(tmp_path / "whole")
    for name in ("policy.safetensors", "training.json"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
