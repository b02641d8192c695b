"""SAC with GRUs of its own: what they observe, what gradients see, and that a finished agent is an ordinary one."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

import gymnasium
import torch

from gems_gym.beliefs import GruBelief, load_belief
from gems_gym.envs import SlateEnv
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import GemsRanker
from gems_gym.trained_agents import open_trained_agent, save_trained_agent
from gems_gym.user_splits import user_seeds
from gems_gym_agents import evaluation
from gems_gym_agents.evaluation import ValidationScore
from gems_gym_agents.library_state import borrowed_global_state
from gems_gym_agents.online.end_to_end import EndToEndSACAgent
from gems_gym_agents.online.end_to_end_model import (
    GruFeatures,
    MomentLayout,
    SessionMoments,
    environment_belief,
    features_of,
    load_pooled,
    make_end_to_end,
    moment_box,
)
from gems_gym_agents.online.options import EndToEndOptions
from tests.agents.tiny_env import TargetVectorEnv

ENV = "GemsSlate-diffuse_topdown-v0"
WORLD: dict[str, Any] = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 4}
SIZE, USERS = 6, 8
LAYOUT = MomentLayout(num_states=2, state_size=SIZE, slate_size=5)
SMALL = {
    "net_arch": (16,), "batch_size": 32, "learning_starts": 96, "buffer_size": 320, "validate_every": 160, "window": 3,
}  # fmt: skip


def pooled_belief(seed: int = 0, **sizes: Any) -> GruBelief:
    """A GRU of pooled slates with random weights."""
    from gems_gym.pretraining.belief import BeliefSettings
    from gems_gym.pretraining.gru import GruBeliefModel

    model = GruBeliefModel(60, 5, BeliefSettings(size=SIZE, embedding_size=4))
    generator = torch.Generator().manual_seed(seed)
    model.initialise(None, generator)
    torch.nn.init.uniform_(model.slot_weights, 0.5, 2.0, generator=generator)
    return GruBelief(model.tensors(), SlateEnv(**WORLD).catalog.hash)


@pytest.fixture(scope="module")
def ranker() -> GemsRanker:
    catalog_hash = SlateEnv(**WORLD).catalog.hash
    return GemsRanker.random(num_items=60, slate_size=5, catalog_hash=catalog_hash, seed=0, latent_size=4)


@pytest.fixture(scope="module")
def belief() -> GruBelief:
    return pooled_belief()


def users(ranker, belief, count: int = USERS, **kwargs):
    return LatentWorld(gymnasium.spec(ENV), ranker, belief).users(count, **WORLD, **kwargs)


def score(ranker, belief) -> ValidationScore:
    return ValidationScore(
        lambda count, own=belief: users(ranker, own, count, autoreset_mode="disabled"),
        user_seeds("validation", 0, 20),
    )


def fitted(
    ranker, belief, directory: Path | None = None, steps: int = 480, env=None, **options
) -> EndToEndSACAgent:
    agent = EndToEndSACAgent(**(SMALL | options))
    agent.fit(
        env or users(ranker, belief), steps=steps, seed=0, directory=directory,
        evaluate=score(ranker, belief), progress=False,
    )  # fmt: skip
    return agent


def test_moments_are_what_was_shown_and_the_states_before_it(ranker, belief):
    other = pooled_belief(1)
    asked = []
    env = SessionMoments(users(ranker, belief), LAYOUT, lambda: asked.append(1) or (belief, other))
    plain = gymnasium.make_vec(ENV, num_envs=USERS, **WORLD)
    actions = np.random.default_rng(0).uniform(-1, 1, (9, USERS, 4)).astype(np.float32)
    observed, _ = env.reset(seed=5)
    raw, _ = plain.reset(seed=5)
    assert env.single_observation_space.shape == (LAYOUT.width,) == (2 * SIZE + 11,)
    states = [encoder.initial(USERS) for encoder in (belief, other)]
    for step in range(9):
        assert env.observation_space.contains(observed)
        for which, encoder in enumerate((belief, other)):
            np.testing.assert_array_equal(observed[:, LAYOUT.state(which)], states[which])
            states[which] = encoder.update(states[which], raw["slate"], raw["clicks"])
        np.testing.assert_array_equal(observed[:, LAYOUT.slate], raw["slate"])
        np.testing.assert_array_equal(observed[:, LAYOUT.clicks], raw["clicks"])
        assert (observed[:, LAYOUT.step] == step % 4).all()
        observed, _, _, ended, infos = env.step(actions[step])
        raw, _, _, _, raw_infos = plain.step(ranker.rank(actions[step]))
        assert ended.all() == (step % 4 == 3)
        if ended.all():
            last = np.stack(list(infos["final_obs"]))
            np.testing.assert_array_equal(last[:, LAYOUT.state(1)], states[1])
            expected = np.stack([one["slate"] for one in raw_infos["final_obs"]])
            np.testing.assert_array_equal(last[:, LAYOUT.slate], expected)
            assert (last[:, LAYOUT.step] == 4).all()
            states = [encoder.initial(USERS) for encoder in (belief, other)]
    assert len(asked) == 3  # at the reset and whenever all began a session


@pytest.fixture
def features(ranker, belief) -> GruFeatures:
    space = moment_box(users(ranker, belief), LAYOUT)
    return GruFeatures(space, LAYOUT, belief, pretrained=True)


def test_features_of_a_window_are_the_belief_that_follows_the_session(features, belief, ranker):
    env = SessionMoments(users(ranker, belief), LAYOUT, lambda: (belief, belief))
    moments = [env.reset(seed=1)[0]]
    state = belief.initial(USERS)
    for _ in range(4):
        slates, clicks = (moments[-1][:, part].astype(np.int64) for part in (LAYOUT.slate, LAYOUT.clicks))
        state = belief.update(state, slates, clicks)
        for window in range(1, len(moments) + 1):
            rows = np.concatenate(moments[-window:], axis=1)
            filler = np.full((USERS, 2 * LAYOUT.width), -1.0, dtype=np.float32)
            filler[:, : LAYOUT.slate.stop] = 0.0
            filler[:, LAYOUT.width : LAYOUT.width + LAYOUT.slate.stop] = 0.0
            for padded in (rows, np.concatenate([rows, filler], axis=1)):
                found = features(torch.from_numpy(padded)).detach().numpy()
                np.testing.assert_allclose(found, state, atol=1e-5)
        moments.append(env.step(np.zeros((USERS, 4), dtype=np.float32))[0])


def test_gradients_reach_back_through_the_window(features):
    torch.manual_seed(0)
    rows = torch.rand(4, 3, LAYOUT.width).round(decimals=1)
    rows[..., LAYOUT.slate] = torch.randint(60, (4, 3, 5)).float()
    rows[..., LAYOUT.clicks] = (rows[..., LAYOUT.clicks] > 0.5).float()
    rows[..., LAYOUT.step] = torch.arange(3.0)
    features(rows.reshape(4, -1)).sum().backward()
    seen = features.gru.item_embeddings.grad.abs().sum(1) > 0
    assert seen[rows[:, 0, LAYOUT.slate].long()].all()
    assert not seen.all()
    assert all(parameter.grad.abs().sum() > 0 for parameter in features.parameters())


def test_exported_is_what_was_taken_over(features, belief):
    for name, tensor in features.belief().tensors.items():
        np.testing.assert_allclose(tensor, belief.tensors[name], atol=1e-6)
    env_belief = load_belief("gru-focused_mix")
    space = gymnasium.spaces.Box(-1, 1, (61,))
    shipped_features = GruFeatures(space, MomentLayout(2, 20, 10), env_belief, pretrained=True)
    for name, tensor in shipped_features.belief().tensors.items():
        np.testing.assert_allclose(tensor, env_belief.tensors[name], atol=1e-5, rtol=1e-4)


def test_beliefs_that_were_not_pooled_are_refused(features, ranker):
    catalog_hash = SlateEnv(**WORLD).catalog.hash
    sizes = {"num_items": 60, "slate_size": 5, "size": SIZE, "embedding_size": 4}
    free = GruBelief.random(**sizes, catalog_hash=catalog_hash, seed=0)
    with pytest.raises(ValueError, match="pooled slates"):
        load_pooled(features.gru, free)
    make_end_to_end(EndToEndOptions(**SMALL, pretrained=False), users(ranker, free), seed=0)  # sizes only


def model_after(ranker, belief, steps: int, **options):
    with borrowed_global_state():
        model = make_end_to_end(EndToEndOptions(**(SMALL | options)), users(ranker, belief), seed=0)
        model.learn(steps)
    return model


def test_windows_hold_the_moments_of_one_session(ranker, belief):
    # 60 steps; 40 are kept, and the ring has been around; networks that stay as they are
    model = model_after(ranker, belief, 480, learning_rate=1e-12)
    buffer = model.replay_buffer
    assert buffer.full
    rows = np.repeat(np.arange(40), 20)
    with borrowed_global_state():
        samples = buffer._get_samples(rows)
    for name, windows, newest in (
        ("observations", samples.observations, buffer.observations),
        ("next_observations", samples.next_observations, buffer.next_observations),
    ):
        moments = windows.numpy().reshape(len(rows), 3, -1)
        steps = moments[..., LAYOUT.step]
        lengths = (steps >= 0).sum(1)
        assert (steps[np.arange(3) >= lengths[:, None]] == -1).all()
        last = moments[np.arange(len(rows)), lengths - 1]
        assert all((newest[row] == one).all(1).any() for row, one in zip(rows, last, strict=True)), name
        age = (rows - buffer.pos) % 40 + (1 if name == "observations" else 2)
        np.testing.assert_array_equal(lengths, np.minimum(np.minimum(last[:, LAYOUT.step] + 1, age), 3))
        for k in range(1, 3):
            both = lengths > k
            assert (steps[both, k] == steps[both, k - 1] + 1).all()
            # the state before a moment is the one after the moment before
            states = belief_after(model, moments[both, k - 1])
            np.testing.assert_allclose(states, moments[both, k][:, LAYOUT.state(0)], atol=1e-5)


def belief_after(model, moments: np.ndarray) -> np.ndarray:
    belief = features_of(model.actor).belief()
    slates, clicks = (moments[:, part].astype(np.int64) for part in (LAYOUT.slate, LAYOUT.clicks))
    return belief.update(np.ascontiguousarray(moments[:, LAYOUT.state(0)]), slates, clicks)


def test_actor_and_critics_have_grus_of_their_own_that_learn(ranker, belief):
    model = model_after(ranker, belief, 240)
    before, actor, critic, target = (
        one.gru.recurrence.weight.detach()
        for one in (GruFeatures(model.observation_space, LAYOUT, belief, True),
                    *(features_of(part) for part in (model.actor, model.critic, model.critic_target)))
    )  # fmt: skip
    for one, another in (
        (before, actor),
        (before, critic),
        (actor, critic),
        (critic, target),
        (before, target),
    ):
        assert not torch.equal(one, another)
    assert [features_of(part).which for part in (model.actor, model.critic, model.critic_target)] == [0, 1, 1]


def test_an_actors_gradient_spares_the_critics_gru(ranker, belief):
    model = model_after(ranker, belief, 160)
    observations = model.replay_buffer.sample(8).observations
    model.critic.zero_grad()
    actions, _ = model.actor.action_log_prob(observations)
    model.critic(observations, actions)[0].sum().backward()
    assert features_of(model.critic).gru.recurrence.weight.grad is None
    assert model.actor.mu.weight.grad.abs().sum() > 0
    model.critic(observations, actions.detach())[0].sum().backward()
    assert features_of(model.critic).gru.recurrence.weight.grad.abs().sum() > 0


@pytest.fixture(scope="module")
def whole(ranker, belief, tmp_path_factory) -> tuple[EndToEndSACAgent, Path]:
    """An agent whose training nothing interrupted, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    return fitted(ranker, belief, folder), folder


