"""torch: a DataLoader over the sessions of a Minari dataset."""
# /// script
# dependencies = ["gems-gym[data]", "torch==2.13.0"]
# ///

import os
import tempfile

import minari
import torch
from torch.utils.data import DataLoader

from gems_gym.datasets import collect


def batch(sessions):
    """Sessions of one length: observations one longer than actions and rewards."""
    return {
        name: torch.stack([torch.as_tensor(getattr(session, name)) for session in sessions])
        for name in ("actions", "rewards")
    }


with tempfile.TemporaryDirectory() as folder:
    os.environ["MINARI_DATASETS_PATH"] = folder  # nothing stays there
    new = {"dataset_id": "mine/random-v0", "episodes": 6, "seed": 0, "env_kwargs": {"episode_length": 20}}
    collect("GemsSlate-diffuse_topdown-v0", "random", **new)
    dataset = minari.load_dataset("mine/random-v0")
    batches = list(DataLoader(dataset, batch_size=4, shuffle=True, collate_fn=batch))
    clicks = sum(session.rewards.sum() for session in dataset)

print([tuple(one["actions"].shape) for one in batches])
assert [tuple(one["actions"].shape) for one in batches] == [(4, 20, 10), (2, 20, 10)]
assert sum(one["rewards"].sum() for one in batches) == clicks
