"""A video of three policies side by side, each with the same user.

    pip install 'gems-gym[render]'
    python examples/02_three_policies_video.py --out runs/videos

writes three_policies.gif and, where moviepy is installed, three_policies.mp4. What to look for: slates at random
get few clicks; the short-term oracle shows what the user likes most, again and again, until the user is bored of
it (the grey column) and clicks nothing; the boredom-aware oracle spreads the clicks over topics and keeps them coming.

For a video of one environment there is a shorter way, Gymnasium's own:

    env = gymnasium.make("GemsSlate-diffuse_mix-v0", render_mode="rgb_array")
    env = gymnasium.wrappers.RecordVideo(env, "runs/videos")
"""

import argparse
from pathlib import Path

import gymnasium
import numpy as np

import gems_gym  # noqa: F401 - registers the environments with gymnasium
from gems_gym.envs.video import save_gif, save_mp4, side_by_side
from gems_gym.policies.base import make_policy

POLICIES = {
    "random": "random slates",
    "short_term_oracle": "short-term oracle",
    "boredom_aware_oracle": "boredom-aware oracle",
}


def session_frames(policy_name: str, env_id: str, seed: int, steps: int) -> list[np.ndarray]:
    """Play one session and draw its every step: (480, 640, 3) pictures, the opening first."""
    env = gymnasium.make(env_id, render_mode="rgb_array", episode_length=steps)
    policy = make_policy(policy_name, env)
    observation, _ = env.reset(seed=seed)  # the same seed: the same user
    state = policy.open([seed])
    frames, truncated, clicks = [env.render()], False, 0.0
    while not truncated:
        slate, state = policy.act(state, observation)
        observation, reward, _, truncated, _ = env.step(slate)
        clicks += reward
        frames.append(env.render())
    env.close()
    print(f"{POLICIES[policy_name]}: {clicks:.0f} clicks")
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description="A video of three policies side by side on the same user.")
    parser.add_argument("--out", type=Path, default=Path("runs/videos"), help="folder (default: runs/videos)")
    parser.add_argument("--env", default="GemsSlate-diffuse_mix-v0", help="the environment's id")
    parser.add_argument("--seed", type=int, default=1, help="the user's seed (default: 1)")
    parser.add_argument("--steps", type=int, default=60, help="steps of the sessions (default: 60)")
    parser.add_argument("--fps", type=float, default=4, help="steps per second (default: 4)")
    parser.add_argument(
        "--gif-width", type=int, default=1280, help="pixels; the mp4 is larger (default: 1280)"
    )
    arguments = parser.parse_args()

    sessions = [session_frames(name, arguments.env, arguments.seed, arguments.steps) for name in POLICIES]
    titles = list(POLICIES.values())
    video = [side_by_side(frames, titles) for frames in zip(*sessions, strict=True)]

    save_gif(arguments.out / "three_policies.gif", video, arguments.fps, width=arguments.gif_width)
    print("wrote", arguments.out / "three_policies.gif")
    try:
        save_mp4(arguments.out / "three_policies.mp4", video, arguments.fps)
        print("wrote", arguments.out / "three_policies.mp4")
    except ImportError as error:  # the GIF needs Pillow only
        print("no mp4:", error)


if __name__ == "__main__":
    main()
