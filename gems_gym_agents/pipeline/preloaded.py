"""What every run imports sooner or later: loaded once, by the server that the runs' processes are forked from."""

from importlib import import_module

import torch

from gems_gym_agents.library_state import import_library

import_library("stable_baselines3")
for _name in (
    "gems_gym.envs",
    "gems_gym_agents.pipeline.references",
    "gems_gym_agents.pipeline.runs",
    "gems_gym_agents.online.training",
    "torch._dynamo",  # takes seconds; optimisers import it when the first of them is made
    "torch.utils.tensorboard",
):
    import_module(_name)
torch.set_num_threads(1)
