"""Minari: datasets of ours in one, by its own `minari combine`, which loses ranker, belief and the users' seeds."""
# /// script
# dependencies = ["gems-gym[data]", "minari[hdf5]==0.5.4"]
# ///

import os
import subprocess
import sys
import tempfile

import minari

from gems_gym.datasets import collect, report_dataset

with tempfile.TemporaryDirectory() as folder:
    os.environ["MINARI_DATASETS_PATH"] = folder  # nothing stays there
    for name in ("random", "short_term_oracle"):
        new = {
            "dataset_id": f"mine/{name}-v0",
            "episodes": 3,
            "seed": 0,
            "env_kwargs": {"episode_length": 20},
        }
        collect("GemsSlate-diffuse_topdown-v0", name, **new)
    command = [sys.executable, "-m", "minari.cli", "combine", "mine/random-v0", "mine/short_term_oracle-v0"]
    subprocess.run([*command, "--dataset-id", "mine/both-v0"], check=True)
    clicks = [float(episode.rewards.sum()) for episode in minari.load_dataset("mine/both-v0")]
    report = report_dataset("mine/both-v0", progress=False)

print("clicks in a session:", clicks)
assert report.episodes == 6
assert report.returns.mean == sum(clicks) / 6
