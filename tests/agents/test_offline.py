"""Offline agents: no transition lost or shifted, exactly as many updates as asked for, exported as they are."""

import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

import d3rlpy
import torch

from gems_gym import plugins
from gems_gym.policies.actor import Actor
from gems_gym.trackers import choose_trackers
from gems_gym_agents.base import Agent, DivergedError
from gems_gym_agents.offline import (
    AWACAgent,
    BCAgent,
    BEARAgent,
    CQLAgent,
    CRRAgent,
    FlowQAgent,
    IQLAgent,
    PLASAgent,
    PRDCAgent,
    ReBRACAgent,
    SACNAgent,
    TD3PlusBCAgent,
    divergence,
    load_replay_buffer,
)
from gems_gym_agents.offline.agent import OfflineAgent
from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer
from tests.agents.offline_agents import AGENTS, WITHOUT_Q, act_once, warmed_up
from tests.datasets.small_world import LENGTH, collect_latents, collect_slates
from tests.event_files import curves

SMALL = {"hidden_units": (16, 16), "batch_size": 32}
BELIEFS = np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32)
EPISODES = 10


@pytest.fixture(scope="module")
def datasets_root(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        root = tmp_path_factory.mktemp("datasets")
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
        yield root


@pytest.fixture(scope="module")
def dataset(datasets_root: Path):
    return collect_latents("offline/latent-v0")


def fitted(
    dataset, kind: type[OfflineAgent] = TD3PlusBCAgent, steps: int = 20, seed: int = 0, **options
) -> OfflineAgent:
    agent = kind(**(SMALL | warmed_up(kind, 5) | options))
    agent.fit(dataset, steps=steps, seed=seed, progress=False)
    return agent


# The replay buffer


def test_every_transition_is_kept_and_the_last_one_bootstraps(dataset) -> None:
    buffer = load_replay_buffer(dataset)
    assert buffer.transition_count == dataset.total_steps == EPISODES * LENGTH
    assert buffer.size() == len(buffer.episodes) == EPISODES
    index = 0
    for episode in dataset.iterate_episodes():
        for t in range(LENGTH):
            transition = buffer.transition_picker(*buffer.buffer[index])
            np.testing.assert_array_equal(transition.observation, episode.observations[t])
            np.testing.assert_array_equal(transition.action, episode.actions[t])
            np.testing.assert_array_equal(transition.reward, episode.rewards[t : t + 1])
            np.testing.assert_array_equal(transition.next_observation, episode.observations[t + 1])
            assert transition.terminal == 0
            index += 1


def test_flat_sampler_gives_the_transitions_of_d3rlpy(dataset) -> None:
    buffer = load_replay_buffer(dataset, seed=5)
    batch = buffer.sample_transition_batch(500)
    plain = d3rlpy.dataset.TransitionMiniBatch.from_transitions(list(batch.transitions))
    for name in (
        "observations",
        "actions",
        "rewards",
        "next_observations",
        "next_actions",
        "terminals",
        "intervals",
    ):
        fast, slow = getattr(batch, name), getattr(plain, name)
        assert fast.dtype == slow.dtype == np.float32
        np.testing.assert_array_equal(fast, slow, err_msg=name)
    assert batch.rewards.shape == batch.terminals.shape == (500, 1)
    assert not batch.terminals.any()
    last = {tuple(episode.observations[-1]) for episode in dataset.iterate_episodes()}
    assert any(tuple(row) in last for row in batch.next_observations)
    assert not any(tuple(row) in last for row in batch.observations)


def test_sampler_is_uniform_and_seeded(dataset) -> None:
    rows = load_replay_buffer(dataset, seed=1).sample_transition_batch(20_000).actions
    _, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(counts) == EPISODES * LENGTH
    assert counts.std() < 1.5 * math.sqrt(20_000 / len(counts))
    again = load_replay_buffer(dataset, seed=1).sample_transition_batch(20_000).actions
    np.testing.assert_array_equal(rows, again)
    assert (load_replay_buffer(dataset, seed=2).sample_transition_batch(20_000).actions != rows).any()


def test_buffer_of_part_of_a_dataset(dataset) -> None:
    part = dataset.filter_episodes(lambda episode: episode.id in (2, 5))
    buffer = load_replay_buffer(part)
    assert buffer.transition_count == 2 * LENGTH
    np.testing.assert_array_equal(buffer.episodes[1].observations, dataset[5].observations)


def test_terminated_sessions_end_there() -> None:
    observations = np.arange(8, dtype=np.float32).reshape(8, 1)
    actions = np.zeros((8, 2), np.float32)
    rewards = np.ones((8, 1), np.float32)
    buffer = SessionReplayBuffer(
        observations, actions, rewards, np.array([3, 3]), np.array([False, True]), seed=0
    )
    batch = buffer.sample_transition_batch(200)
    np.testing.assert_array_equal(batch.terminals[:, 0], batch.observations[:, 0] == 6)
    assert buffer.transition_count == 6
    picked = [buffer.transition_picker(*buffer.buffer[index]) for index in range(6)]
    assert [transition.terminal for transition in picked] == [0, 0, 0, 0, 0, 1]
    assert [float(transition.observation[0]) for transition in picked] == [0, 1, 2, 4, 5, 6]


def test_trajectories_and_default_sampler(dataset) -> None:
    buffer = load_replay_buffer(dataset)
    assert buffer.sample_trajectory_batch(4, 5).observations.shape == (4, 5, 4)
    assert buffer.sample_transition().observation.shape == (4,)
    with pytest.raises(TypeError, match="can't grow"):
        buffer.append_episode(buffer.episodes[0])


def test_d3rlpy_fits_as_its_users_know_it(dataset) -> None:
    algorithm = d3rlpy.algos.TD3PlusBCConfig(gamma=0.8, batch_size=16).create(device="cpu")
    results = algorithm.fit(
        load_replay_buffer(dataset.id, seed=1),
        n_steps=20,
        n_steps_per_epoch=10,
        evaluators={
            "spread": lambda algo, data: float(algo.predict(BELIEFS).std()),
            "size": lambda _, data: data.size(),
        },
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )
    assert [epoch for epoch, _ in results] == [1, 2]
    assert results[-1][1]["size"] == EPISODES
    assert algorithm.predict(BELIEFS).shape == (50, 6)


def test_slate_dataset_is_refused(datasets_root: Path) -> None:
    with pytest.raises(ValueError, match=r"'offline/slate-v0' holds observations in Dict.*latent dataset"):
        load_replay_buffer(collect_slates("offline/slate-v0"))
    with pytest.raises(FileNotFoundError, match="offline/nothing-v0"):
        load_replay_buffer("offline/nothing-v0")


@pytest.mark.parametrize(
    ("name", "value"), [("observations", np.nan), ("actions", np.inf), ("actions", 1.01)]
)
def test_bad_numbers_are_refused(name: str, value: float) -> None:
    arrays = {
        name: np.zeros((4, size), np.float32)
        for name, size in (("observations", 3), ("actions", 2), ("rewards", 1))
    }
    arrays[name][1] = value
    with pytest.raises(ValueError, match=name):
        SessionReplayBuffer(**arrays, lengths=np.array([3]), terminated=np.array([False]), seed=0)


# The agents


@pytest.mark.parametrize("name", AGENTS)
def test_agents_train_export_and_load(dataset, name: str, tmp_path: Path) -> None:
    assert plugins.load(plugins.AGENTS, name) is AGENTS[name]
    agent = fitted(dataset, AGENTS[name], steps=20, layer_norm=True)
    assert isinstance(agent, Agent)
    assert agent.learns_from == "dataset"
    actions = act_once(agent.policy, BELIEFS)
    assert actions.shape == (50, 6)
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= 1
    assert agent.history[-1]["step"] == 20
    assert ("q_abs_max" in agent.history[-1]) == (name not in WITHOUT_Q)
    agent.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.safetensors", "training.json"]
    np.testing.assert_array_equal(act_once(AGENTS[name].load(tmp_path), BELIEFS), actions)
    record = json.loads((tmp_path / "training.json").read_text())
    assert record["dataset"]["content_hash"] == dataset.storage.metadata["content_hash"]
    assert record["dataset"]["ranker_sha256"] == dataset.storage.metadata["ranker_sha256"]
    assert record["options"]["hidden_units"] == [16, 16]
    assert (record["steps"], record["seed"]) == (20, 0)


@pytest.mark.parametrize("name", [name for name in AGENTS if AGENTS[name].policy_class() is Actor])
@pytest.mark.parametrize("layer_norm", [False, True])
def test_export_is_what_d3rlpy_predicts(
    dataset, name: str, layer_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithms = []
    export = OfflineAgent.export
    monkeypatch.setattr(
        OfflineAgent,
        "export",
        lambda self, algorithm, observations: (
            algorithms.append(algorithm) or export(self, algorithm, observations)
        ),
    )
    agent = fitted(dataset, AGENTS[name], steps=15, layer_norm=layer_norm, hidden_units=(32, 24))
    if name in ("crr", "bear"):  # their predict draws actions; what is exported is the mean of these
        drawn = algorithms[-1].impl.policy(torch.as_tensor(BELIEFS))
        expected = torch.tanh(drawn.mu).detach().numpy()
    else:
        expected = np.clip(algorithms[-1].predict(BELIEFS), -1, 1)
    np.testing.assert_allclose(agent.policy(BELIEFS), expected, atol=1e-5)
    norms = [
        module for module in algorithms[-1].impl.policy.modules() if isinstance(module, torch.nn.LayerNorm)
    ]
    assert len(norms) == (2 if layer_norm else 0)


def test_exactly_as_many_updates_as_asked_for(dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    updates = []
    update = d3rlpy.algos.BC.update
    monkeypatch.setattr(
        d3rlpy.algos.BC, "update", lambda self, batch: updates.append(1) or update(self, batch)
    )
    for steps, epochs in ((1, [1]), (7, [7]), (25, [10, 20, 25])):
        updates.clear()
        agent = fitted(dataset, BCAgent, steps=steps, steps_per_epoch=10)
        assert len(updates) == steps
        assert [line["step"] for line in agent.history] == epochs


def test_same_seed_same_agent_and_global_state_untouched(dataset) -> None:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    threads = torch.get_num_threads()
    first = fitted(dataset, seed=4).policy(BELIEFS)
    assert (random.random(), np.random.random(), torch.rand(1).item()) == expected  # noqa: NPY002
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(fitted(dataset, seed=4).policy(BELIEFS), first)
    assert (fitted(dataset, seed=5).policy(BELIEFS) != first).any()


def test_behaviour_cloning_learns_the_policy_not_a_shifted_one(dataset) -> None:
    # The recorded policy is a linear map of the belief plus noise: a shift by one step could not be cloned.
    agent = fitted(dataset, BCAgent, steps=600, hidden_units=(64, 64))
    observations = np.concatenate([episode.observations[:-1] for episode in dataset.iterate_episodes()])
    recorded = np.concatenate([episode.actions for episode in dataset.iterate_episodes()])
    error = ((agent.policy(observations) - recorded) ** 2).mean()
    assert error < 0.5 * recorded.var(axis=0).mean()


def test_best_policy_is_kept(dataset, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []
    scores = [1.0, 3.0, 2.0]

    def evaluate(act) -> float:
        seen.append(act(BELIEFS))
        torch.rand(10), np.random.random(10)  # what it draws must not reach the training  # noqa: NPY002
        return scores[len(seen) - 1]

    choose_trackers(["tensorboard"])
    agent = TD3PlusBCAgent(**SMALL, steps_per_epoch=10)
    agent.fit(dataset, steps=30, seed=0, evaluate=evaluate, directory=tmp_path, progress=False)
    np.testing.assert_array_equal(agent.policy(BELIEFS), seen[1])
    assert [line["score"] for line in agent.history] == scores
    assert curves(tmp_path / "tensorboard")["offline/score"] == [(10, 1.0), (20, 3.0), (30, 2.0)]
    unwatched = fitted(dataset, steps=30, steps_per_epoch=10)
    np.testing.assert_array_equal(unwatched.policy(BELIEFS), seen[2])


def test_q_explosion_stops_with_a_clear_error(dataset) -> None:
    with pytest.raises(DivergedError, match=r"\|Q\| reaches .* over 10 times the bound"):
        fitted(dataset, steps=400, critic_learning_rate=3.0, steps_per_epoch=20)


RUNAWAY = {
    "gamma": 0.99, "reward_scale": 100.0, "tau": 0.5, "critic_learning_rate": 3e-3, "actor_learning_rate": 3e-3,
    "alpha": 1e4, "steps_per_epoch": 100,
}  # fmt: skip


@pytest.mark.slow
def test_q_that_runs_away_slowly_is_stopped_before_it_is_absurd(dataset, monkeypatch) -> None:
    """No behaviour term to speak of: the policy leaves the data, and Q feeds on its own errors there.

    Left alone it reaches ten times its bound after 1,400 updates.
    """
    monkeypatch.setattr(divergence, "WARM_UP", 150)
    with pytest.raises(
        DivergedError, match=r"for 150 updates (growing beyond|over 2 times) the bound"
    ) as stopped:
        fitted(dataset, steps=2_000, **RUNAWAY)
    reached, bound = re.search(r"reaches ([\d.e+]+).* the bound ([\d.e+]+)", str(stopped.value)).groups()
    assert 2 * float(bound) < float(reached) < 10 * float(bound)


@pytest.mark.slow
def test_q_stays_near_its_bound(dataset) -> None:
    reward = max(float(episode.rewards.max()) for episode in dataset.iterate_episodes())
    for kind in (TD3PlusBCAgent, IQLAgent, AWACAgent, CQLAgent):
        agent = fitted(dataset, kind, steps=150, gamma=0.5, reward_scale=0.2)
        assert agent.history[-1]["q_bound"] == pytest.approx(reward * 0.2 / 0.5)
        assert agent.history[-1]["q_abs_max"] < 1.5 * agent.history[-1]["q_bound"]


def test_options_reach_d3rlpy() -> None:
    config = TD3PlusBCAgent(gamma=0.7, alpha=1.5, reward_scale=0.25, batch_size=64).config(d3rlpy)
    assert (config.gamma, config.alpha, config.batch_size) == (0.7, 1.5, 64)
    assert config.reward_scaler.multiplier == 0.25
    assert config.critic_encoder_factory.hidden_units == [256, 256]
    assert CQLAgent(num_action_samples=3, conservative_weight=2).config(d3rlpy).n_action_samples == 3
    assert CQLAgent().config(d3rlpy).conservative_weight == 0.1  # 5 sends |Q| to ten times its bound
    assert IQLAgent(expectile=0.9).config(d3rlpy).expectile == 0.9
    assert AWACAgent(temperature=0.5).config(d3rlpy).lam == 0.5
    assert BCAgent(learning_rate=0.1).config(d3rlpy).learning_rate == 0.1


@pytest.mark.parametrize("name", [name for name in AGENTS if name not in WITHOUT_Q])
def test_options_of_all_agents_with_values_reach_d3rlpy(name: str) -> None:
    config = AGENTS[name](gamma=0.3, reward_scaler="return", reward_scale=2.0, grad_clip=0.5).config(d3rlpy)
    assert config.gamma == 0.3
    assert isinstance(config.reward_scaler, d3rlpy.preprocessing.ReturnBasedRewardScaler)
    assert config.reward_scaler.multiplier == 2.0
    assert config.actor_optim_factory.clip_grad_norm == config.critic_optim_factory.clip_grad_norm == 0.5


@pytest.mark.parametrize("option", [{"gamma": 0.2}, {"grad_clip": 1e-3}, {"reward_scaler": "minmax"}])
def test_options_change_what_is_learned(dataset, option: dict) -> None:
    plain, changed = (fitted(dataset, FlowQAgent, **options) for options in ({}, option))
    for name in ("critic_loss", "actor_loss", "q_abs_max"):  # of 20 updates, and after them
        assert plain.history[-1][name] != changed.history[-1][name]


def test_options_of_the_other_agents_reach_d3rlpy() -> None:
    config = ReBRACAgent().config(d3rlpy)
    assert (config.actor_beta, config.critic_beta, config.batch_size) == (0.001, 0.01, 1024)
    assert config.actor_learning_rate == config.critic_learning_rate == 1e-3
    assert SACNAgent(num_critics=4, initial_temperature=0.1).config(d3rlpy).n_critics == 4
    config = PRDCAgent(alpha=3.0, beta=1.0).config(d3rlpy)
    assert (config.alpha, config.beta) == (3.0, 1.0)
    config = CRRAgent(temperature=0.5, max_weight=5, num_action_samples=2).config(d3rlpy)
    assert (config.beta, config.max_weight, config.n_action_samples) == (0.5, 5.0, 2)
    assert PLASAgent(warmup_steps=7, kl_weight=0.25).config(d3rlpy).beta == 0.25
    config = BEARAgent(threshold=0.1, kernel_width=10.0).config(d3rlpy)
    assert (config.alpha_threshold, config.mmd_sigma, config.temp_learning_rate) == (0.1, 10.0, 0.0)
    assert config.initial_temperature < 1e-12  # no entropy bonus


@pytest.mark.parametrize("name", AGENTS)
def test_gradients_are_clipped_by_every_optimizer(dataset, name: str, monkeypatch) -> None:
    norms: list[tuple[int, float]] = []
    clip = torch.nn.utils.clip_grad_norm_

    def clipped(parameters, max_norm, *args, **kwargs):
        parameters = list(parameters)
        norms.append((len(parameters), max_norm))
        return clip(parameters, max_norm, *args, **kwargs)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clipped)
    fitted(dataset, AGENTS[name], steps=8, grad_clip=0.01)
    assert {norm for _, norm in norms} == {0.01}
    expected = 1 if name in WITHOUT_Q else 2  # actor and critics are of different sizes
    assert len({size for size, _ in norms}) >= expected


@pytest.mark.parametrize("scaler", ["standard", "minmax", "return"])
def test_scaled_rewards_and_their_bound(dataset, scaler: str) -> None:
    rewards = np.concatenate([episode.rewards for episode in dataset.iterate_episodes()])
    returns = np.array([episode.rewards.sum() for episode in dataset.iterate_episodes()])
    largest = {
        "standard": np.abs(rewards - rewards.mean()).max() / (rewards.std() + 1e-3),
        "minmax": 1.0,
        "return": np.abs(rewards).max() / (returns.max() - returns.min()),
    }[scaler]
    agent = fitted(dataset, IQLAgent, steps=20, reward_scaler=scaler, reward_scale=0.5, gamma=0.5)
    assert agent.history[-1]["q_bound"] == pytest.approx(0.5 * largest / 0.5, rel=1e-4)
    assert (agent.policy(BELIEFS) != fitted(dataset, IQLAgent, steps=20, gamma=0.5).policy(BELIEFS)).any()


def test_rewards_that_are_all_the_same_have_no_range() -> None:
    rows = np.zeros((12, 4), np.float32)
    buffer = SessionReplayBuffer(
        rows, rows, np.ones((12, 1), np.float32), np.array([3, 3, 3]), np.zeros(3, bool), seed=0
    )
    agent = IQLAgent(reward_scaler="minmax")
    with pytest.raises(ValueError, match="reward_scaler='minmax' divides by the range"):
        agent.q_bound(agent.config(d3rlpy).create(device="cpu"), buffer)


def test_prdc_finds_the_nearest_of_its_own_transitions(dataset) -> None:
    part = dataset.filter_episodes(lambda episode: episode.id < 3)
    agent, buffer = PRDCAgent(**SMALL), load_replay_buffer(part)
    algorithms = []
    for one in (buffer, load_replay_buffer(dataset)):
        algorithm = agent.config(d3rlpy).create(device="cpu")
        algorithm.build_with_dataset(one)
        agent.prepare(algorithm, one)
        algorithms.append(algorithm)
    observations, actions = buffer.recorded
    rows = np.concatenate([2.0 * observations, actions], axis=1)
    found = algorithms[0].impl._nbsr.kneighbors(rows, n_neighbors=1, return_distance=False)
    np.testing.assert_array_equal(found[:, 0], np.arange(len(rows)))
    assert len(algorithms[1].impl._nbsr._fit_X) == EPISODES * LENGTH


def test_plas_decodes_what_its_policy_chooses(dataset, tmp_path: Path) -> None:
    agent = fitted(dataset, PLASAgent, steps=40)
    agent.save(tmp_path)
    layers = [name for (name,) in PLASAgent.load(tmp_path).network.spec]
    policy = ["linear", "relu", "linear", "relu", "linear", "tanh"]
    assert layers == [*policy, "with_input", *policy[:-1], "clip"]
    with pytest.raises(ValueError, match="steps=20: in the first warmup_steps=5000 updates only the model"):
        PLASAgent(**SMALL).fit(dataset, steps=20, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alhpa": 1}, "unknown option of TD3PlusBCAgent 'alhpa': did you mean 'alpha'"),
        ({"gamma": 1.0}, r"gamma must be a number in \[0, 1\), got 1.0"),
        ({"batch_size": 0}, "batch_size must be an integer ≥ 1, got 0"),
        ({"hidden_units": ()}, "hidden_units must be a filled sequence of integers"),
        ({"hidden_units": "256"}, "hidden_units must be a filled sequence of integers"),
        ({"reward_scale": -1}, "reward_scale must be a finite number > 0, got -1"),
        ({"gamma": float("nan")}, r"gamma must be a number in \[0, 1\), got nan"),
        ({"alpha": float("nan")}, "alpha must be a finite number > 0, got nan"),
        ({"layer_norm": 1}, "layer_norm must be True or False, got 1"),
        ({"grad_clip": 0}, "grad_clip must be a finite number > 0 or None, got 0"),
        ({"reward_scaler": "standart"}, "unknown reward_scaler 'standart': did you mean 'standard'"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        TD3PlusBCAgent(**options)


def test_bad_fit_arguments(dataset) -> None:
    with pytest.raises(ValueError, match="steps must be an integer ≥ 1, got 0"):
        BCAgent().fit(dataset, steps=0, seed=0)
    with pytest.raises(ValueError, match="device must be a torch device such as 'cpu' or 'cuda', got 'gpu'"):
        BCAgent().fit(dataset, steps=1, seed=0, device="gpu")
    with pytest.raises(RuntimeError, match="BCAgent has not been fitted"):
        BCAgent().policy(BELIEFS)
    with pytest.raises(RuntimeError, match="BCAgent has not been fitted"):
        BCAgent().save(Path("nowhere"))


def test_training_writes_nothing_on_stdout(dataset, capfd: pytest.CaptureFixture[str]) -> None:
    BCAgent(**SMALL).fit(dataset, steps=20, seed=0, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "BCAgent" in captured.err


def test_listing_and_loading_need_no_d3rlpy(dataset, tmp_path: Path) -> None:
    fitted(dataset, BCAgent, steps=1).save(tmp_path)
    code = (
        "import sys; from pathlib import Path; from gems_gym_agents.offline import BCAgent;"
        f"BCAgent(); BCAgent.load(Path({str(tmp_path)!r}));"
        "print(sorted({'torch', 'd3rlpy', 'minari', 'stable_baselines3'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stderr


def test_missing_d3rlpy_names_the_extra(dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "d3rlpy", None)
    with pytest.raises(ImportError, match=r"pip install 'gems-gym\[offline\]'"):
        BCAgent().fit(dataset, steps=1, seed=0)
    with pytest.raises(ImportError, match=r"pip install 'gems-gym\[offline\]'"):
        load_replay_buffer(dataset)
