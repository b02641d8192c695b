"""SB3's algorithms as the recipe has them: layer normalisation, scaled rewards, actors exported to NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BaseModel, ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.sac import policies
from torch import nn

from gems_gym.artifacts import same_content
from gems_gym.common.machine import check_fits_memory
from gems_gym.policies.actor import Actor
from gems_gym.trained_agents import open_trained_agent
from gems_gym.user_splits import user_seeds
from gems_gym_agents.actors import actor_from_modules
from gems_gym_agents.online.options import (
    EntropyOptions,
    OffPolicyOptions,
    OnlineOptions,
    OnPolicyOptions,
    SACOptions,
)
from gems_gym_agents.online.vec_env import GymnasiumVecEnv, layers_of


class LayerNormSACPolicy(policies.SACPolicy):
    """SB3's ``SACPolicy`` with ``LayerNorm`` after each hidden ``Linear`` (before its activation), in all networks.

    It keeps critics from running away on belief observations. Takes the arguments of
    :class:`stable_baselines3.sac.policies.SACPolicy` and is given to SB3 as a class:
    ``SAC(LayerNormSACPolicy, env, policy_kwargs={"net_arch": [128, 128]})``.

    Layer normalisation: Ba, Kiros and Hinton, 2016 (arXiv 1607.06450).
    """

    critic_class: type[ContinuousCritic] = ContinuousCritic

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> policies.Actor:
        """Makes SB3's actor with normalised hidden layers."""
        actor = super().make_actor(features_extractor)
        actor.latent_pi = normalised(actor.latent_pi).to(self.device)
        return actor

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        """Makes SB3's critics with normalised hidden layers."""
        settings = self._update_features_extractor(self.critic_kwargs, features_extractor)
        critic = self.critic_class(**settings).to(self.device)
        normalise_critics(critic)
        return critic


def normalised(network: nn.Module) -> nn.Sequential:
    """A network of the same layers, newly initialised, with ``LayerNorm`` after each hidden ``Linear``.

    SB3's networks have no argument for the modules between their layers. Optimisers are made after them, so that
    replacing a network in ``make_actor`` or ``make_critic`` is enough.

    Args:
        network: A ``Sequential`` of ``Linear`` and activations.
    """
    layers: list[nn.Module] = []
    for layer in network.children():
        if isinstance(layer, nn.ReLU):  # what is before it is hidden
            layers.append(nn.LayerNorm(layers[-1].out_features))  # type: ignore[arg-type]
        elif isinstance(layer, nn.Linear):
            layer = nn.Linear(layer.in_features, layer.out_features)
        layers.append(layer)
    return nn.Sequential(*layers)


def normalise_critics(critic: Any) -> None:
    """Replaces all critics by normalised ones."""
    for index, network in enumerate(critic.q_networks):
        critic.q_networks[index] = normalised(network).to(critic.device)
        critic.add_module(f"qf{index}", critic.q_networks[index])


class ScaledReplayBuffer(ReplayBuffer):
    """SB3's ``ReplayBuffer`` with rewards times ``reward_scale``: environments and reports stay in raw clicks.

    Args:
        buffer_size: Transitions it holds at most, over all users; its memory is taken at once.
        observation_space: Of one user.
        action_space: Of one user.
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
        numbers = 2 * spaces.flatdim(observation_space) + spaces.flatdim(action_space) + 3
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


class HeldStartSAC(SAC):
    """SB3's SAC, each of whose first random actions is held for a session of its user."""

    _held: np.ndarray  # (num_users, action_size)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        action, buffer_action = super()._sample_action(learning_starts, action_noise, n_envs)
        if self.num_timesteps >= learning_starts:
            return action, buffer_action
        begins = self.env.session_steps == 0  # type: ignore[union-attr]  # ours has it; all begin at the first
        self._held = action if begins.all() else np.where(begins[:, None], action, self._held)
        return self._held, self._held  # in Box(-1, 1), where SB3 scales nothing


