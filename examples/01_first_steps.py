"""First steps: one user, one session, and what an agent can and can't see.

Run it with

    python examples/01_first_steps.py

It needs nothing beyond gems-gym itself. With the extra `render` (pip install 'gems-gym[render]') and
`--picture session.png` it also writes a picture of the session.
"""

import argparse

import gymnasium
import numpy as np

import gems_gym  # registers the environments with gymnasium
from gems_gym.policies.base import make_policy


def main() -> None:
    parser = argparse.ArgumentParser(description="Play one session of a slate recommendation environment.")
    parser.add_argument("--seed", type=int, default=1, help="the user's seed (default: 1)")
    parser.add_argument("--steps", type=int, default=100, help="steps of the session (default: 100)")
    parser.add_argument(
        "--policy", default="boredom_aware_oracle", help="who plays the second session (boredom_aware_oracle)"
    )
    parser.add_argument(
        "--picture", help="write a picture of the session to this file (needs gems-gym[render])"
    )
    arguments = parser.parse_args()

    # 1. Worlds have names; every parameter of a world is a keyword.
    print("Worlds:", ", ".join(gems_gym.PRESETS))
    env = gymnasium.make(
        "GemsSlate-diffuse_mix-v0",
        episode_length=arguments.steps,
        render_mode="rgb_array" if arguments.picture else "ansi",
    )
    print("An action is a slate of item ids:", env.action_space)
    print("An observation is the slate that was shown and what was clicked:", env.observation_space)

    # 2. A seed names a user. The session opens with a fixed first slate, whose clicks are no reward.
    observation, info = env.reset(seed=arguments.seed)
    print("\nFirst slate:", observation["slate"], "clicks:", observation["clicks"])

    # 3. `info` shows what no agent may use: the user's preference, what bores the user, how relevant each item is.
    preference = info["user_state"].reshape(env.unwrapped.config.num_topics, -1)
    print("Hidden: interest per topic", np.linalg.norm(preference, axis=1).round(2))

    # 4. The loop of every Gymnasium environment, with slates at random.
    env.action_space.seed(0)
    total, truncated = 0.0, False
    while not truncated:
        observation, reward, _, truncated, info = env.step(env.action_space.sample())
        total += reward
    print(f"\nRandom slates got {total:.0f} clicks in {arguments.steps} steps.")

    # 5. The same user again: the same seed. This time a policy that comes with the package chooses the slates.
    #    The oracles cheat: they read the hidden preference. They show what is possible. `gems-gym list` names all.
    policy = make_policy(arguments.policy, env)
    observation, info = env.reset(seed=arguments.seed)
    state = policy.open([arguments.seed])
    total, truncated = 0.0, False
    while not truncated:
        slate, state = policy.act(state, observation)
        observation, reward, _, truncated, info = env.step(slate)
        total += reward
    print(f"The policy {arguments.policy} got {total:.0f} from the same user.\n")

    # 6. Look at the session as it stands: text here, a picture with `--picture`.
    if arguments.picture:
        from PIL import Image

        Image.fromarray(env.render()).save(arguments.picture)
        print(f"Its last step is in {arguments.picture}.")
    else:
        print(env.render())
    env.close()


if __name__ == "__main__":
    main()
