"""skrl: PPO that chooses the slates themselves."""
# /// script
# dependencies = ["gems-gym", "skrl[torch]==2.1.1"]
# ///

import gymnasium
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.trainers.torch import SequentialTrainer
from skrl.utils.model_instantiators.torch import deterministic_model, multicategorical_model

world = gymnasium.make("gems_gym:GemsSlate-diffuse_topdown-v0", num_items=100, episode_length=20)
world = gymnasium.wrappers.RecordEpisodeStatistics(world)
world = gymnasium.wrappers.FlattenObservation(world)  # adapter: skrl knows no MultiBinary, as clicks are
env = wrap_env(world)
sizes = {"observation_space": env.observation_space, "action_space": env.action_space, "device": env.device}
network = [{"name": "net", "input": "OBSERVATIONS", "layers": [64, 64], "activations": "elu"}]
models = {
    "policy": multicategorical_model(**sizes, network=network, output="ACTIONS"),
    "value": deterministic_model(**sizes, network=network, output="ONE"),
}
config = PPO_CFG(rollouts=20, learning_epochs=2, discount_factor=0.8, time_limit_bootstrap=True)
config.experiment.write_interval = config.experiment.checkpoint_interval = 0
agent = PPO(models=models, memory=RandomMemory(memory_size=20), cfg=config, **sizes)
SequentialTrainer(env=env, agents=agent, cfg={"timesteps": 80, "headless": True}).train()

clicks = list(world.get_wrapper_attr("return_queue"))
print("clicks in a session:", clicks)
assert len(clicks) == 4
assert 0 < sum(clicks) < 4 * 200
