"""TorchRL: SAC in a latent world."""
# /// script
# dependencies = ["gems-gym", "torchrl==0.14.1"]
# ///

import torch
from tensordict.nn import NormalParamExtractor, TensorDictModule
from torchrl.collectors import Collector
from torchrl.data import LazyTensorStorage, ReplayBuffer
from torchrl.envs import GymEnv
from torchrl.envs.utils import check_env_specs
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import SACLoss

env = GymEnv("gems_gym:GemsSlateLatent-diffuse_topdown-v0", episode_length=20)
check_env_specs(env)
means = torch.nn.Sequential(MLP(20, 64, num_cells=[64]), NormalParamExtractor())
actor = ProbabilisticActor(
    TensorDictModule(means, ["observation"], ["loc", "scale"]),
    in_keys=["loc", "scale"],
    spec=env.action_spec,
    distribution_class=TanhNormal,
)
critic = ValueOperator(MLP(52, 1, num_cells=[64]), ["observation", "action"])
losses = SACLoss(actor, critic)
losses.make_value_estimator(gamma=0.8)
optimizer = torch.optim.Adam(losses.parameters(), lr=1e-3)
buffer = ReplayBuffer(storage=LazyTensorStorage(1000), batch_size=32)
for batch in Collector(env, actor, frames_per_batch=40, total_frames=120):
    buffer.extend(batch)
    for _ in range(10):
        found = losses(buffer.sample())
        sum(value for name, value in found.items() if name.startswith("loss_")).backward()
        optimizer.step()
        optimizer.zero_grad()

print({name: round(value.item(), 3) for name, value in found.items()})
assert len(buffer) == 120
assert batch["next", "truncated"].sum() == 2
assert all(value.isfinite().all() for value in found.values())
