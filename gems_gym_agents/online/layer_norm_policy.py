"""SB3's SAC policy with layer normalisation, which keeps critics from running away on belief observations."""

from __future__ import annotations

from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, create_mlp, get_actor_critic_arch
from stable_baselines3.sac.policies import Actor, SACPolicy
from torch import nn


class LayerNormSACPolicy(SACPolicy):
    """``SACPolicy`` with ``LayerNorm`` after each hidden ``Linear`` (before its activation) in actor and critics.

    Takes the arguments of :class:`stable_baselines3.sac.policies.SACPolicy` and is given to SB3 as a class:
    ``SAC(LayerNormSACPolicy, env, policy_kwargs={"net_arch": [128, 128]})``.

    Layer normalisation: Ba, Kiros and Hinton, 2016 (arXiv 1607.06450).
    """

    critic_class: type[ContinuousCritic] = ContinuousCritic

    def make_actor(self, features_extractor: BaseFeaturesExtractor | None = None) -> Actor:
        """Makes SB3's actor with normalised hidden layers."""
        actor = super().make_actor(features_extractor)
        # SB3's Actor has no argument for the modules between its layers, but its create_mlp has. The optimiser is made
        # after this, so that replacing the network here is enough.
        layers = create_mlp(
            actor.features_dim, -1, actor.net_arch, actor.activation_fn, post_linear_modules=[nn.LayerNorm]
        )
        actor.latent_pi = nn.Sequential(*layers).to(self.device)
        return actor

    def make_critic(self, features_extractor: BaseFeaturesExtractor | None = None) -> ContinuousCritic:
        """Makes SB3's critics with normalised hidden layers."""
        settings = self._update_features_extractor(self.critic_kwargs, features_extractor)
        critic = self.critic_class(**settings).to(self.device)
        _, architecture = get_actor_critic_arch(self.net_arch)
        for index, network in enumerate(critic.q_networks):
            inputs = next(layer.in_features for layer in network.modules() if isinstance(layer, nn.Linear))
            layers = create_mlp(
                inputs, 1, architecture, self.activation_fn, post_linear_modules=[nn.LayerNorm]
            )
            critic.q_networks[index] = nn.Sequential(*layers).to(self.device)
            critic.add_module(f"qf{index}", critic.q_networks[index])
        return critic
