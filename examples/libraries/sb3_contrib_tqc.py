"""sb3-contrib: TQC in a latent world."""
# /// script
# dependencies = ["gems-gym", "sb3-contrib==2.9.2"]
# ///

import gymnasium
from sb3_contrib import TQC
from stable_baselines3.common.evaluation import evaluate_policy

env = gymnasium.make("gems_gym:GemsSlateLatent-diffuse_topdown-v0", episode_length=20)
agent = TQC("MlpPolicy", env, gamma=0.8, learning_starts=100, seed=0)
agent.learn(200)

clicks, lengths = evaluate_policy(agent, agent.get_env(), n_eval_episodes=3, return_episode_rewards=True)
print("clicks in a session:", clicks)
assert lengths == [20] * 3
assert 0 < sum(clicks) < 3 * 20 * 10
