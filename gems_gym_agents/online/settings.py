"""How all algorithms of SB3 are set up: settings that mean the same in each, layer normalisation, scaled rewards.

Importing this module imports torch and stable-baselines3.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from gems_gym.common.machine import check_fits_memory
from gems_gym_agents.online.options import (
    EntropyOptions,
    OffPolicyOptions,
    OnlineOptions,
    OnPolicyOptions,
    TargetOptions,
)
from gems_gym_agents.online.vec_env import GymnasiumVecEnv


def shared_settings(options: OnlineOptions, env: VectorEnv, *, seed: int, device: str) -> dict[str, Any]:
    """Keywords that mean the same in every algorithm of SB3.

    Args:
        options: The settings.
        env: Box observations (observation_size,), actions Box(-1, 1, (action_size,)), autoreset SAME_STEP.
        seed: Seed of networks, exploration and batches.
        device: A torch device.
    """
    return {
        "env": GymnasiumVecEnv(env),
        "learning_rate": options.learning_rate,
        "gamma": options.gamma,
        # as many sessions as end together, so that the mean is over all users
        "stats_window_size": max(100, env.num_envs),
        # fused: one call per optimiser step instead of one per tensor, about 15 % of an update's time
        "policy_kwargs": {"net_arch": list(options.net_arch), "optimizer_kwargs": {"fused": True}},
        "seed": seed,
        "device": device,
    }


def off_policy_settings(
    options: OffPolicyOptions, env: VectorEnv, *, seed: int, device: str
) -> dict[str, Any]:
    """Keywords that mean the same in every algorithm with a replay buffer; see :func:`shared_settings`."""
    return {
        **shared_settings(options, env, seed=seed, device=device),
        "buffer_size": options.buffer_size,
        "learning_starts": options.learning_starts,
        "batch_size": options.batch_size,
        "train_freq": 1,
        "gradient_steps": options.gradient_steps,
        "replay_buffer_class": ScaledReplayBuffer,
        "replay_buffer_kwargs": {"reward_scale": options.reward_scale},
    }


def target_settings(
    options: TargetOptions,
    env: VectorEnv,
    policy_class: type[Any],
    actor_network: str = "latent_pi",
    *,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Keywords of algorithms with target critics; see :func:`shared_settings`.

    Args:
        options: The settings.
        env: See :func:`shared_settings`.
        policy_class: The library's policy, which gets layer normalisation if it is to have it.
        actor_network: See :class:`LayerNorm`.
        seed: See :func:`shared_settings`.
        device: See :func:`shared_settings`.
    """
    if options.layer_norm:
        name = f"LayerNorm{policy_class.__name__}"
        policy_class = type(name, (LayerNorm, policy_class), {"actor_network": actor_network})
    return {
        **off_policy_settings(options, env, seed=seed, device=device),
        "policy": policy_class,
        "tau": options.tau,
    }


def entropy_settings(options: EntropyOptions) -> dict[str, Any]:
    """Keywords of algorithms that maximise entropy."""
    return {
        "ent_coef": f"auto_{options.initial_entropy!r}",
        "target_entropy": "auto" if options.target_entropy is None else options.target_entropy,
    }


def on_policy_settings(options: OnPolicyOptions, env: VectorEnv, *, seed: int, device: str) -> dict[str, Any]:
    """Keywords that mean the same in PPO and recurrent PPO; see :func:`shared_settings`.

    Raises:
        ValueError: Rollouts that can't be divided into the mini-batches asked for.
    """
    settings = shared_settings(options, env, seed=seed, device=device)
    settings["policy_kwargs"]["log_std_init"] = float(np.log(options.initial_deviation))
    settings["policy_kwargs"]["optimizer_kwargs"]["eps"] = 1e-5  # SB3's, where no keywords are given
    return {
        **settings,
        "n_steps": options.rollout_steps,
        "n_epochs": options.epochs,
        "batch_size": options.minibatch_size(env.num_envs),
        "gae_lambda": options.gae_lambda,
        "clip_range": options.clip_range,
        "ent_coef": options.entropy_weight,
    }


class LayerNorm:
    """A mix-in for SB3's policies: ``LayerNorm`` after each hidden ``Linear`` of actor and critics.

    SB3's networks have no argument for the modules between their layers. Optimisers are made after them, so that
    replacing a network where it is made is enough.
    """

    actor_network: ClassVar[str] = "latent_pi"
    """What SB3's actor calls its layers."""

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Makes SB3's actor with normalised hidden layers."""
        actor = super().make_actor(features_extractor)  # type: ignore[misc]  # of the policy that this is mixed into
        setattr(actor, self.actor_network, normalised(getattr(actor, self.actor_network)).to(actor.device))
        return actor

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> Any:
        """Makes SB3's critics with normalised hidden layers."""
        critic: Any = super().make_critic(features_extractor)  # type: ignore[misc]
        for index, network in enumerate(critic.q_networks):
            critic.q_networks[index] = normalised(network).to(critic.device)
            critic.add_module(f"qf{index}", critic.q_networks[index])
        return critic


def normalised(network: nn.Module) -> nn.Sequential:
    """A network of the same layers, newly initialised, with ``LayerNorm`` after each hidden ``Linear``.

    Args:
        network: A ``Sequential`` of ``Linear`` and activations.
    """
    layers: list[nn.Module] = []
    for layer in network.children():
        if isinstance(layer, nn.ReLU):
            hidden = layers[-1]
            assert isinstance(hidden, nn.Linear)
            layers.append(nn.LayerNorm(hidden.out_features))
        elif isinstance(layer, nn.Linear):
            layer = nn.Linear(layer.in_features, layer.out_features)
        layers.append(layer)
    return nn.Sequential(*layers)


class ScaledReplayBuffer(ReplayBuffer):
    """SB3's ``ReplayBuffer`` with rewards times ``reward_scale``: environments and reports stay in raw clicks.

    Args:
        buffer_size: Transitions it holds at most, over all users; its memory is taken at once.
        observation_space: Observation space of one user.
        action_space: Action space of one user.
        *args: As in SB3.
        reward_scale: Factor on every reward, > 0.
        **kwargs: As in SB3.

    Raises:
        ValueError: More transitions than fit into this machine's memory.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *args: Any,
        reward_scale: float = 1.0,
        **kwargs: Any,
    ) -> None:
        numbers = 2 * spaces.flatdim(observation_space) + get_action_dim(action_space) + 3
        check_fits_memory(f"buffer_size={buffer_size}", 4 * numbers * buffer_size)
        super().__init__(buffer_size, observation_space, action_space, *args, **kwargs)
        self.reward_scale = reward_scale

    def add(
        self,
        obs: np.ndarray,
        next_obs: np.ndarray,
        action: np.ndarray,
        reward: np.ndarray,
        done: np.ndarray,
        infos: list[dict[str, Any]],
    ) -> None:
        """Stores one step of all users; ``reward`` (num_users,) comes unscaled."""
        super().add(obs, next_obs, action, reward * self.reward_scale, done, infos)
