"""The decision diffuser imagines beliefs for what is asked of it, and takes the latent that leads to the first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.common.networks import FeedForward
from gems_gym.datasets import EpisodeBatch
from gems_gym_agents.offline import DecisionDiffuserAgent, load_replay_buffer
from gems_gym_agents.offline.diffuser_policy import DecisionDiffuserPolicy, noise_levels
from gems_gym_agents.offline.windows import SessionWindows
from tests.agents.offline.rewarded_latents import ACTION_SIZE, BELIEFS, first_number, rewarded_latents
from tests.datasets.small_world import WORLD, collect_latents

OPTIONS: dict[str, Any] = {"hidden_units": (32, 32), "batch_size": 64, "horizon": 2}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        yield rewarded_latents("rewarded/imagined-v0", told=True)


@pytest.fixture(scope="module")
def trained(dataset: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an agent was saved."""
    folder = tmp_path_factory.mktemp("agent")
    agent = DecisionDiffuserAgent(**OPTIONS)
    agent.fit(dataset, steps=300, seed=0, progress=False)
    agent.save(folder)
    return folder


def test_it_does_what_earns_what_is_asked_for(dataset: Any, trained: Path) -> None:
    policy = DecisionDiffuserAgent.load(trained)
    assert policy.asked > 1.0
    assert len(policy.levels) == 10
    assert first_number(policy) > 0.3
    policy.asked = -policy.asked
    assert first_number(policy) < -0.3
    policy.guidance = 0.0  # no return counts
    assert abs(first_number(policy)) < 0.15
    untrained = DecisionDiffuserAgent(**OPTIONS, learning_rate=1e-9)
    untrained.fit(dataset, steps=300, seed=0, progress=False)
    assert abs(first_number(untrained.policy)) < 0.15


def test_each_user_is_served_alike_alone_and_among_others(trained: Path) -> None:
    policy, seeds = DecisionDiffuserAgent.load(trained), range(7, 7 + len(BELIEFS))
    state = policy.open(seeds)
    first, state = policy.act(state, BELIEFS)
    second, state = policy.act(state, BELIEFS)
    assert first.dtype == np.float32 and first.shape == (len(BELIEFS), ACTION_SIZE)
    assert (first != second).any(axis=1).all()
    for user in range(3):
        state = policy.open([seeds[user]])
        for expected in (first, second):
            alone, state = policy.act(state, BELIEFS[user : user + 1])
            np.testing.assert_array_equal(alone[0], expected[user])


def linear(weight: np.ndarray, *end: list[str]) -> FeedForward:
    """A network of one layer, from numbers to numbers."""
    weight = np.asarray(weight, np.float32)
    tensors = {"0.weight": weight, "0.bias": np.zeros(len(weight), np.float32)}
    return FeedForward(tensors, [["linear"], *end])


def test_noise_is_denoised_level_by_level_and_guided_beyond_what_is_asked_for() -> None:
    levels = noise_levels(6)[1::2]
    assert (np.diff(levels[:, 1]) > 0).all()
    np.testing.assert_allclose(np.square(levels).sum(axis=1), 1.0, atol=1e-6)
    # the denoiser is told: belief, noised belief, signal, noise, what is asked for, whether something is
    denoiser, inverse = linear([[0.5, 0.25, 0, 0, 1.0, -2.0]]), linear([[1.0, 2.0]], ["tanh"])
    scaling = np.array([[3.0], [-0.5]], np.float32)
    policy = DecisionDiffuserPolicy(
        {"denoiser": denoiser, "inverse": inverse}, scaling, levels, asked=1.5, guidance=1.2
    )
    belief, noise = np.array([[0.2], [-0.1]], np.float32), np.array([[0.7], [-1.1]], np.float32)
    seen, noised = 3.0 * belief - 0.5, noise
    for level in (2, 1, 0):
        signal, share = levels[level]
        clean = 0.5 * seen + 0.25 * noised + 1.2 * (1.5 - 2.0)
        following = levels[level - 1] if level else (1.0, 0.0)
        noised = following[0] * clean + following[1] * (noised - signal * clean) / share
    np.testing.assert_allclose(policy.imagine(seen, noise), noised, rtol=1e-5)
    np.testing.assert_allclose(policy.choose(belief, noise), np.tanh(seen + 2.0 * noised), rtol=1e-5)


