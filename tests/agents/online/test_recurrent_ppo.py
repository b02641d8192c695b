"""PPO with an LSTM: what is exported follows sessions as the library does, and is resumed to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from gems_gym.beliefs import LstmBelief
from gems_gym.trained_agents import open_trained_agent, save_trained_agent
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online import RecurrentPPOAgent
from tests.agents.online.test_algorithms import hashes
from tests.agents.test_end_to_end import belief, pooled_belief, ranker, score, users  # noqa: F401  # fixtures
from tests.agents.tiny_env import TargetVectorEnv

SMALL = {
    "net_arch": (16,), "lstm_size": 12, "rollout_steps": 4, "minibatches": 2, "epochs": 2, "validate_every": 96,
}  # fmt: skip


def fitted(ranker, belief, folder: Path | None = None, env: Any = None, **options: Any) -> RecurrentPPOAgent:  # noqa: F811
    agent = RecurrentPPOAgent(**SMALL | options)
    agent.fit(
        env or users(ranker, belief), steps=288, seed=0, directory=folder, evaluate=score(ranker, belief),
        progress=False,
    )  # fmt: skip
    return agent


@pytest.fixture(scope="module")
def whole(ranker, belief, tmp_path_factory) -> tuple[RecurrentPPOAgent, Path]:  # noqa: F811
    """An agent whose training nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return fitted(ranker, belief, folder), folder


def test_exported_it_acts_as_the_librarys_model_through_a_session(ranker, belief):  # noqa: F811
    agent = RecurrentPPOAgent(**SMALL, learning_rate=1e-2)
    with borrowed_global_state():
        model: Any = agent.make_model(users(ranker, belief), seed=0, device="cpu")
        model.learn(320)
    own, actor = agent.export_belief(model, {}), agent.export_actor(model, {})
    env, first = model.env, model.env.reset()
    state, memory, starts = own.initial(8), None, np.ones(8, dtype=bool)
    moments, played = first, []
    for _ in range(4):
        expected, memory = model.predict(moments, memory, starts, deterministic=True)
        state = own.update(state, env.last_infos["slate"], env.last_infos["clicks"])
        np.testing.assert_allclose(own.read(state), memory[0][0], atol=1e-5)
        np.testing.assert_allclose(actor(own.read(state)), expected, atol=1e-5)
        played.append(expected)
        starts[:] = False
        moments, *_ = env.step(expected)
    assert np.abs(played[1] - played[2]).max() > 1e-3, "it reacts to what it sees"


def test_a_finished_agent_is_an_ordinary_one(whole, ranker, belief, tmp_path):  # noqa: F811
    agent, _ = whole
    assert isinstance(agent.belief, LstmBelief)
    record = {"env": "GemsSlate-diffuse_topdown-v0", "env_spec": None}
    save_trained_agent(tmp_path, agent, "recurrent_ppo", ranker, agent.belief, record)
    opened = open_trained_agent(tmp_path)
    assert score(ranker, belief)(opened.policy, opened.belief) == max(one.score for one in agent.checkpoints)
    assert [one.mean_of for one in agent.checkpoints] == [1, 1, 1, 2]
    *_, before, last, mean = (one.belief.tensors["weight_hh"] for one in agent.checkpoints)
    np.testing.assert_allclose(mean, (before + last) / 2, atol=1e-6)


def test_interrupted_it_is_resumed_to_the_same_bits(whole, ranker, belief, tmp_path):  # noqa: F811
    env, steps = users(ranker, belief), []
    step = env.step

    def interrupted(actions):
        steps.append(1)
        if len(steps) == 30:
            raise KeyboardInterrupt
        return step(actions)

    env.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        fitted(ranker, belief, tmp_path / "run", env)
    fitted(ranker, belief, tmp_path / "run")
    assert hashes(tmp_path / "run") == hashes(whole[1])


def test_options_have_an_effect(whole, ranker, belief):  # noqa: F811
    assert whole[0].belief.size == 12
    random = fitted(ranker, belief, pretrained=False).belief.tensors["item_embeddings"]
    start, taken = belief.tensors["item_embeddings"], whole[0].belief.tensors["item_embeddings"]
    assert 0 < np.abs(taken - start).max() < 0.5, "they started there and were learned"
    assert np.abs(random - start).max() > 0.5


def test_it_requires_a_gru_belief():
    with pytest.raises(ValueError, match="not seen through a GRU belief"):
        RecurrentPPOAgent(**SMALL).fit(TargetVectorEnv(4), steps=40, seed=0, progress=False)
