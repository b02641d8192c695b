"""SAC through stable-baselines3: learns, is exported as it is, repeats itself, and leaves no trace in global state."""

from __future__ import annotations

import csv
import itertools
import json
import random

import gymnasium
import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import torch
from rich.console import Console
from stable_baselines3 import SAC
from torch import nn

from gems_gym.beliefs.untrained import LastObservation
from gems_gym.common.networks import FeedForward
from gems_gym.policies.actor import Actor
from gems_gym.trackers import choose_trackers
from gems_gym.user_splits import user_seeds
from gems_gym.wrappers import VectorBeliefObservation, VectorLatentAction
from gems_gym_agents.base import Agent, DivergedError
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online import rounds
from gems_gym_agents.online.end_to_end import EndToEndSACAgent
from gems_gym_agents.online.model import LayerNormSACPolicy, export_actor, find_guide, make_sac
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.rounds import start_seeds, starts_in_rounds
from gems_gym_agents.online.sac import SACAgent
from gems_gym_agents.online.vec_env import GymnasiumVecEnv
from tests.agents.tiny_env import TargetVectorEnv
from tests.agents.tiny_sac import OBSERVATIONS, SMALL, closeness, fitted
from tests.event_files import curves


def test_learns():
    agent = SACAgent(**SMALL, gamma=0.5, learning_rate=1e-2, validate_every=800)
    agent.fit(TargetVectorEnv(16), steps=1_600, seed=0, evaluate=closeness, progress=False)
    assert closeness(lambda observations: np.zeros((len(observations), 2))) < 3.3
    assert closeness(agent.policy) > 4.3
    assert isinstance(agent, Agent)
    assert SACAgent.learns_from == "environment"


def test_same_seed_same_agent_and_another_seed_another():
    first, again, other = fitted(160, seed=3), fitted(160, seed=3), fitted(160, seed=4)
    np.testing.assert_array_equal(first.policy(OBSERVATIONS), again.policy(OBSERVATIONS))
    assert np.abs(first.policy(OBSERVATIONS) - other.policy(OBSERVATIONS)).max() > 1e-3


@pytest.mark.slow
def test_of_several_starts_the_worse_half_is_dropped_until_one_is_left():
    options, steps = SMALL | {"validate_every": 80}, 240
    agent = SACAgent(**options, starts=4)
    agent.fit(TargetVectorEnv(8), steps=steps, seed=5, evaluate=closeness, progress=False)
    assert agent.interactions == (4 + 2 + 1) * 80
    alone = {}
    for seed in start_seeds(5, 4):
        alone[seed] = SACAgent(**options)
        alone[seed].fit(TargetVectorEnv(8), steps=steps, seed=seed, evaluate=closeness, progress=False)

    def best_of(seeds, rounds):
        return sorted(seeds, key=lambda seed: -max(one.score for one in alone[seed].checkpoints[:rounds]))

    assert len({one.checkpoints[0].score for one in alone.values()}) == 4
    chosen = best_of(best_of(alone, 1)[:2], 2)[0]
    assert agent.policy.metadata["seed"] == chosen
    assert [one.describe() for one in agent.checkpoints] == [
        one.describe() for one in alone[chosen].checkpoints
    ]
    np.testing.assert_array_equal(agent.policy(OBSERVATIONS), alone[chosen].policy(OBSERVATIONS))


