"""What every run imports and compiles sooner or later: once, in the server that the runs' processes are forked from."""

from importlib import import_module

import gymnasium
import numpy as np
import torch

import gems_gym.envs  # noqa: F401  # registers
from gems_gym.common.fingerprints import code_fingerprint
from gems_gym_agents.library_state import import_library

import_library("stable_baselines3")
for _name in (
    "gems_gym_agents.pipeline.references",
    "gems_gym_agents.pipeline.runs",
    "gems_gym_agents.online.rounds",
    "torch._dynamo",  # takes seconds; optimisers import it when the first of them is made
    "torch.utils.tensorboard",
):
    import_module(_name)
torch.set_num_threads(1)
code_fingerprint("gems_gym_agents.pipeline.runs")  # most of what a run's own reads is kept
_users = gymnasium.make_vec("GemsSlate-diffuse_mix-v0", 1)
_users.reset(seed=0)
_users.step(np.zeros(_users.action_space.shape or (), np.int64))
