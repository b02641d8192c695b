"""CleanRL's way: an actor and a critic in one file, with its chain of Gymnasium's wrappers, in four worlds at once."""
# /// script
# dependencies = ["gems-gym", "torch==2.13.0"]
# ///

import gymnasium
import torch
from gymnasium import wrappers
from torch.distributions import Normal
from torch.nn import Linear, Sequential, Tanh


def make_env():
    env = gymnasium.make("gems_gym:GemsSlateLatent-diffuse_topdown-v0", episode_length=20)
    env = wrappers.ClipAction(wrappers.RecordEpisodeStatistics(wrappers.FlattenObservation(env)))
    return wrappers.NormalizeReward(wrappers.NormalizeObservation(env), gamma=0.8)


torch.manual_seed(0)
envs = gymnasium.vector.SyncVectorEnv([make_env] * 4)
actor, critic = (Sequential(Linear(20, 64), Tanh(), Linear(64, size)) for size in (32, 1))
optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=3e-3)
belief, clicks = torch.as_tensor(envs.reset(seed=0)[0], dtype=torch.float32), []
for _ in range(120):
    acting = Normal(actor(belief), 0.5)
    latent = acting.sample()
    after, reward, terminated, truncated, infos = envs.step(latent.numpy())
    if "episode" in infos:
        clicks.extend(infos["episode"]["r"][infos["_episode"]])
    after, value = torch.as_tensor(after, dtype=torch.float32), critic(belief).squeeze(-1)
    later = critic(after).squeeze(-1).detach() * torch.as_tensor(~terminated)
    target = torch.as_tensor(reward).float() + 0.8 * later
    gain = target - value.detach()
    loss = ((target - value).square() - gain * acting.log_prob(latent).sum(-1)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    belief = after
print("clicks in a session:", clicks)
assert len(clicks) == 4 * 5
