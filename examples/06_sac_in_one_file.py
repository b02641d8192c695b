"""Soft actor-critic in one file of plain torch, in a latent world: read it once, change what you like.

Run it with

    python examples/06_sac_in_one_file.py

It needs pip install 'gems-gym[pretrain]'. The agent sees a belief of 20 numbers and acts in a latent of 32; a hundred
training users are served at once. In the end the policy is scored on users that it never met.
"""

import argparse
import copy

import gymnasium
import numpy as np
import torch
from torch import nn
from torch.nn import functional

import gems_gym  # noqa: F401 - registers the environments with gymnasium
from gems_gym.policies import MemorylessPolicy
from gems_gym.user_splits import user_seeds
from gems_gym_agents.evaluation import evaluate

ENV = "GemsSlateLatent-diffuse_topdown-v0"
USERS, BATCH_SIZE, LEARNING_RATE = 100, 256, 1e-3
GAMMA, TAU, UPDATES_PER_STEP, RANDOM_STEPS = 0.8, 0.005, 4, 20


def network(inputs: int, outputs: int) -> nn.Sequential:
    """Two layers of 256; layer norm keeps a critic from extrapolating."""
    first = (nn.Linear(inputs, 256), nn.LayerNorm(256), nn.ReLU())
    second = (nn.Linear(256, 256), nn.LayerNorm(256), nn.ReLU())
    return nn.Sequential(*first, *second, nn.Linear(256, outputs))


class Actor(nn.Module):
    """A normal distribution for each belief, squashed by tanh into the box of latents."""

    def __init__(self, belief_size: int, latent_size: int) -> None:
        super().__init__()
        self.network = network(belief_size, 2 * latent_size)

    def forward(self, beliefs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Latents drawn for beliefs, (N, latent_size), and the logarithms of their densities, (N,)."""
        mean, log_std = self.network(beliefs).chunk(2, dim=-1)
        normal = torch.distributions.Normal(mean, log_std.clamp(-5, 2).exp())
        drawn = normal.rsample()
        squashed = 2 * (np.log(2) - drawn - functional.softplus(-2 * drawn))  # log of tanh's derivative
        return torch.tanh(drawn), (normal.log_prob(drawn) - squashed).sum(-1)

    @torch.no_grad()
    def best(self, beliefs: np.ndarray) -> np.ndarray:
        """Latents without exploration."""
        return torch.tanh(self.network(torch.as_tensor(beliefs)).chunk(2, dim=-1)[0]).numpy()


def train(steps: int, seed: int) -> Actor:
    """An actor after so many interactions, of all users together."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    env = gymnasium.make_vec(ENV, num_envs=USERS, autoreset_mode="disabled")
    belief_size, latent_size = env.single_observation_space.shape[0], env.single_action_space.shape[0]
    actor = Actor(belief_size, latent_size)
    critics = nn.ModuleList(network(belief_size + latent_size, 1) for _ in range(2))
    targets = copy.deepcopy(critics)
    log_alpha = torch.tensor(np.log(0.05), dtype=torch.float32, requires_grad=True)  # weight of the entropy
    actor_optimizer = torch.optim.Adam(actor.parameters(), LEARNING_RATE)
    critic_optimizer = torch.optim.Adam(critics.parameters(), LEARNING_RATE)
    alpha_optimizer = torch.optim.Adam([log_alpha], LEARNING_RATE)
    widths = {"belief": belief_size, "latent": latent_size, "clicks": 1, "next": belief_size}
    buffer = {name: torch.zeros(steps, width) for name, width in widths.items()}

    def value(networks: nn.ModuleList, beliefs: torch.Tensor, latents: torch.Tensor) -> torch.Tensor:
        return torch.stack([one(torch.cat([beliefs, latents], -1)).squeeze(-1) for one in networks])  # (2, N)

    def update(batch: dict[str, torch.Tensor]) -> None:
        alpha = log_alpha.exp().detach()
        # Sessions end by time, which is no terminal state: every next belief has a value.
        with torch.no_grad():
            latents, log_density = actor(batch["next"])
            future = value(targets, batch["next"], latents).amin(0) - alpha * log_density
            goal = batch["clicks"].squeeze(-1) + GAMMA * future
        critic_loss = ((value(critics, batch["belief"], batch["latent"]) - goal) ** 2).mean(1).sum()
        critic_optimizer.zero_grad()
        critic_loss.backward()
        critic_optimizer.step()
        latents, log_density = actor(batch["belief"])
        actor_loss = (alpha * log_density - value(critics, batch["belief"], latents).amin(0)).mean()
        actor_optimizer.zero_grad()
        actor_loss.backward()
        actor_optimizer.step()
        alpha_loss = -log_alpha * (log_density.detach() - latent_size).mean()
        alpha_optimizer.zero_grad()
        alpha_loss.backward()
        alpha_optimizer.step()
        with torch.no_grad():
            for target, weights in zip(targets.parameters(), critics.parameters(), strict=True):
                target.lerp_(weights, TAU)

    session, ended, clicks = 0, True, np.zeros(USERS)
    for step in range(steps // USERS):
        if ended:
            users = user_seeds("training", seed, USERS, start=session * USERS)
            beliefs, _ = env.reset(seed=users)
            session, clicks = session + 1, np.zeros(USERS)
        if step < RANDOM_STEPS:
            latents = rng.uniform(-1, 1, (USERS, latent_size)).astype(np.float32)
        else:
            with torch.no_grad():
                latents = actor(torch.as_tensor(beliefs))[0].numpy()
        next_beliefs, rewards, _, truncated, _ = env.step(latents)
        rows = slice(step * USERS, (step + 1) * USERS)
        for name, values in zip(widths, (beliefs, latents, rewards[:, None], next_beliefs), strict=True):
            buffer[name][rows] = torch.as_tensor(values, dtype=torch.float32)
        beliefs, clicks, ended = next_beliefs, clicks + rewards, bool(truncated.all())
        for _ in range(UPDATES_PER_STEP if step >= RANDOM_STEPS else 0):
            drawn = torch.as_tensor(rng.integers(rows.stop, size=BATCH_SIZE))
            update({name: values[drawn] for name, values in buffer.items()})
        if ended:
            print(f"{rows.stop:>7,} interactions: {clicks.mean():.0f} clicks a session", flush=True)
    return actor


def main() -> None:
    parser = argparse.ArgumentParser(description="SAC in plain torch, in a latent world.")
    parser.add_argument("--steps", type=int, default=50_000, help="interactions (default: 50000)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything random (default: 0)")
    parser.add_argument("--users", type=int, default=500, help="test users (default: 500)")
    arguments = parser.parse_args()
    actor = train(arguments.steps, arguments.seed)
    test = gymnasium.make_vec(ENV, num_envs=arguments.users, autoreset_mode="disabled")
    scored = evaluate(MemorylessPolicy(actor.best), test, user_seeds("test", 0, arguments.users))
    print(f"{arguments.users} test users: {scored.mean_return:.1f} ± {scored.ci95:.1f} clicks a session")


if __name__ == "__main__":
    main()
