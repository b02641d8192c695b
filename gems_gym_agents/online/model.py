"""SB3's SAC as the recipe has it: what it begins with, policy with layer normalisation, actor exported to NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from stable_baselines3 import SAC
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.sac import policies
from torch import nn

from gems_gym.artifacts import same_content
from gems_gym.policies.actor import Actor
from gems_gym.trained_agents import open_trained_agent
from gems_gym.user_splits import user_seeds
from gems_gym_agents.actors import actor_from_modules
from gems_gym_agents.layers import layers_of
from gems_gym_agents.online.options import SACOptions
from gems_gym_agents.online.settings import (
    LayerNorm,
    ScaledReplayBuffer,
    entropy_settings,
    off_policy_settings,
)


class LayerNormSACPolicy(LayerNorm, policies.SACPolicy):
    """SB3's ``SACPolicy`` with ``LayerNorm`` after each hidden ``Linear`` (before its activation), in all networks.

    It keeps critics from running away on belief observations. Takes the arguments of
    :class:`stable_baselines3.sac.policies.SACPolicy` and is given to SB3 as a class:
    ``SAC(LayerNormSACPolicy, env, policy_kwargs={"net_arch": [128, 128]})``.

    Layer normalisation: Ba, Kiros and Hinton, 2016 (arXiv 1607.06450).
    """


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
            ("belief", getattr(layer, "encoder", getattr(layer, "belief", None)), agent.belief),
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
    policy_class: type[policies.SACPolicy] = LayerNormSACPolicy,
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
        seed: Seed of networks, exploration and batches; and of the users, through the training split.
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


def export_actor(model: Any, metadata: dict[str, Any] | None = None) -> Actor:
    """Copies the deterministic policy of a SAC or TQC model (or one of SB3's own making) into NumPy.

    Args:
        model: A model whose actor acts on what its features extractor returns; the policy starts there.
        metadata: JSON-able values to keep with it.

    Returns:
        An actor whose ``act`` agrees with ``model.predict(observations, deterministic=True)``.
    """
    return actor_from_modules([model.actor.latent_pi, model.actor.mu, nn.Tanh()], metadata=metadata)