def test_a_finished_agent_is_an_ordinary_one(whole, ranker, belief, tmp_path):
    agent, folder = whole
    shutil.copytree(folder, tmp_path / "run")
    assert np.abs(agent.belief.tensors["weight_hh"] - belief.tensors["weight_hh"]).max() > 0
    record = {"env": ENV, "env_spec": None, "steps": 480, "seed": 0}
    save_trained_agent(tmp_path / "run", agent, "sac_end_to_end", ranker, agent.belief, record)
    opened = open_trained_agent(tmp_path / "run")
    test_users = user_seeds("validation", 0, 20)
    env = users(opened.ranker, opened.belief, 20, autoreset_mode="disabled")
    played = evaluation.evaluate(opened.policy, env, test_users)
    chosen = json.loads((tmp_path / "run/sac.json").read_text())["chosen"]
    assert played.mean_return == chosen["score"] == max(one.score for one in agent.checkpoints)
    curve = json.loads((tmp_path / "run/checkpoints/checkpoints.json").read_text())
    which = ["160", "320", "480", "480_mean_of_2"]
    assert [one["belief_file"] for one in curve] == [f"belief_{one}.safetensors" for one in which]
    *_, before, last, mean = (
        GruBelief.load(tmp_path / "run/checkpoints" / one["belief_file"]) for one in curve
    )
    for name, array in mean.tensors.items():
        np.testing.assert_allclose(array, (before.tensors[name] + last.tensors[name]) / 2, atol=1e-6)
    assert np.abs(mean.tensors["weight_hh"] - last.tensors["weight_hh"]).max() > 0


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file() and not {"logs", "unfinished"} & {*file.parts}
    }


