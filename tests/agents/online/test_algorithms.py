"""TD3, TQC, CrossQ and PPO: they learn, are exported as they are, resumed to the same bits, and heed their options."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from stable_baselines3 import PPO
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from torch import nn

from gems_gym.user_splits import user_seeds
from gems_gym_agents.base import DivergedError
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online import RecurrentPPOAgent
from gems_gym_agents.online.rounds import plan_rounds
from tests.agents.online.tiny_agents import AGENTS, fitted, small
from tests.agents.tiny_env import TargetVectorEnv
from tests.agents.tiny_sac import OBSERVATIONS, closeness

LEARNING: dict[str, dict[str, Any]] = {
    "td3": {"steps": 640, "learning_rate": 1e-2},
    "tqc": {"steps": 640, "learning_rate": 1e-2},
    "crossq": {"steps": 2_880, "learning_rate": 1e-2},
    "ppo": {"steps": 3_200, "learning_rate": 3e-3},
}


@pytest.mark.parametrize("name", AGENTS)
def test_learns(name):
    options = {"gamma": 0.5, "validate_every": 160, **LEARNING[name]}
    agent = fitted(name, TargetVectorEnv(16), evaluate=closeness, **options)
    assert closeness(agent.policy) > 4.2
    assert closeness(fitted(name, steps=80, learning_rate=1e-12).policy) < 3.6


@pytest.mark.parametrize("name", AGENTS)
def test_exported_actor_is_the_librarys_deterministic_policy(name):
    agent = small(name, learning_rate=1e-2)
    with borrowed_global_state():
        model = agent.make_model(TargetVectorEnv(8), seed=0, device="cpu")
        model.learn(640)
        expected, _ = model.predict(OBSERVATIONS, deterministic=True)
    found = agent.export_actor(model, {"kept": 1})
    np.testing.assert_allclose(found(OBSERVATIONS), expected, atol=1e-5)
    assert np.abs(expected - expected.mean(axis=0)).max() > 0.05, "it has learned to tell observations apart"
    assert found.metadata == {"kept": 1}


def test_ppo_is_cut_to_the_box_where_the_library_cuts_it():
    agent = small("ppo")
    with borrowed_global_state():
        model = agent.make_model(TargetVectorEnv(8), seed=0, device="cpu")
        nn.init.constant_(model.policy.action_net.bias, 0.9)
        nn.init.normal_(model.policy.action_net.weight)
        expected, _ = model.predict(OBSERVATIONS, deterministic=True)
    found = agent.export_actor(model, {})(OBSERVATIONS)
    assert (np.abs(expected) == 1.0).any()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_ppo_has_its_librarys_optimiser():
    model = small("ppo").make_model(TargetVectorEnv(8), seed=0, device="cpu")
    assert (
        model.policy.optimizer.defaults["eps"]
        == PPO("MlpPolicy", "Pendulum-v1").policy.optimizer.defaults["eps"]
    )


class Interrupted(TargetVectorEnv):
    """Ctrl-C in the middle of the third round."""

    steps = 0

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        self.steps += 1
        if self.steps == 28:
            raise KeyboardInterrupt
        return super().step(actions)


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not {"logs", "unfinished"} & {*file.parts}
    }


@pytest.mark.parametrize("name", AGENTS)
def test_interrupted_it_is_resumed_to_the_same_bits(name, tmp_path):
    options: dict[str, Any] = {"steps": 320, "validate_every": 80, "evaluate": closeness}
    if name != "ppo":
        options |= {"batch_size": 32, "buffer_size": 200}
    whole = fitted(name, folder=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        fitted(name, Interrupted(8), tmp_path / "run", **options)
    assert (tmp_path / "run/unfinished").is_dir()
    env = TargetVectorEnv(8)
    steps = []
    env.step = lambda actions: steps.append(1) or TargetVectorEnv.step(env, actions)
    resumed = fitted(name, env, tmp_path / "run", **options)
    assert len(steps) == (320 - 160) // 8
    assert hashes(tmp_path / "run") == hashes(tmp_path / "whole")
    assert [one.mean_of for one in resumed.checkpoints] == [1, 1, 1, 1, 3]
    for agent, folder in ((whole, "whole"), (resumed, "run")):
        agent.save(tmp_path / folder)
        assert not (tmp_path / folder / "unfinished").exists()
    details = json.loads((tmp_path / "run/training.json").read_text())
    assert details["options"]["gamma"] == 0.8
    assert details == json.loads((tmp_path / "whole/training.json").read_text())


def test_of_several_starts_one_is_left():
    agent = fitted("ppo", steps=240, validate_every=80, starts=2, evaluate=closeness)
    assert agent.interactions == (2 + 1 + 1) * 80


CHANGED: list[tuple[str, dict[str, Any]]] = [
    ("td3", {"exploration_noise": 0.9}),
    ("td3", {"target_noise": 0.9}),
    ("td3", {"target_noise_clip": 0.01}),
    ("td3", {"policy_delay": 1}),
    ("td3", {"layer_norm": False}),
    ("td3", {"tau": 0.5}),
    ("td3", {"reward_scale": 0.1}),
    ("tqc", {"critics": 3}),
    ("tqc", {"quantiles": 10}),
    ("tqc", {"dropped_quantiles": 10}),
    ("tqc", {"layer_norm": False}),
    ("tqc", {"tau": 0.5}),
    ("tqc", {"initial_entropy": 1.0}),
    ("crossq", {"policy_delay": 1}),
    ("crossq", {"initial_entropy": 1.0}),
    ("crossq", {"target_entropy": -20.0}),
    ("crossq", {"gradient_steps": 2}),
    ("ppo", {"rollout_steps": 10}),
    ("ppo", {"epochs": 2}),
    ("ppo", {"minibatches": 4}),
    ("ppo", {"gae_lambda": 0.1}),
    ("ppo", {"clip_range": 0.01}),
    ("ppo", {"entropy_weight": 0.5}),
    ("ppo", {"initial_deviation": 0.1}),
    ("ppo", {"gamma": 0.1}),
    ("ppo", {"net_arch": (32,)}),
]


@pytest.fixture(scope="module")
def usual_actions():
    return {name: fitted(name).policy(OBSERVATIONS) for name in AGENTS}


@pytest.mark.parametrize(("name", "option"), CHANGED, ids=str)
def test_options_have_an_effect(name, option, usual_actions):
    assert np.abs(fitted(name, **option).policy(OBSERVATIONS) - usual_actions[name]).max() > 0


def test_layer_norm_is_in_actor_and_critics():
    for name, network in (("td3", "mu"), ("tqc", "latent_pi")):
        with borrowed_global_state():
            model: Any = small(name).make_model(TargetVectorEnv(8), seed=0, device="cpu")
        for layers in (getattr(model.actor, network), model.critic.qf0, model.critic_target.qf1):
            assert [type(layer) for layer in layers][:3] == [nn.Linear, nn.LayerNorm, nn.ReLU], name
        assert type(model.critic.qf0[-1]) is nn.Linear
        assert isinstance(model, OffPolicyAlgorithm)


def test_rollouts_are_complete_and_of_training_users():
    env = TargetVectorEnv(8, length=5)
    env.config = SimpleNamespace(episode_length=5)
    agent = fitted("ppo", env, steps=90, rollout_steps=3, validate_every=30)
    # rounds of 15 steps, in which sessions and rollouts end; the last round is 4 rollouts, the last of them complete
    assert [one.interactions for one in agent.checkpoints] == [96]
    assert [one.end for one in plan_rounds(env, validate_every=30, steps=250, starts=1, steps_at_once=3)] == [
        120, 240, 264,
    ]  # fmt: skip
    assert env.seeds == user_seeds("training", 0, 8)


def test_wrong_options_are_refused():
    for name, options, message in [
        ("td3", {"initial_entropy": 0.1}, "unknown option of td3 'initial_entropy'"),
        ("td3", {"exploration_noise": -0.1}, "exploration_noise must be a finite number ≥ 0, got -0.1"),
        ("td3", {"batch_size": 6_000}, "batch_size must be at most buffer_size=5000, got 6000"),
        ("tqc", {"dropped_quantiles": 25}, "dropped_quantiles must be less than quantiles=25, got 25"),
        ("tqc", {"hold_random_actions": True}, "unknown option of tqc 'hold_random_actions'"),
        ("crossq", {"layer_norm": True}, "unknown option of crossq 'layer_norm'"),
        ("ppo", {"learning_starts": 10}, "unknown option of ppo 'learning_starts'"),
        ("ppo", {"gae_lambda": 1.5}, r"gae_lambda must be a number in \[0, 1\], got 1.5"),
        ("ppo", {"initial_deviation": 0.0}, "initial_deviation must be a finite number > 0, got 0.0"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            small(name, **options)
    with pytest.raises(ValueError, match="unknown option of recurrent_ppo 'lstm': did you mean 'lstm_size'"):
        RecurrentPPOAgent(lstm=3)
    with pytest.raises(ValueError, match="learning_starts=64 interactions are random"):
        fitted("td3", steps=64)
    for minibatches in (3, 40):
        with pytest.raises(ValueError, match=f"minibatches={minibatches} must divide the rollout_steps=5"):
            fitted("ppo", minibatches=minibatches)


@pytest.mark.parametrize("name", ["td3", "tqc", "ppo"])
def test_weights_that_are_no_numbers_are_called_diverged(name):
    """Where torch refuses them, and where a file would."""
    with pytest.raises(DivergedError, match="(?i)lower learning_rate"):
        fitted(name, learning_rate=1e30, steps=800)


def test_crossq_normalises_batches():
    with pytest.raises(ValueError, match="batch_size=1: a batch that is normalised must hold at least 2"):
        small("crossq", batch_size=1)
