"""Exported policies: the same numbers as torch, whole files, and noise that belongs to each user."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from gems_gym.artifacts import ArtifactError, save_artifact
from gems_gym.common.networks import FeedForward
from gems_gym.policies import Policy
from gems_gym.policies.actor import Actor, NoisyActor, add_exploration_noise
from gems_gym_agents.actors import WithInput, actor_from_modules, network_from_modules, scaled_inputs

RNG = np.random.default_rng(0)
OBSERVATIONS = RNG.uniform(-1, 1, (37, 20)).astype(np.float32)


def small_actor(seed: int = 0) -> Actor:
    rng = np.random.default_rng(seed)
    tensors = {
        "0.weight": rng.normal(size=(16, 20)),
        "0.bias": rng.normal(size=16),
        "1.weight": rng.normal(size=16),
        "1.bias": rng.normal(size=16),
        "3.weight": rng.normal(size=(32, 16)) / 4,
        "3.bias": np.zeros(32),
    }
    spec = [["linear"], ["layer_norm"], ["relu"], ["linear"], ["tanh"]]
    return Actor(FeedForward(tensors, spec), {"agent": "test"})


def test_acts_in_the_box():
    actor = small_actor()
    actions = actor(OBSERVATIONS)
    assert isinstance(actor, Policy)
    assert (actor.observation_size, actor.action_size) == (20, 32)
    assert (actions.shape, actions.dtype) == ((37, 32), np.float32)
    assert np.abs(actions).max() <= 1
    assert np.abs(actor(OBSERVATIONS * np.float32(1e6))).max() <= 1


def test_a_policy_in_the_latents_of_a_decoder_is_one_network(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    policy, decoder = torch.nn.Linear(20, 6), torch.nn.Linear(26, 4)
    first = scaled_inputs(decoder, [1.0] * 20 + [2.0] * 6)
    actor = actor_from_modules([policy, torch.nn.Tanh(), WithInput(), first, torch.nn.Hardtanh()])
    actor.save(tmp_path / "policy.safetensors")
    rows = torch.as_tensor(OBSERVATIONS)
    with torch.no_grad():
        expected = decoder(torch.cat([rows, 2 * torch.tanh(policy(rows))], dim=1)).clamp(-1, 1).numpy()
    loaded = Actor.load(tmp_path / "policy.safetensors")
    np.testing.assert_allclose(loaded(OBSERVATIONS), expected, atol=1e-6)
    assert (loaded.observation_size, loaded.action_size) == (20, 4)


@pytest.mark.parametrize("limits", [(0.0, 1.0), (-2.0, 2.0)])
def test_a_clip_to_another_box_is_refused(limits):
    torch = pytest.importorskip("torch")
    with pytest.raises(ValueError, match="cannot be exported"):
        actor_from_modules([torch.nn.Linear(2, 2), torch.nn.Hardtanh(*limits)])


def test_a_users_action_does_not_depend_on_the_users_beside():
    actor = small_actor()
    alone = np.concatenate([actor(row[None]) for row in OBSERVATIONS])
    np.testing.assert_array_equal(alone, actor(OBSERVATIONS))


def test_save_and_load(tmp_path):
    actor = small_actor()
    sha256 = actor.save(tmp_path / "policy.safetensors")
    loaded = Actor.load(tmp_path / "policy.safetensors")
    np.testing.assert_array_equal(loaded(OBSERVATIONS), actor(OBSERVATIONS))
    assert loaded.metadata == {"agent": "test"}
    assert loaded.save(tmp_path / "again.safetensors") == sha256


def test_half_precision(tmp_path):
    actor = small_actor()
    half = Actor(actor.network, actor.metadata, half_precision=True)
    assert 0 < np.abs(half(OBSERVATIONS) - actor(OBSERVATIONS)).max() < 0.01
    sha256 = half.save(tmp_path / "half.safetensors")
    actor.save(tmp_path / "whole.safetensors")
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < sizes[1]
    loaded = Actor.load(tmp_path / "half.safetensors")
    assert loaded.half_precision
    np.testing.assert_array_equal(loaded(OBSERVATIONS), half(OBSERVATIONS))
    assert loaded.save(tmp_path / "again.safetensors") == sha256


def test_loading_and_acting_need_no_learning_library(tmp_path):
    small_actor().save(tmp_path / "policy.safetensors")
    program = (
        "import sys, pathlib, numpy as np\n"
        "from gems_gym_agents.online.sac import SACAgent\n"
        "SACAgent.load(pathlib.Path(sys.argv[1]))(np.zeros((2, 20), dtype=np.float32))\n"
        "assert not {'torch', 'stable_baselines3', 'd3rlpy', 'minari'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)


def test_a_file_of_another_kind_is_refused(tmp_path):
    save_artifact(tmp_path / "belief.safetensors", "belief/gru", {"a": np.zeros(3)}, {})
    with pytest.raises(ArtifactError, match="belief/gru"):
        Actor.load(tmp_path / "belief.safetensors")
    save_artifact(tmp_path / "empty.safetensors", "policy/actor", {"a": np.zeros(3)}, {})
    with pytest.raises(ArtifactError, match="not a readable policy/actor"):
        Actor.load(tmp_path / "empty.safetensors")
    with pytest.raises(FileNotFoundError):
        Actor.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("shape", [(20,), (3, 19), (2, 3, 20)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(num_users, 20\) was expected"):
        small_actor()(np.zeros(shape, dtype=np.float32))


def test_nan_is_refused():
    observations = OBSERVATIONS.copy()
    observations[5, 3] = np.nan
    with pytest.raises(ValueError, match=r"observations\[5\]"):
        small_actor()(observations)


def test_a_network_without_tanh_is_refused():
    with pytest.raises(ValueError, match="must be tanh"):
        Actor(FeedForward({"0.weight": np.eye(2), "0.bias": np.zeros(2)}, [["linear"]]))


def test_from_torch_modules_agrees_with_torch():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Linear(20, 64), nn.LayerNorm(64), nn.ReLU(), nn.Linear(64, 64, bias=False), nn.ReLU()
        )
        head = nn.Linear(64, 32)
        nn.init.normal_(body[1].weight)
        nn.init.normal_(body[1].bias)
    actor = actor_from_modules(
        [nn.Flatten(), body, nn.LayerNorm(64, elementwise_affine=False), head, nn.Tanh()]
    )
    with torch.no_grad():
        x = torch.from_numpy(OBSERVATIONS)
        expected = torch.tanh(head(nn.functional.layer_norm(body(x), (64,)))).numpy()
        before = actor(OBSERVATIONS)
        np.testing.assert_allclose(before, expected, atol=1e-5)
        head.weight.zero_()  # the actor is a copy: training may go on
    np.testing.assert_array_equal(actor(OBSERVATIONS), before)


def test_layer_norms_keep_their_epsilon():
    torch = pytest.importorskip("torch")
    norm, rows = torch.nn.LayerNorm(3, eps=0.5), OBSERVATIONS[:, :3] / 10
    network = network_from_modules([norm])
    assert network.spec == [["layer_norm", "0.5"]]
    assert network_from_modules([torch.nn.LayerNorm(3)]).spec == [["layer_norm"]]
    np.testing.assert_allclose(network(rows), norm(torch.from_numpy(rows)).detach(), atol=1e-6)
    with pytest.raises(
        ValueError, match=r"layer 0 is \['layer_norm', 'x'\]; only a layer_norm has a setting"
    ):
        FeedForward({}, [["layer_norm", "x"]])


def test_modules_that_cannot_be_exported_are_named():
    nn = pytest.importorskip("torch").nn
    with pytest.raises(ValueError, match="GELU"):
        actor_from_modules([nn.Linear(3, 3), nn.GELU(), nn.Tanh()])
    with pytest.raises(ValueError, match="over the last axis"):
        actor_from_modules([nn.Linear(3, 3), nn.LayerNorm((3, 3)), nn.Tanh()])


def test_noise_belongs_to_the_user():
    actor = small_actor()
    together, alone = NoisyActor(actor, 0.3), NoisyActor(actor, 0.3)
    all_of_them, one = together.open(range(37)), alone.open([9])
    for _ in range(3):
        actions, all_of_them = together.act(all_of_them, OBSERVATIONS)
        (action,), one = alone.act(one, OBSERVATIONS[9:10])
        np.testing.assert_array_equal(actions[9], action)


def test_noise_has_the_standard_deviation_asked_for():
    generators = [np.random.default_rng(seed) for seed in range(200)]
    noise = add_exploration_noise(np.zeros((200, 500), dtype=np.float32), 0.1, generators)
    assert noise.dtype == np.float32
    assert noise.std() == pytest.approx(0.1, rel=0.02)
    edge = add_exploration_noise(np.ones((200, 500), dtype=np.float32), 0.5, generators)
    assert edge.max() == 1.0
    assert 0.4 < (edge == 1.0).mean() < 0.6


def test_no_noise_is_no_noise():
    actor = small_actor()
    noisy = NoisyActor(actor, 0.0)
    np.testing.assert_array_equal(noisy.act(noisy.open(range(37)), OBSERVATIONS)[0], actor(OBSERVATIONS))


def test_bad_noise_is_refused():
    with pytest.raises(ValueError, match="standard_deviation must be a finite number ≥ 0, got -1"):
        NoisyActor(small_actor(), -1.0)
    with pytest.raises(ValueError, match="one each"):
        NoisyActor(small_actor(), 0.1).act((None, []), OBSERVATIONS)