class GuidedSAC(SAC):
    """SB3's SAC that begins as another policy.

    Its first actions are that policy's, with noise. Before its first update the actor is fitted to the policy's
    actions on the beliefs that were met, and the critics to what the policy earns there.

    Attributes:
        guide: The policy; set it before learning.
    """

    guide: Actor

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.num_timesteps >= learning_starts:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        latents = self.guide(self._last_obs)  # type: ignore[arg-type]  # of a flat Box
        noise = self.action_space.np_random.standard_normal(latents.shape)
        actions = np.clip(latents + _GUIDE_NOISE * noise, -1.0, 1.0).astype(np.float32)
        return actions, actions  # in Box(-1, 1), where SB3 scales nothing

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Updates the networks; see SB3."""
        if self._n_updates == 0:
            self._learn_from_guide(batch_size)
        super().train(gradient_steps, batch_size)

    def _learn_from_guide(self, batch_size: int) -> None:
        assert self.replay_buffer is not None
        spread = self.actor.log_std
        assert isinstance(spread, nn.Linear)
        with torch.no_grad():
            spread.weight.zero_()
            spread.bias.fill_(float(np.log(_GUIDE_NOISE)))
        for _ in range(_GUIDED_UPDATES):
            batch = self.replay_buffer.sample(batch_size)
            means, _, _ = self.actor.get_action_dist_params(batch.observations)
            _minimise(nn.functional.mse_loss(torch.tanh(means), self._guided(batch.observations)), self.actor)
            with torch.no_grad():
                following = self._guided(batch.next_observations)
                values = torch.cat(self.critic_target(batch.next_observations, following), dim=1)
                least = values.min(dim=1, keepdim=True).values
                targets = batch.rewards + (1 - batch.dones) * self.gamma * least
            values = torch.cat(self.critic(batch.observations, batch.actions), dim=1)
            _minimise(nn.functional.mse_loss(values, targets.expand_as(values)), self.critic)
            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)

    def _guided(self, observations: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(self.guide(observations.cpu().numpy()), device=self.device)


_GUIDE_NOISE = 0.2
"""Of the guide's actions and, before its tanh, of the actor that is fitted to them: a standard deviation."""
_GUIDED_UPDATES = 2_000


def _minimise(loss: torch.Tensor, model: BaseModel) -> None:
    model.optimizer.zero_grad()
    loss.backward()
    model.optimizer.step()


def find_guide(start_from: str, env: VectorEnv) -> Actor:
    """Read the policy that SAC begins as.

    Args:
        start_from: See :class:`~gems_gym_agents.online.options.SACOptions`.
        env: What is learned in.

    Raises:
        FileNotFoundError: No trained agent there.
        ValueError: An agent whose policy is no network from beliefs to latents, or that acts through another ranker or
            belief than the environment.
    """
    agent = open_trained_agent(start_from)
    if not isinstance(agent.policy, Actor):
        raise ValueError(
            f"start_from={start_from!r} shows slates; give an agent that acts in latents, such as its clone"
        )
    for layer in layers_of(env):
        for kind, own, part in (
            ("ranker", getattr(layer, "ranker", None), agent.ranker),
            ("belief", getattr(layer, "encoder", None), agent.belief),
        ):
            if own is not None and (part is None or not same_content(own, part)):
                raise ValueError(
                    f"start_from={start_from!r} acts through another {kind} than the environment has"
                )
    return agent.policy


