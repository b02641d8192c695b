"""stable-baselines3: SAC in a latent world, written as for any world of continuous control."""
# /// script
# dependencies = ["gems-gym", "stable-baselines3==2.9.2"]
# ///

import gymnasium
from stable_baselines3 import SAC
from stable_baselines3.common.evaluation import evaluate_policy

env = gymnasium.make("gems_gym:GemsSlateLatent-diffuse_topdown-v0", episode_length=20)
agent = SAC("MlpPolicy", env, gamma=0.8, ent_coef="auto_0.05", learning_starts=100, seed=0)
agent.learn(200)

clicks, lengths = evaluate_policy(agent, agent.get_env(), n_eval_episodes=3, return_episode_rewards=True)
print("clicks in a session:", clicks)
assert lengths == [20] * 3
assert 0 < sum(clicks) < 3 * 20 * 10
