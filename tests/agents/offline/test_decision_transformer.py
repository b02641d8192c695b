"""The decision transformer acts as d3rlpy's does, with a memory of its own for each user, and without d3rlpy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("d3rlpy")

from gems_gym.artifacts import ArtifactError, load_artifact, save_artifact
from gems_gym.policies.actor import NoisyActor
from gems_gym_agents.offline import DecisionTransformerAgent
from gems_gym_agents.offline.sequence_policy import DecisionTransformerPolicy
from tests.agents.offline.rewarded_latents import ACTION_SIZE, OBSERVATION_SIZE, rewarded_latents

OPTIONS: dict[str, Any] = {"hidden_units": (12, 8), "batch_size": 8, "context": 4, "heads": 2, "layers": 3}
USERS, STEPS = 5, 15
BELIEFS = np.random.default_rng(2).uniform(-1, 1, (STEPS, USERS, OBSERVATION_SIZE)).astype(np.float32)
CLICKS = np.random.default_rng(3).integers(0, 11, (STEPS, USERS)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[DecisionTransformerAgent, Any, Path]:
    """An agent, d3rlpy's algorithm that it was exported from, and where it was saved."""
    algorithms = []

    class Kept(DecisionTransformerAgent):
        def export(self, algorithm: Any, observations: Any) -> Any:
            algorithms.append(algorithm)
            return super().export(algorithm, observations)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("datasets")))
        agent = Kept(**OPTIONS)
        agent.fit(rewarded_latents("rewarded/sequences-v0", 8), steps=5, seed=0, progress=False)
    folder = tmp_path_factory.mktemp("agent")
    agent.save(folder)
    return agent, algorithms[-1], folder


def play(policy: Any, users: slice = slice(None)) -> np.ndarray:
    """Latents in sessions that are longer than the context and those of the data, (STEPS, num_users, ACTION_SIZE)."""
    state, chosen = policy.open(range(USERS)[users]), []
    for beliefs, clicks in zip(BELIEFS[:, users], CLICKS[:, users], strict=True):
        actions, state = policy.act(state, beliefs)
        state = policy.rewarded(state, clicks)
        chosen.append(actions)
    return np.stack(chosen)


def test_it_acts_as_d3rlpy_does(trained: Any) -> None:
    agent, algorithm, folder = trained
    loaded = DecisionTransformerAgent.load(folder)
    found = play(loaded)
    assert found.shape == (STEPS, USERS, ACTION_SIZE)
    for user in range(USERS):
        theirs, earned = algorithm.as_stateful_wrapper(loaded.target_return), 0.0
        for step in range(STEPS):
            expected = theirs.predict(BELIEFS[step, user], earned)
            np.testing.assert_allclose(found[step, user], expected, atol=1e-5)
            earned = CLICKS[step, user]
    np.testing.assert_array_equal(play(agent.policy), found)


def test_each_user_is_served_alike_alone_and_among_others(trained: Any) -> None:
    policy = trained[0].policy
    together = play(policy)
    for user in range(USERS):
        np.testing.assert_array_equal(play(policy, slice(user, user + 1)), together[:, user : user + 1])


def test_what_was_earned_counts_and_has_to_be_told(trained: Any) -> None:
    policy = trained[0].policy
    state = policy.open(range(USERS))
    _, state = policy.act(state, BELIEFS[0])
    with pytest.raises(RuntimeError, match=r"rewarded\(\)"):
        policy.act(state, BELIEFS[1])
    with pytest.raises(ValueError, match="observations has 2 rows; 5 users were opened"):
        policy.act(policy.open(range(USERS)), BELIEFS[0, :2])
    noisy = NoisyActor(policy, 0.0)
    np.testing.assert_array_equal(play(noisy), play(policy))
    much, little = (
        policy.act(policy.rewarded(policy.act(policy.open(range(USERS)), BELIEFS[0])[1], clicks), BELIEFS[1])
        for clicks in (np.full(USERS, 10.0), np.zeros(USERS))
    )
    assert (much[0] != little[0]).all()


def test_it_acts_without_d3rlpy_and_torch(trained: Any) -> None:
    code = (
        "import sys; from pathlib import Path; from gems_gym_agents.offline import DecisionTransformerAgent;"
        f"policy = DecisionTransformerAgent.load(Path({str(trained[2])!r}));"
        "import numpy as np; policy.act(policy.open([1]), np.zeros((1, policy.observation_size)));"
        "print(sorted({'torch', 'd3rlpy', 'minari'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.stdout.strip() == "[]", run.stderr


def test_files_that_do_not_fit_are_refused(trained: Any, tmp_path: Path) -> None:
    artifact = load_artifact(trained[2] / "policy.safetensors", "policy/decision_transformer")
    wrong: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("heads=3", {"heads": 3}, {}),
        ("positions must be", {}, {"positions": np.zeros(3, np.float32)}),
        ("makes .* numbers", {}, {"positions": np.zeros((4, 5), np.float32)}),
        ("read_out", {"networks": {**artifact.header["networks"], "read_out": []}}, {}),
        ("records the sizes", {"action_size": 3}, {}),
    ]
    for words, header, tensors in wrong:
        file = tmp_path / "policy.safetensors"
        save_artifact(file, artifact.kind, artifact.tensors | tensors, artifact.header | header)
        with pytest.raises(ArtifactError, match=words):
            DecisionTransformerPolicy.load(file)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": 0}, "context must be"),
        ({"heads": 3}, r"heads=3 does not divide the width, hidden_units\[-1\]=64"),
        ({"dropout": 1.0}, "dropout must be"),
        ({"target_percentile": 101}, "target_percentile must be"),
        ({"gamma": 0.9}, "unknown option of DecisionTransformerAgent 'gamma'"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecisionTransformerAgent(**options)


def test_what_a_log_showed_is_remembered_instead_of_its_own_latents(trained: Any) -> None:
    policy = trained[0].policy
    showed = np.random.default_rng(4).uniform(-1, 1, (STEPS, USERS, ACTION_SIZE)).astype(np.float32)

    def replay(latents: np.ndarray) -> np.ndarray:
        state, chosen = policy.open(range(USERS)), []
        for beliefs, clicks, shown in zip(BELIEFS, CLICKS, latents, strict=True):
            actions, state = policy.act(state, beliefs)
            state = policy.rewarded(policy.showed(state, shown), clicks)
            chosen.append(actions)
        return np.stack(chosen)

    own = play(policy)
    np.testing.assert_array_equal(replay(own), own)
    other = replay(showed)
    np.testing.assert_array_equal(other[0], own[0])
    assert (other[1:] != own[1:]).any(axis=(1, 2)).all()