def make_sac(
    options: SACOptions,
    env: VectorEnv,
    *,
    seed: int,
    device: str = "cpu",
    policy_class: type[LayerNormSACPolicy] = LayerNormSACPolicy,
    replay_buffer_class: type[ScaledReplayBuffer] = ScaledReplayBuffer,
    replay_buffer_kwargs: Mapping[str, Any] | None = None,
    policy_kwargs: Mapping[str, Any] | None = None,
    guide: Actor | None = None,
) -> SAC:
    """Makes SB3's SAC for a vector environment, seeded, with users of the training split.

    Seeds the global random generators, as SB3 does (see :func:`gems_gym_agents.library_state.borrowed_global_state`).

    Args:
        options: The settings.
        env: Box observations (observation_size,), actions Box(-1, 1, (action_size,)), autoreset SAME_STEP.
        seed: Of networks, exploration and batches; and of the users, through the training split.
        device: A torch device.
        policy_class: SB3's policy with layer normalisation.
        replay_buffer_class: Where transitions are kept.
        replay_buffer_kwargs: For it, besides the reward scale.
        policy_kwargs: For SB3's policy, besides what the options say.
        guide: The policy that it begins as, in place of random actions.

    Returns:
        A model whose ``learn`` is ready to be called.
    """
    settings = off_policy_settings(options, env, seed=seed, device=device)
    settings["replay_buffer_kwargs"] |= replay_buffer_kwargs or {}
    settings["policy_kwargs"] |= policy_kwargs or {}
    algorithm = HeldStartSAC if options.hold_random_actions else SAC if guide is None else GuidedSAC
    model = algorithm(
        policy_class if options.layer_norm else policies.SACPolicy,
        tau=options.tau,
        **settings | {"replay_buffer_class": replay_buffer_class},
        **entropy_settings(options),
    )
    if isinstance(model, GuidedSAC) and guide is not None:
        model.guide = guide
    # SB3 has seeded the users with seed, seed + 1, ...; two seeds would then share most of their users.
    settings["env"].seed(user_seeds("training", seed, env.num_envs))
    return model


def shared_settings(options: OnlineOptions, env: VectorEnv, *, seed: int, device: str) -> dict[str, Any]:
    """Keywords that mean the same in every algorithm of SB3.

    Args:
        options: The settings.
        env: See :func:`make_sac`.
        seed: As there.
        device: As there.
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


def entropy_settings(options: EntropyOptions) -> dict[str, Any]:
    """Keywords of algorithms that maximise entropy."""
    return {
        "ent_coef": f"auto_{options.initial_entropy!r}",
        "target_entropy": "auto" if options.target_entropy is None else options.target_entropy,
    }


def on_policy_settings(
    options: OnPolicyOptions, env: VectorEnv, *, seed: int, device: str
) -> dict[str, Any]:
    """Keywords that mean the same in PPO and recurrent PPO; see :func:`shared_settings`.

    Raises:
        ValueError: Rollouts that can't be divided into the mini-batches asked for.
    """
    settings = shared_settings(options, env, seed=seed, device=device)
    settings["policy_kwargs"]["log_std_init"] = float(np.log(options.initial_deviation))
    return {
        **settings,
        "n_steps": options.rollout_steps,
        "n_epochs": options.epochs,
        "batch_size": options.minibatch_size(env.num_envs),
        "gae_lambda": options.gae_lambda,
        "clip_range": options.clip_range,
        "ent_coef": options.entropy_weight,
    }


def export_actor(model: Any, metadata: dict[str, Any] | None = None) -> Actor:
    """Copies the deterministic policy of a SAC or TQC model (or one of SB3's own making) into NumPy.

    Args:
        model: A model whose actor acts on what its features extractor returns; the policy starts there.
        metadata: JSON-able values to keep with it.

    Returns:
        An actor whose ``act`` agrees with ``model.predict(observations, deterministic=True)``.
    """
    return actor_from_modules([model.actor.latent_pi, model.actor.mu, nn.Tanh()], metadata=metadata)


def check_spaces(env: VectorEnv) -> None:
    """Refuses what the online agents cannot learn from, and says which wrapper is missing.

    Raises:
        TypeError: Not a vector environment.
        ValueError: Observations that are no flat Box, or actions other than Box(-1, 1, (n,)).
    """
    if not isinstance(env, VectorEnv):
        raise TypeError(
            f"source={env!r} is a {type(env).__name__}; a gymnasium.vector.VectorEnv was expected"
        )
    observation, action = env.single_observation_space, env.single_action_space
    if not (isinstance(observation, spaces.Box) and len(observation.shape) == 1):
        raise ValueError(
            f"source has the observation space {observation}; a flat Box was expected: "
            "wrap it in VectorBeliefObservation"
        )
    in_unit_box = isinstance(action, spaces.Box) and np.all(action.low == -1.0) and np.all(action.high == 1.0)
    if not in_unit_box or len(action.shape or ()) != 1:
        raise ValueError(
            f"source has the action space {action}; Box(-1, 1, (n,)) was expected: wrap it in VectorLatentAction"
        )