def test_the_curves_of_several_starts_begin_with_the_scores_of_the_best(tmp_path):
    agent = SACAgent(**SMALL, validate_every=160, starts=2)
    agent.fit(TargetVectorEnv(8), steps=480, seed=5, evaluate=closeness, progress=False, directory=tmp_path)
    with (tmp_path / "logs/progress.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["validation/clicks_per_session"]]
    scores = {int(row["time/total_timesteps"]): float(row["validation/clicks_per_session"]) for row in rows}
    assert scores == {
        one.interactions: pytest.approx(one.score) for one in agent.checkpoints if one.mean_of == 1
    }
    assert len(scores) == 3


def test_starts_are_not_compared_before_they_learn():
    agent = SACAgent(**(SMALL | {"learning_starts": 80}), validate_every=80, starts=2)
    with pytest.raises(ValueError, match="compared after 80 interactions, and .* learning_starts=80"):
        agent.fit(TargetVectorEnv(8), steps=240, seed=5, evaluate=closeness, progress=False)


def test_a_start_that_diverges_leaves_the_others(monkeypatch):
    train_round, bad = rounds.Start.train_round, start_seeds(5, 2)[0]

    def diverging(self, present, advance):
        if self.model.seed == bad:
            raise DivergedError("it did")
        train_round(self, present, advance)

    monkeypatch.setattr(rounds.Start, "train_round", diverging)
    agent = SACAgent(**SMALL, validate_every=80, starts=2)
    agent.fit(TargetVectorEnv(8), steps=240, seed=5, evaluate=closeness, progress=False)
    assert agent.policy.metadata["seed"] == start_seeds(5, 2)[1]
    assert agent.interactions == 240  # of the other start nothing was played
    with pytest.raises(DivergedError):
        SACAgent(**SMALL, validate_every=80).fit(TargetVectorEnv(8), steps=240, seed=5, progress=False)


def test_starts_that_are_left_at_the_end_are_compared_there():
    agent = SACAgent(**SMALL, validate_every=160, starts=3)
    agent.fit(TargetVectorEnv(8), steps=160, seed=5, evaluate=closeness, progress=False)
    assert agent.interactions == 3 * 160
    assert len(agent.checkpoints) == 1


@pytest.mark.parametrize("starts", range(1, 20))
def test_starts_in_rounds(starts):
    counts = starts_in_rounds(starts, 20)
    assert counts[0] == starts
    assert counts[-1] == 1
    for done, (before, after) in enumerate(itertools.pairwise(counts), start=1):
        assert after == (-(-before // 2) if done in (1, 2, 4, 8, 16) else before)


def test_random_actions_held_for_a_session():
    env = TargetVectorEnv(6, length=5, staggered=True)
    actions, begun = [], []
    step = env.step
    env.step = lambda chosen: (begun.append(env.clock.copy()), actions.append(chosen.copy()), step(chosen))[2]
    agent = SACAgent(**(SMALL | {"learning_starts": 120}), hold_random_actions=True)
    agent.fit(env, steps=240, seed=0, progress=False)
    random, learned = np.array(actions[:20]), np.array(actions[20:])  # (num_steps, num_users, action_size)
    first = np.array(begun[:20]) == 0
    first[0] = True
    same = (random[1:] == random[:-1]).all(axis=2)
    np.testing.assert_array_equal(same, ~first[1:])
    assert np.abs(random).max() > 0.9
    assert not (learned[1:] == learned[:-1]).all(axis=2).any()


@pytest.mark.slow
def test_it_starts_from_a_policy(monkeypatch):
    """Whose actions it plays first, with noise, and which it is before it learns on."""
    copied = {"0.weight": np.float32([[1, 0, 0], [0, 1, 0]]), "0.bias": np.zeros(2, np.float32)}
    guide = Actor(FeedForward(copied, [["linear"], ["tanh"]]))
    monkeypatch.setattr(
        SACAgent, "make_model", lambda self, env, **chosen: make_sac(self.options, env, **chosen, guide=guide)
    )
    env, played = TargetVectorEnv(16), []
    step = env.step
    env.step = lambda chosen: (played.append((env._observe(), chosen.copy())), step(chosen))[1]
    options = SMALL | {"learning_starts": 640, "gradient_steps": 1, "learning_rate": 1e-3}
    agent = SACAgent(**options, averaged_share=0.0)
    agent.fit(env, steps=656, seed=0, progress=False)
    differences = np.concatenate([actions - guide(seen) for seen, actions in played[:40]])
    assert abs(differences.std() - 0.2) < 0.02
    assert abs(differences.mean()) < 0.02
    np.testing.assert_allclose(agent.policy(OBSERVATIONS), guide(OBSERVATIONS), atol=0.15)
    assert closeness(agent.policy) > 4.0


def test_it_starts_from_agents_of_its_own_ranker_and_belief():
    env = gymnasium.make_vec("GemsSlateLatent-diffuse_mix-v0", num_envs=1)
    assert find_guide("expert-diffuse_mix", env).metadata["level"] == "expert"
    with pytest.raises(ValueError, match="start_from='expert-focused_mix' acts through another ranker"):
        find_guide("expert-focused_mix", env)
    slates = gymnasium.make_vec("GemsSlate-diffuse_mix-v0", num_envs=1)
    catalogue = slates.unwrapped.catalog.hash
    belief = LastObservation(num_items=1000, slate_size=10, catalog_hash=catalogue)
    other = VectorLatentAction(VectorBeliefObservation(slates, belief), "gems-diffuse_mix")
    with pytest.raises(ValueError, match="start_from='expert-diffuse_mix' acts through another belief"):
        find_guide("expert-diffuse_mix", other)
    with pytest.raises(ValueError, match="goes without hold_random_actions"):
        SACAgent(start_from="expert-diffuse_mix", hold_random_actions=True)
    with pytest.raises(ValueError, match="goes with 'sac'"):
        EndToEndSACAgent(start_from="expert-diffuse_mix")


def test_policies_kept_within_rounds_change_nothing_else():
    scored, kept = SACAgent(**SMALL, validate_every=160), SACAgent(**SMALL, validate_every=160)
    scored.fit(TargetVectorEnv(8), steps=480, seed=0, evaluate=closeness, progress=False)
    kept.fit(TargetVectorEnv(8), steps=480, seed=0, evaluate=closeness, progress=False, keep_growth=0.5)
    at_ends = {one.interactions: one for one in kept.checkpoints if one.mean_of == 1}
    assert [*at_ends] == [72, 80, 88, 104, 128, 160, 208, 280, 320, 448, 480]
    for one in scored.checkpoints[:-1]:  # the last is a mean, here of fewer
        assert one.score == at_ends[one.interactions].score
        np.testing.assert_array_equal(one.actor(OBSERVATIONS), at_ends[one.interactions].actor(OBSERVATIONS))
    assert len({one.score for one in at_ends.values()}) == len(at_ends)


@pytest.mark.parametrize("layer_norm", [True, False])
def test_exported_actor_is_sb3s_deterministic_policy(layer_norm):
    with borrowed_global_state():
        model = make_sac(SACOptions(**SMALL, layer_norm=layer_norm), TargetVectorEnv(8), seed=0)
        model.learn(320)
    expected, _ = model.predict(OBSERVATIONS, deterministic=True)
    actor = export_actor(model)
    np.testing.assert_allclose(actor(OBSERVATIONS), expected, atol=1e-5)
    assert [["layer_norm"] in actor.network.spec] == [layer_norm]


def test_layer_norm_is_after_every_hidden_layer_of_actor_and_critics():
    model = SAC(
        LayerNormSACPolicy,
        GymnasiumVecEnv(TargetVectorEnv(4)),
        policy_kwargs={"net_arch": {"pi": [16, 8], "qf": [32]}},
        buffer_size=1_000,
        learning_starts=8,
        device="cpu",
    )
    kinds = [type(layer) for layer in model.actor.latent_pi]
    assert kinds == [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear, nn.LayerNorm, nn.ReLU]
    for critic in (model.critic, model.critic_target):
        for name in ("qf0", "qf1"):
            assert [type(layer) for layer in getattr(critic, name)] == [
                nn.Linear,
                nn.LayerNorm,
                nn.ReLU,
                nn.Linear,
            ]
        assert list(critic.q_networks) == [critic.qf0, critic.qf1]
    # the optimisers hold the networks in use, and the target critic starts as a copy
    optimised = {id(p) for group in model.actor.optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in model.actor.latent_pi.parameters()} <= optimised
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    for name, value in model.critic.state_dict().items():
        assert torch.equal(value, model.critic_target.state_dict()[name])
    with borrowed_global_state():
        model.learn(40)
    for name, value in model.policy.state_dict().items():
        if name.startswith(("actor.latent_pi", "critic.qf")):
            assert not torch.equal(value, before[name]), f"{name} is not trained"


@pytest.fixture(scope="module")
def usual_actions():
    return fitted(160).policy(OBSERVATIONS)


@pytest.mark.parametrize(
    "option",
    [
        {"gamma": 0.1},
        {"initial_entropy": 1.0},
        {"target_entropy": -20.0},
        {"net_arch": (32,)},
        {"layer_norm": False},
        {"learning_rate": 1e-2},
        {"tau": 0.5},
        {"batch_size": 32},
        {"gradient_steps": 2},
        {"learning_starts": 128},
        {"buffer_size": 64},
        {"reward_scale": 0.1},
    ],
    ids=lambda option: next(iter(option)),
)
def test_every_option_has_an_effect(option, usual_actions):
    assert np.abs(fitted(160, **option).policy(OBSERVATIONS) - usual_actions).max() > 0


def test_reward_scale_stays_inside():
    with borrowed_global_state():
        model = make_sac(SACOptions(**SMALL, reward_scale=0.1), TargetVectorEnv(8), seed=0)
        model.learn(80)
    assert 0 < model.replay_buffer.rewards[:10].max() <= 0.1
    assert np.mean([session["r"] for session in model.ep_info_buffer]) > 1


def test_time_limits_are_bootstrapped_through():
    with borrowed_global_state():
        model = make_sac(SACOptions(**SMALL), TargetVectorEnv(8, length=5), seed=0)
        model.learn(80)
    buffer = model.replay_buffer
    assert buffer.dones[4].all()
    assert buffer.timeouts[4].all()
    np.testing.assert_array_equal(buffer.next_observations[4, :, 2], 1.0)  # the ended session's own clock
    with borrowed_global_state():
        batch = buffer.sample(500)
    assert batch.dones.max() == 0


def test_users_are_of_the_training_split():
    env = TargetVectorEnv(8)
    SACAgent(**SMALL).fit(env, steps=80, seed=5, progress=False)
    assert env.seeds == user_seeds("training", 5, 8)


def test_global_state_is_left_as_it_was():
    legacy = np.random.mtrand._rand  # the process-wide generator

    def draw():
        return random.random(), legacy.random(), float(torch.rand(())), torch.get_num_threads()

    states = random.getstate(), legacy.get_state(), torch.get_rng_state()
    expected = draw()
    random.setstate(states[0])
    legacy.set_state(states[1])
    torch.set_rng_state(states[2])
    fitted(steps=80)
    assert draw() == expected


def test_files_and_checkpoints(tmp_path):
    scores = iter([2.0, 3.0, 1.0, 1.5])
    choose_trackers(["tensorboard"])
    agent = SACAgent(**SMALL, validate_every=80, averaged_share=0.0)
    agent.fit(
        TargetVectorEnv(8),
        steps=320,
        seed=0,
        directory=tmp_path,
        evaluate=lambda act: next(scores),
        progress=False,
    )
    assert [checkpoint.interactions for checkpoint in agent.checkpoints] == [80, 160, 240, 320]
    assert [checkpoint.score for checkpoint in agent.checkpoints] == [2.0, 3.0, 1.0, 1.5]
    best, last = agent.checkpoints[1].actor, agent.checkpoints[3].actor
    np.testing.assert_array_equal(agent.policy(OBSERVATIONS), best(OBSERVATIONS))
    for name, actor in {"best": best, "last": last, "checkpoints/actor_160": best}.items():
        loaded = Actor.load(tmp_path / f"{name}.safetensors")
        np.testing.assert_array_equal(loaded(OBSERVATIONS), actor(OBSERVATIONS))
    curve = json.loads((tmp_path / "checkpoints/checkpoints.json").read_text())
    assert curve[1]["score"] == 3.0
    assert curve[1]["file"] == "actor_160.safetensors"
    events = curves(tmp_path / "logs")
    assert events["validation/clicks_per_session"] == [(80, 2.0), (160, 3.0), (240, 1.0), (320, 1.5)]
    assert "rollout/ep_rew_mean" in events
    with (tmp_path / "logs/progress.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["rollout/ep_rew_mean"]) > 1

    agent.save(tmp_path / "agent")
    loaded = SACAgent.load(tmp_path / "agent")
    np.testing.assert_array_equal(loaded(OBSERVATIONS), best(OBSERVATIONS))
    details = json.loads((tmp_path / "agent/sac.json").read_text())
    assert details["chosen"]["interactions"] == 160
    assert details["options"]["gamma"] == 0.8


@pytest.mark.slow
def test_q_is_logged_against_its_bound(tmp_path):
    agent = SACAgent(**SMALL)
    agent.fit(TargetVectorEnv(8), steps=1_000, seed=0, directory=tmp_path, progress=False)
    with (tmp_path / "logs/progress.csv").open() as file:
        row = [row for row in csv.DictReader(file) if row.get("train/q_abs_max")][-1]
    assert float(row["train/q_bound"]) == pytest.approx(5.0, rel=0.05)  # rewards of at most 1, gamma .8
    assert 0 < float(row["train/q_abs_mean"]) <= float(row["train/q_abs_max"]) < 10


def test_exploding_q_is_stopped(monkeypatch):
    def explode(self, obs, actions):
        return tuple(1e4 + q_network(torch.cat([obs, actions], dim=1)) for q_network in self.q_networks)

    monkeypatch.setattr("stable_baselines3.common.policies.ContinuousCritic.forward", explode)
    with pytest.raises(DivergedError, match=r"max reward / \(1 - gamma\)"):
        fitted(steps=2_000)


class Interrupted(TargetVectorEnv):
    """Ctrl-C in the middle of training."""

    steps = 0

    def step(self, actions):
        self.steps += 1
        if self.steps == 30:
            raise KeyboardInterrupt
        return super().step(actions)


def test_ctrl_c_keeps_what_there_is(tmp_path):
    agent = SACAgent(**SMALL, validate_every=80)
    with pytest.raises(KeyboardInterrupt):
        agent.fit(
            Interrupted(8), steps=10_000, seed=0, directory=tmp_path, evaluate=closeness, progress=False
        )
    assert agent.interactions == 29 * 8
    assert agent.checkpoints[-1].score is None
    assert agent.policy(OBSERVATIONS).shape == (50, 2)
    Actor.load(tmp_path / "last.safetensors")
    Actor.load(tmp_path / "best.safetensors")
    assert not list(tmp_path.rglob("*.tmp"))


def test_progress_goes_to_stderr_only(capsys, monkeypatch):
    monkeypatch.setattr(
        "gems_gym.common.progress.stderr", Console(stderr=True)
    )  # the one made at import missed capsys
    agent = SACAgent(**SMALL)
    agent.fit(TargetVectorEnv(8), steps=400, seed=0, evaluate=closeness)
    out, err = capsys.readouterr()
    assert out == ""
    assert "400/400" in err
    assert "clicks per session" in err


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"unknown option of sac 'gama': did you mean 'gamma'"):
        SACAgent(gama=0.9)
    for options, message in [
        ({"gamma": 1.0}, r"gamma must be a number in \[0, 1\), got 1.0"),
        ({"tau": 0.0}, r"tau must be a number in \(0, 1\], got 0.0"),
        ({"learning_rate": -1e-3}, "learning_rate must be a finite number > 0, got -0.001"),
        ({"batch_size": 0}, "batch_size must be an integer ≥ 1, got 0"),
        ({"net_arch": (128, 0)}, r"net_arch must be a sequence of integers from 1 to 65536, got \(128, 0\)"),
        ({"net_arch": "wide"}, "net_arch must be .*'wide'"),
        ({"starts": 0}, "starts must be an integer from 1 to 1024, got 0"),
        ({"gamma": "high"}, "gamma must be .*'high'"),
        ({"averaged_share": 1.5}, r"averaged_share must be a number in \[0, 1\], got 1.5"),
        ({"learning_starts": -1}, "learning_starts must be an integer ≥ 0, got -1"),
        ({"learning_starts": "late"}, "learning_starts must be .*'late'"),
        ({"layer_norm": 1}, "layer_norm must be True or False, got 1"),
        ({"target_entropy": "auto"}, "target_entropy must be a finite number or None, got 'auto'"),
        ({"target_entropy": float("nan")}, "target_entropy must be a finite number or None, got nan"),
        ({"batch_size": 512, "buffer_size": 256}, "at most buffer_size"),
    ]:
        with pytest.raises((ValueError, TypeError), match=message):
            SACAgent(**options)
    with pytest.raises(ValueError, match="learning_starts=64 interactions are random"):
        fitted(steps=64)
    with pytest.raises(ValueError, match="starts=2: only with evaluate"):
        fitted(starts=2)
    with pytest.raises(RuntimeError, match="call fit first"):
        SACAgent().policy(OBSERVATIONS)
    for device, message in [
        ("cdua", "a torch device such as 'cpu' or 'cuda'"),
        ("cuda:9999", "one that torch sees here"),
    ]:
        if device == "cdua" or not torch.cuda.is_available():
            with pytest.raises(ValueError, match=f"device must be {message}, got '{device}'"):
                SACAgent(**SMALL).fit(TargetVectorEnv(8), steps=80, seed=0, device=device, progress=False)


class WideActions(TargetVectorEnv):
    def __init__(self) -> None:
        super().__init__(4)
        self.single_action_space = type(self.single_action_space)(-2.0, 2.0, (2,), np.float32)


def test_environments_that_sac_cannot_use_are_refused():
    agent = SACAgent(**SMALL)
    with pytest.raises(ValueError, match="VectorLatentAction"):
        agent.fit(WideActions(), steps=100, seed=0, progress=False)
    with pytest.raises(TypeError, match="source must be a VectorEnv, got"):
        agent.fit("GemsSlate-diffuse_mix-v0", steps=100, seed=0, progress=False)
