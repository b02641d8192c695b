"""Trains offline agents in processes that are killed at random moments, for ``test_offline_resume.py``."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np

from gems_gym import plugins
from gems_gym_agents.library_state import import_library
from tests.agents.killed_training import survive
from tests.agents.offline_agents import act_once, warmed_up
from tests.datasets.small_world import collect_latents

EPOCH, SAVE_EVERY = 40, 16
UPDATES_A_KILL = 100
"""A process makes about half as many before it is killed."""

BELIEFS = np.random.default_rng(0).uniform(-1, 1, (50, 4)).astype(np.float32)


def train(name: str, steps: int, folder: Path) -> None:
    """One run; it resumes what an earlier one left in the folder."""
    import minari

    kind = plugins.load(plugins.AGENTS, name)
    options = {"hidden_units": (16, 16), "batch_size": 32, "steps_per_epoch": EPOCH} | warmed_up(kind, 100)
    agent = kind(**options)
    agent.fit(
        minari.load_dataset("killed/latent-v0"),
        steps=steps,
        seed=3,
        directory=folder,
        evaluate=lambda policy: float(act_once(policy, BELIEFS).std()),
        progress=False,
        save_every=SAVE_EVERY,
    )
    agent.save(folder)


def survive_offline(agent: str, folder: Path, kills: int, seed: int) -> None:
    """Kill trainings of an agent, see :func:`survive`; leaves in ``resumed.txt`` what that returns."""
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    import_library("d3rlpy")  # loaded before the processes split
    collect_latents("killed/latent-v0")
    run = partial(train, agent, (kills + 1) * UPDATES_A_KILL)
    (folder / "resumed.txt").write_text(str(survive(run, folder, kills, seed)))
