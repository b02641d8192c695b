"""skrl: PPO in a latent world."""
# /// script
# dependencies = ["gems-gym", "skrl[torch]==2.1.1"]
# ///

import gymnasium
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils.model_instantiators.torch import deterministic_model, gaussian_model

world = gymnasium.make("gems_gym:GemsSlateLatent-diffuse_topdown-v0", episode_length=20)
world = gymnasium.wrappers.RecordEpisodeStatistics(world)
env = wrap_env(world)
sizes = {"observation_space": env.observation_space, "action_space": env.action_space, "device": env.device}
network = [{"name": "net", "input": "OBSERVATIONS", "layers": [64, 64], "activations": "elu"}]
models = {  # clip_actions, since latents out of [-1, 1] are refused
    "policy": gaussian_model(**sizes, network=network, output="ACTIONS", clip_actions=True),
    "value": deterministic_model(**sizes, network=network, output="ONE"),
}
config = PPO_CFG(rollouts=20, learning_epochs=2, discount_factor=0.8, time_limit_bootstrap=True)
config.experiment.write_interval = config.experiment.checkpoint_interval = 0
agent = PPO(models=models, memory=RandomMemory(memory_size=20), cfg=config, **sizes)
SequentialTrainer(env=env, agents=agent, cfg={"timesteps": 80, "headless": True}).train()

print("clicks in a session:", list(world.return_queue))
assert list(world.length_queue) == [20] * 4
assert 0 < sum(world.return_queue) < 4 * 200