@pytest.mark.slow
def test_interrupted_it_goes_on_to_the_same_bits(whole, ranker, belief, tmp_path):
    env = users(ranker, belief)
    step, steps = env.step, []

    def interrupted(actions):
        steps.append(1)
        if len(steps) == 50:
            raise KeyboardInterrupt
        return step(actions)

    env.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        fitted(ranker, belief, tmp_path / "run", env=env)
    fitted(ranker, belief, tmp_path / "run")
    assert hashes(tmp_path / "run") == hashes(whole[1])


@pytest.mark.parametrize("option", [{"window": 1}, {"pretrained": False}], ids=str)
def test_options_have_an_effect(whole, ranker, belief, option):
    usual, changed = whole[0], fitted(ranker, belief, **option)
    beliefs = np.random.default_rng(0).uniform(-1, 1, (20, SIZE)).astype(np.float32)
    assert np.abs(usual.policy(beliefs) - changed.policy(beliefs)).max() > 1e-4


def test_bad_arguments_are_named(ranker, belief):
    with pytest.raises(ValueError, match=r"unknown option of sac_end_to_end 'windw': did you mean 'window'"):
        EndToEndSACAgent(windw=3)
    with pytest.raises(ValueError, match="window must be an integer ≥ 1, got 0"):
        EndToEndSACAgent(window=0)
    with pytest.raises(TypeError, match="pretrained must be True or False, got 1"):
        EndToEndSACAgent(pretrained=1)
    with pytest.raises(RuntimeError, match="call fit first"):
        _ = EndToEndSACAgent().belief
    with pytest.raises(ValueError, match="not seen through a GRU belief"):
        environment_belief(TargetVectorEnv(2))
