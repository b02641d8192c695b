"""Train stable-baselines3's SAC in a latent world, and score it on users it never met.

Run it with

    python examples/03_sac_by_stable_baselines3.py --steps 100000 --seeds 0 1 2 3 4

It needs pip install 'gems-gym[online]'. The ranker and the belief are those that come with gems-gym, so the agent
sees 20 numbers and acts in 32. What `gems-gym train sac` adds to these lines: policies picked on validation users,
resuming, and a finished agent that runs without stable-baselines3.
"""

import argparse

import gymnasium
import numpy as np
from stable_baselines3 import SAC

import gems_gym  # noqa: F401 - registers the environments with gymnasium
from gems_gym.common.arrays import t_interval
from gems_gym.policies import MemorylessPolicy
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.online import GymnasiumVecEnv, LayerNormSACPolicy


def without_exploration(model):
    """Acts as the trained model does, without its noise: beliefs (num_users, 20) to latents (num_users, 32)."""
    return MemorylessPolicy(lambda observations: model.predict(observations, deterministic=True)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description="Train SB3's SAC in a latent world.")
    parser.add_argument("--env", default="GemsSlateLatent-diffuse_topdown-v0", help="a GemsSlateLatent world")
    parser.add_argument("--steps", type=int, default=100_000, help="interactions (default: 100000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one training for each")
    parser.add_argument("--users", type=int, default=500, help="test users (default: 500)")
    arguments = parser.parse_args()

    clicks = []
    for seed in arguments.seeds:
        env = GymnasiumVecEnv(gymnasium.make_vec(arguments.env, num_envs=100))
        model = SAC(
            LayerNormSACPolicy,
            env,
            gamma=0.8,
            ent_coef="auto_0.05",
            learning_rate=1e-3,
            gradient_steps=4,
            seed=seed,
        )
        model.learn(arguments.steps)
        test = gymnasium.make_vec(
            arguments.env, num_envs=min(arguments.users, 250), autoreset_mode="disabled"
        )
        users = user_seeds("test", 0, arguments.users)
        result = evaluate(without_exploration(model), test, users, name=f"seed {seed}")
        clicks.append(result.mean_return)
        print(f"seed {seed}: {result.mean_return:.1f} ± {result.ci95:.1f} clicks a session", flush=True)
    if len(clicks) > 1:
        print(
            f"{len(clicks)} seeds: {np.mean(clicks):.1f} ± {t_interval(np.array(clicks)):.1f} (95 %, over seeds)"
        )


if __name__ == "__main__":
    main()
