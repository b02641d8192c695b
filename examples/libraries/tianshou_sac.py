"""Tianshou: SAC in a latent world, by its high-level interface."""
# /// script
# dependencies = ["gems-gym", "tianshou[eval]==2.0.1"]
# ///

from tianshou.highlevel.config import OffPolicyTrainingConfig
from tianshou.highlevel.env import EnvFactoryRegistered, VectorEnvType
from tianshou.highlevel.experiment import ExperimentConfig, SACExperimentBuilder

world = EnvFactoryRegistered(
    task="gems_gym:GemsSlateLatent-diffuse_topdown-v0", venv_type=VectorEnvType.DUMMY, episode_length=20
)
experiment = (
    SACExperimentBuilder(
        world,
        ExperimentConfig(persistence_enabled=False, watch=False),
        OffPolicyTrainingConfig(
            max_epochs=2,
            epoch_num_steps=100,
            num_training_envs=2,
            num_test_envs=2,
            test_step_num_episodes=2,
            collection_step_num_env_steps=20,
            start_timesteps=40,
            update_step_num_gradient_steps_per_sample=0.5,
        ),
    )
    .with_actor_factory_default((64, 64))
    .with_common_critic_factory_default((64, 64))
    .build()
)
result = experiment.run().trainer_result
print(result)
assert result.train_step >= 200
assert 0 < result.best_reward < 200
