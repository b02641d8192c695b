"""Ray's RLlib: PPO in a latent world, its sessions played by an actor of their own."""
# /// script
# dependencies = ["gems-gym", "ray[rllib]==2.60.0", "torch==2.13.0"]
# ///

from ray.rllib.algorithms.ppo import PPOConfig

config = (
    PPOConfig()
    .environment("gems_gym:GemsSlateLatent-diffuse_topdown-v0", env_config={"episode_length": 20})
    .env_runners(num_env_runners=1, num_envs_per_env_runner=2)
    .training(gamma=0.8, train_batch_size=80, minibatch_size=40, num_epochs=2)
)
algorithm = config.build_algo()
sessions = algorithm.train()["env_runners"]
algorithm.stop()

print("clicks in a session:", sessions["episode_return_mean"])
assert sessions["num_episodes"] >= 4
assert sessions["episode_len_mean"] == 20
assert 0 < sessions["episode_return_mean"] < 200
