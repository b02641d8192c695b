"""TorchRL: its replay buffer, filled with the transitions of a Minari dataset of ours."""
# /// script
# dependencies = ["gems-gym[data]", "torchrl==0.14.1"]
# ///

import os
import tempfile

import minari
from tensordict import TensorDict
from torchrl.data import LazyTensorStorage, ReplayBuffer

from gems_gym.datasets import collect_level

buffer = ReplayBuffer(storage=LazyTensorStorage(1000), batch_size=32)
with tempfile.TemporaryDirectory() as folder:
    os.environ["MINARI_DATASETS_PATH"] = folder  # nothing stays there
    collect_level(
        "GemsSlateLatent-diffuse_topdown-v0", "expert", dataset_id="mine/expert-v0", episodes=3, seed=0
    )
    sessions = list(minari.load_dataset("mine/expert-v0"))

for (
    session
) in sessions:  # TorchRL 0.14.1 loses the numbers of local datasets that MinariExperienceReplay reads
    ends = {"terminated": session.terminations[:, None], "truncated": session.truncations[:, None]}  # adapter
    after = {"observation": session.observations[1:], "reward": session.rewards[:, None], **ends}  # adapter
    before = {"observation": session.observations[:-1], "action": session.actions}  # adapter
    buffer.extend(TensorDict({**before, "next": after}, batch_size=len(session)))  # adapter

sample = buffer.sample()
print("clicks on 32 slates:", sample["next", "reward"].sum().item())
assert sample.shape == (32,)
assert sample["action"].shape == (32, 32)
assert buffer[:]["next", "reward"].sum() == sum(session.rewards.sum() for session in sessions)
assert buffer[:]["next", "truncated"].sum() == 3
