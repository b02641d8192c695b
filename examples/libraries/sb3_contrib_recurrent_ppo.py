"""sb3-contrib: PPO with an LSTM, which chooses slates by all it has seen of the session."""
# /// script
# dependencies = ["gems-gym", "sb3-contrib==2.9.2"]
# ///

import gymnasium
from gymnasium.wrappers import FlattenObservation
from sb3_contrib import RecurrentPPO

env = gymnasium.make("gems_gym:GemsSlate-diffuse_topdown-v0", num_items=100, episode_length=20)
env = FlattenObservation(
    env
)  # adapter: as a Dict, stable-baselines3 tells torch's LSTM a size of NumPy's type
agent = RecurrentPPO("MlpLstmPolicy", env, gamma=0.8, n_steps=40, batch_size=40, n_epochs=2, seed=0)
agent.learn(80)

observation, _ = env.reset(seed=1)
slate, memory = agent.predict(observation, deterministic=True)
print("slate:", slate)
assert env.action_space.contains(slate)
assert len(agent.ep_info_buffer) == 4
assert any(state.any() for state in memory)