def test_pieces_of_sessions_are_those_of_the_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    leaving = WORLD | {"leave_probability": 0.1, "leave_after": 1}
    dataset = collect_latents("small/windows-v0", env_kwargs=leaving, episodes=12)
    sessions, read = load_replay_buffer(dataset).sessions, EpisodeBatch.from_minari(dataset, progress=False)
    assert 0 < sessions.left.sum() < 12
    for name in ("lengths", "left", "observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(sessions, name), getattr(read, name), err_msg=name)
    windows = SessionWindows(sessions, 4)
    assert len(windows.earned) == sessions.lengths.sum()
    drawn, found = windows.sample(500, np.random.default_rng(0)), set()
    assert drawn.beliefs.shape == (500, 4, 4) and drawn.there[:, :2].all()
    for index, episode in enumerate(dataset.iterate_episodes()):
        length = len(episode.rewards)
        for start in range(length):
            same = (drawn.beliefs[:, 0] == episode.observations[start]).all(axis=1)
            for row in np.flatnonzero(same & (drawn.actions == episode.actions[start]).all(axis=1)):
                found.add(row)
                rows = np.minimum(np.arange(start, start + 4), length)
                np.testing.assert_array_equal(drawn.beliefs[row], episode.observations[rows])
                assert drawn.there[row].sum() == min(4, length - start + 1)
                rewards = episode.rewards[start : start + 3]
                mean = rewards.sum() / (3 if sessions.left[index] else len(rewards))
                assert drawn.returns[row] == pytest.approx(windows.standardised(mean), abs=1e-5)
    assert len(found) == 500
    everything = windows.standardised(windows.earned)
    assert everything.mean() == pytest.approx(0, abs=1e-4) and everything.std() == pytest.approx(1, abs=1e-4)


def test_it_acts_without_d3rlpy_and_torch(trained: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from gems_gym_agents.offline import DecisionDiffuserAgent;"
        f"policy = DecisionDiffuserAgent.load(Path({str(trained)!r}));"
        "import numpy as np; policy.act(policy.open([1]), np.zeros((1, policy.observation_size)));"
        "print(sorted({'torch', 'd3rlpy', 'minari'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stderr


def test_files_that_do_not_fit_are_refused(trained: Path, tmp_path: Path) -> None:
    artifact = load_artifact(trained / "policy.safetensors", "policy/decision_diffuser")
    networks = artifact.header["networks"]
    for words, header, tensors in (
        ("levels must be finite", {}, {"levels": np.zeros((3, 1), np.float32)}),
        ("levels must be finite", {}, {"levels": np.zeros((0, 2), np.float32)}),
        ("scaling must be finite", {}, {"scaling": np.full((2, 3), np.nan, np.float32)}),
        ("do not fit together", {"networks": {**networks, "denoiser": networks["inverse"][:-2]}}, {}),
        ("inverse", {"networks": {"denoiser": networks["denoiser"]}}, {}),
    ):
        file = tmp_path / "policy.safetensors"
        save_artifact(file, artifact.kind, artifact.tensors | tensors, artifact.header | header)
        with pytest.raises(ArtifactError, match=words):
            DecisionDiffuserPolicy.load(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"horizon": 1}, "horizon must be"),
        ({"sampling_steps": 3}, "sampling_steps=3 does not divide noise_levels=100"),
        ({"unconditioned": 1.0}, "unconditioned must be"),
        ({"gamma": 0.9}, "unknown option of DecisionDiffuserAgent 'gamma'"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        DecisionDiffuserAgent(**options)
