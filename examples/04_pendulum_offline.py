"""Offline learning in a world that is not ours: Gymnasium's pendulum, from an expert's recorded sessions alone.

Run it with

    python examples/04_pendulum_offline.py

It needs pip install 'gems-gym[offline,online]'. Stable-baselines3's SAC learns to swing the pendulum up, its sessions
become a Minari dataset, and TD3+BC learns from that dataset without ever meeting the pendulum.
What an offline agent asks of a dataset is all here: observations and actions in one-dimensional boxes, actions in
[-1, 1]. Nothing is lost while the pendulum stands still and upright: -250 or more means that it is swung up and stays
there. Random torques get about -1200.
"""

import argparse
import os
import tempfile
from collections.abc import Callable

import gymnasium
import minari
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import RescaleAction
from minari.data_collector import EpisodeBuffer
from stable_baselines3 import SAC

from gems_gym.policies import MemorylessPolicy, Policy
from gems_gym.rollouts import play_sessions
from gems_gym_agents.evaluation import evaluate
from gems_gym_agents.offline import TD3PlusBCAgent

Act = Callable[[np.ndarray], np.ndarray]


def pendulum() -> gymnasium.Env:
    """The pendulum with torques in [-1, 1], as our agents act."""
    return RescaleAction(gymnasium.make("Pendulum-v1"), np.float32(-1.0), np.float32(1.0))


def train_expert(steps: int, seed: int) -> Act:
    """Observations, one or several, to the torques of a trained SAC without its noise."""
    model = SAC(
        "MlpPolicy",
        pendulum(),
        learning_rate=2e-3,
        batch_size=128,
        policy_kwargs={"net_arch": [64, 64]},
        seed=seed,
    )
    model.learn(steps)
    return lambda observations: model.predict(observations, deterministic=True)[0]


def pendulums(count: int) -> SyncVectorEnv:
    """So many of them in lockstep."""
    return SyncVectorEnv([pendulum] * count, autoreset_mode=AutoresetMode.DISABLED)


def record(act: Act, sessions: int, noise: float, seed: int) -> minari.MinariDataset:
    """A dataset of sessions with a policy whose torques are disturbed a little.

    It names no environment: gems-gym opens no dataset that names one of another package, whose code it would have to
    trust.
    """
    env, rng = pendulums(sessions), np.random.default_rng(seed)

    def disturbed(observations: np.ndarray) -> np.ndarray:
        return np.clip(act(observations) + noise * rng.normal(size=(sessions, 1)), -1, 1).astype(np.float32)

    seeds = range(1_000_000, 1_000_000 + sessions)
    opening, *steps = play_sessions(env, MemorylessPolicy(disturbed), seeds)
    episodes = [
        EpisodeBuffer(
            observations=[moment.observations[index] for moment in (opening, *steps)],
            actions=[moment.actions[index] for moment in steps],
            rewards=[moment.rewards[index] for moment in steps],
            terminations=[False] * len(steps),
            truncations=[False] * (len(steps) - 1) + [True],  # by the time limit
        )
        for index in range(sessions)
    ]
    spaces = {
        "observation_space": env.single_observation_space,
        "action_space": env.single_action_space,
    }
    return minari.create_dataset_from_buffers("pendulum/expert-v0", episodes, algorithm_name="SAC", **spaces)


def mean_return(name: str, policy: Policy, sessions: int) -> None:
    """Print that of sessions that nobody learned from."""
    seeds = range(2_000_000, 2_000_000 + sessions)
    result = evaluate(policy, pendulums(sessions), seeds, name=name)
    print(f"{name}: {result.mean_return:.0f} ± {result.ci95:.0f} a session", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="TD3+BC from an expert's recorded sessions with a pendulum.")
    parser.add_argument("--expert-steps", type=int, default=5_000, help="interactions of SAC (default: 5000)")
    parser.add_argument("--sessions", type=int, default=30, help="recorded sessions (default: 30)")
    parser.add_argument("--updates", type=int, default=2_000, help="of TD3+BC (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="decides everything random (default: 0)")
    arguments = parser.parse_args()

    expert = train_expert(arguments.expert_steps, arguments.seed)
    mean_return("SAC", MemorylessPolicy(expert), sessions=20)
    agent = TD3PlusBCAgent(
        gamma=0.95,
        alpha=2.5,
        observation_scaler="standard",
        hidden_units=(64, 64),
        actor_learning_rate=1e-3,
        critic_learning_rate=1e-3,
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINARI_DATASETS_PATH"] = folder  # nothing stays there
        dataset = record(expert, arguments.sessions, noise=0.1, seed=arguments.seed)
        agent.fit(dataset, steps=arguments.updates, seed=arguments.seed, progress=False)
    mean_return("TD3+BC", agent.policy, sessions=20)


if __name__ == "__main__":
    main()
