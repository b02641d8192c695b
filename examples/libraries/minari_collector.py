"""Minari: sessions recorded by its own DataCollector, and what `gems-gym dataset report` says of them."""
# /// script
# dependencies = ["gems-gym[data]", "minari[create,hdf5]==0.5.4"]
# ///

import os
import tempfile

import gymnasium
import minari

from gems_gym.datasets import report_dataset

with tempfile.TemporaryDirectory() as folder:
    os.environ["MINARI_DATASETS_PATH"] = folder  # nothing stays there
    env = gymnasium.make("gems_gym:GemsSlateLatent-diffuse_topdown-v0", episode_length=5)
    env = minari.DataCollector(env, record_infos=True)
    for seed in range(4):
        env.reset(seed=seed)
        truncated = False
        while not truncated:
            *_, truncated, _ = env.step(env.action_space.sample())
    dataset = env.create_dataset("mine/random-v0", algorithm_name="random", ref_min_score=0.0)
    clicks = [float(episode.rewards.sum()) for episode in dataset]
    report = report_dataset(dataset, progress=False)
    again = dataset.recover_environment()

print("clicks in a session:", clicks)
assert (report.episodes, report.transitions, report.returns.mean) == (4, 20, sum(clicks) / 4)
assert again.spec.id == "GemsSlateLatent-diffuse_topdown-v0"
assert again.unwrapped.config.episode_length == 5
