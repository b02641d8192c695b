"""Every agent passes the check that authors have; broken ones are found, with a sentence that says why."""

from __future__ import annotations

import pickle
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
pytest.importorskip("d3rlpy")

from gems_gym import plugins
from gems_gym.artifacts import load_artifact, save_artifact
from gems_gym.policies import MemorylessPolicy
from gems_gym.testing import check_agent

OFFLINE: dict[str, Any] = {"steps": 10, "hidden_units": (8,), "batch_size": 8, "steps_per_epoch": 5}
ONLINE: dict[str, Any] = {
    "steps": 80, "net_arch": (8,), "batch_size": 8, "learning_starts": 20, "validate_every": 40, "buffer_size": 200,
}  # fmt: skip
SESSIONS: dict[str, Any] = {"steps": 60, "sessions": 4, "hidden_units": (8,), "batch_size": 16}
ON_POLICY: dict[str, Any] = {
    "steps": 80, "net_arch": (8,), "rollout_steps": 5, "minibatches": 2, "epochs": 2, "validate_every": 40,
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "crossq": ONLINE,
    "d3rlpy": {**OFFLINE, "config": "TD3PlusBC"},
    "decision_diffuser": {**OFFLINE, "horizon": 4, "sampling_steps": 2},
    "decision_transformer": {**OFFLINE, "context": 3},
    "dqn": {**ONLINE, "candidates": 10},
    "gfn4rec": {**SESSIONS, "embedding_size": 4, "updates": 4},
    "hac": {**SESSIONS, "embedding_size": 4, "updates": 4},
    "planner": {
        "steps": 256, "random_sessions": 128, "random_length": 6,
        "exploration_sessions": 64, "exploration_length": 6, "atoms": 16,
    },
    "ppo": ON_POLICY,
    "plas": {**OFFLINE, "warmup_steps": 2},
    "recurrent_ppo": {**ON_POLICY, "lstm_size": 8},
    "reinforce_latent": SESSIONS,
    "reinforce_softmax": {**SESSIONS, "embedding_size": 4},
    "sac": ONLINE,
    "sac_end_to_end": {**ONLINE, "pretrained": False, "window": 2},
    "slateq": {**SESSIONS, "embedding_size": 4, "updates": 4},
    "td3": ONLINE,
    "tqc": ONLINE,
    "wolpertinger_sac": ONLINE,
    "world_model_planner": {
        "steps": 256, "embedding_size": 4, "random_sessions": 128, "random_length": 6, "exploration_sessions": 300,
        "exploration_length": 20, "grouping_updates": 2, "updates": 2, "atoms": 32,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", [one.name for one in plugins.describe(plugins.AGENTS)])
def test_ours_pass(name: str) -> None:
    check_agent(name, **OPTIONS.get(name, OFFLINE))


class Mean:
    """Plays the mean of the latents in its dataset, and counts them."""

    learns_from = "dataset"

    def __init__(self, scale: float = 1.0) -> None:
        self.scale, self.mean = scale, None

    def fit(self, source: Any, *, steps: int, seed: int, **given: Any) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        episodes = source.iterate_episodes(range(min(steps, source.total_episodes)))
        self.mean = np.mean([one.actions.mean(axis=0) for one in episodes], axis=0).astype(np.float32)

    @property
    def policy(self) -> Any:
        if self.mean is None:
            raise RuntimeError("call fit first")
        mean = self.mean[None]
        return MemorylessPolicy(lambda beliefs: np.repeat(mean, len(beliefs), axis=0))

    def save(self, directory: Path) -> None:
        if self.mean is None:
            raise RuntimeError("call fit first")
        save_artifact(directory / "policy.safetensors", "policy/mean", {"mean": self.mean}, {})

    @classmethod
    def load(cls, directory: Path) -> Any:
        agent = cls()
        agent.mean = load_artifact(directory / "policy.safetensors", "policy/mean").tensors["mean"]
        return agent.policy


def test_one_that_is_right_passes() -> None:
    check_agent(Mean, steps=3)


class Neither(Mean):
    learns_from = "books"


class TakingAnything(Mean):
    def __init__(self, **options: Any) -> None:
        super().__init__()


class ActsUntrained(Mean):
    policy = MemorylessPolicy(lambda beliefs: np.zeros((len(beliefs), 6), np.float32))


class SavesUntrained(Mean):
    def save(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)


class NoStepsAtAll(Mean):
    def fit(self, source: Any, *, steps: int, **given: Any) -> None:
        super().fit(source, steps=max(steps, 1), **given)


class Unseeded(Mean):
    def fit(self, source: Any, **given: Any) -> None:
        super().fit(source, **given)
        self.mean = np.random.default_rng().uniform(-1, 1, 6).astype(np.float32)


class Talking(Mean):
    def fit(self, source: Any, **given: Any) -> None:
        super().fit(source, **given)
        sys.stdout.write("done\n")


class DrawingForAll(Mean):
    def fit(self, source: Any, **given: Any) -> None:
        super().fit(source, **given)
        random.random()


class ScoringNumbers(Mean):
    def fit(self, source: Any, *, evaluate: Any = None, **given: Any) -> None:
        super().fit(source, **given)
        evaluate and evaluate(self.mean)


class LoadingAnother(Mean):
    @classmethod
    def load(cls, directory: Path) -> Any:
        return MemorylessPolicy(lambda beliefs: np.zeros((len(beliefs), 6), np.float32))


class Pickling(Mean):
    def save(self, directory: Path) -> None:
        super().save(directory)
        (directory / "agent.bin").write_bytes(pickle.dumps(self.mean))


class FarOut(Mean):
    @property
    def policy(self) -> Any:
        inner = super().policy
        return MemorylessPolicy(lambda beliefs: inner.function(beliefs) + np.float32(3))


BROKEN: dict[str, type] = {
    "learns_from is 'books'; 'dataset' or 'environment' was expected": Neither,
    "making it with no_such_option=1 is taken": TakingAnything,
    "policy is there before fit": ActsUntrained,
    "save.. is there before fit": SavesUntrained,
    "fit.. with steps=0 is taken; .* that names steps was expected": NoStepsAtAll,
    "trained again with the same seed, and without a directory, it acts otherwise": Unseeded,
    r"fit\(\) prints on stdout, .*'done": Talking,
    "changes the state of the global generators": DrawingForAll,
    r"fit\(\) gives evaluate\(\) a ndarray; a policy was expected": ScoringNumbers,
    r"what load\(\) reads acts otherwise": LoadingAnother,
    "has written agent.bin, a pickle": Pickling,
    r"act\(\) gives numbers from .*; they belong in \[-1": FarOut,
}  # fmt: skip


@pytest.mark.parametrize("words", BROKEN)
def test_a_broken_one_is_found(words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_agent(BROKEN[words], steps=3)
