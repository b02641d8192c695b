"""Trains in a tiny world in processes that are killed at random moments; run by ``test_resume.py``, not by pytest.

Usage: killed_training.py FOLDER KILLS SEED. Trains without interruption in FOLDER/whole, and with KILLS of them in
FOLDER/killed, where only the last process may finish; prints how often a process resumed what another had left.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import torch
import torch._dynamo  # takes seconds, and is imported by the first optimiser: loaded before the processes split
import torch.utils.tensorboard  # likewise, by the first log

from gems_gym.beliefs import GruBelief
from gems_gym.envs import SlateEnv
from gems_gym.latent_world import LatentWorld
from gems_gym.rankers import GemsRanker
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import ValidationScore
from gems_gym_agents.online import rounds  # noqa: F401  (loads stable-baselines3 before the processes split)
from gems_gym_agents.online.sac import SACAgent

ENV = "GemsSlate-diffuse_topdown-v0"
WORLD = {"num_items": 60, "slate_size": 5, "num_topics": 5, "episode_length": 4}
ROUNDS, ROUND = 6, 160
OPTIONS = {
    "net_arch": (16, 16), "batch_size": 32, "learning_starts": 100, "validate_every": ROUND, "buffer_size": 400,
}  # fmt: skip


def train(folder: Path) -> None:
    """One run; it resumes what an earlier one left in the folder."""
    sizes = {"num_items": 60, "slate_size": 5, "catalog_hash": SlateEnv(**WORLD).catalog.hash, "seed": 0}
    ranker, belief = GemsRanker.random(latent_size=4, **sizes), GruBelief.random(**sizes)
    agent = SACAgent(**OPTIONS)
    agent.fit(
        LatentWorld(gymnasium.spec(ENV), ranker, belief).users(8, **WORLD),
        steps=ROUNDS * ROUND - 80,  # the last round is a short one
        seed=3,
        directory=folder,
        evaluate=ValidationScore(
            lambda count: LatentWorld(gymnasium.spec(ENV), ranker, belief).users(
                count, autoreset_mode="disabled", **WORLD
            ),
            user_seeds("validation", 3, 20),
        ),
        progress=False,
    )
    agent.save(folder)


def start(train: Callable[[Path], None], folder: Path) -> int:
    """A process that trains."""
    process = os.fork()
    if process == 0:
        train(folder)
        os._exit(0)
    return process


def survive(train: Callable[[Path], None], folder: Path, kills: int, seed: int) -> int:
    """Let processes train until each has saved something more, and kill it some time later.

    Returns:
        How often a process resumed what another had left.
    """
    moments = np.random.default_rng(seed)
    torch.set_num_threads(1)
    assert os.waitpid(start(train, folder / "whole"), 0)[1] == 0
    folder = folder / "killed"
    state, resumed = folder / "unfinished" / "state.safetensors", 0
    for _ in range(kills):
        before = state.stat().st_mtime_ns if state.exists() else 0
        resumed += before > 0
        process = start(train, folder)
        while not state.exists() or state.stat().st_mtime_ns == before:
            time.sleep(0.002)
            assert os.waitpid(process, os.WNOHANG) == (0, 0), "training ended before it was killed"
        time.sleep(moments.uniform(0.0, 0.15))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    resumed += state.exists()
    assert os.waitpid(start(train, folder), 0)[1] == 0
    return resumed


if __name__ == "__main__":
    sys.stdout.write(str(survive(train, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
