"""stable-baselines3: PPO that chooses the slates themselves, from two users in processes of their own."""
# /// script
# dependencies = ["gems-gym", "stable-baselines3==2.9.2"]
# ///

from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

if __name__ == "__main__":
    world = {"num_items": 100, "episode_length": 20}
    env = make_vec_env(
        "gems_gym:GemsSlate-diffuse_topdown-v0", 2, seed=0, env_kwargs=world, vec_env_cls=SubprocVecEnv
    )
    agent = PPO("MultiInputPolicy", env, gamma=0.8, n_steps=40, batch_size=40, n_epochs=2, seed=0)
    agent.learn(80)

    sessions = agent.ep_info_buffer
    print("clicks in a session:", [session["r"] for session in sessions])
    assert len(sessions) == 4
    assert all(session["l"] == 20 for session in sessions)
    slate, _ = agent.predict(env.reset(), deterministic=True)
    assert slate.shape == (2, 10)
    assert 0 <= slate.min() <= slate.max() < 100
    env.close()
