"""Gymnasium: its own wrappers around slates and around latents, and a video of a session."""
# /// script
# dependencies = ["gems-gym[render]", "gymnasium==1.4.0"]
# ///

import tempfile
from pathlib import Path

import gymnasium
from gymnasium import wrappers

for env_id in ("gems_gym:GemsSlate-diffuse_topdown-v0", "gems_gym:GemsSlateLatent-diffuse_topdown-v0"):
    with tempfile.TemporaryDirectory() as folder:
        env = gymnasium.make(env_id, episode_length=5, render_mode="rgb_array")
        env = wrappers.RecordVideo(
            wrappers.RecordEpisodeStatistics(env), f"{folder}/videos", disable_logger=True
        )
        env = wrappers.NormalizeReward(wrappers.FlattenObservation(env), gamma=0.8)
        env = wrappers.FrameStackObservation(wrappers.NormalizeObservation(env), stack_size=3)
        observation, info = env.reset(seed=0)
        clicks, truncated = 0, False
        while not truncated:
            observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
            clicks += info["clicks"].sum()
        env.close()
        videos = list(Path(folder).glob("videos/*.mp4"))
    print(env_id, observation.shape, info["episode"])
    assert observation.shape[0] == 3
    assert observation in env.observation_space
    assert info["episode"]["r"] == clicks
    assert info["episode"]["l"] == 5
    assert len(videos) == 1
