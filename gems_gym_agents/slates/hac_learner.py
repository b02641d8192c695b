"""HAC while it learns, in torch; the equations are in :mod:`gems_gym_agents.slates.hac`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gems_gym_agents.actors import network_from_modules
from gems_gym_agents.slates.networks import initialise, numpy_of, perceptron
from gems_gym_agents.slates.options import HACOptions
from gems_gym_agents.slates.policies import HyperActionPolicy
from gems_gym_agents.slates.replay_learner import ReplayLearner, descend, follow
from gems_gym_agents.slates.sessions import Chooser, with_random_items


class HyperActor(nn.Module):
    """The actor, and the item embeddings that make slates of its hyper-actions.

    Args:
        belief_size: Numbers in a belief.
        num_items: Items.
        slate_size: Positions of a slate.
        options: The settings.
    """

    def __init__(self, belief_size: int, num_items: int, slate_size: int, options: HACOptions) -> None:
        super().__init__()
        self.slate_size = slate_size
        self.items = nn.Parameter(torch.empty(num_items, options.embedding_size))
        self.query = perceptron(belief_size, options.hidden_units, options.embedding_size)

    def slates(self, hyper_actions: Tensor) -> Tensor:
        """Effect-actions, int64 ``(batch, slate_size)``."""
        return (hyper_actions @ self.items.T).topk(self.slate_size, dim=1).indices

    def hyper_actions(self, slates: Tensor) -> Tensor:
        """ẑ of slates, ``(batch, embedding_size)``."""
        return self.items[slates].mean(1)


class HACLearner(ReplayLearner[HACOptions]):
    """See :class:`~gems_gym_agents.slates.replay_learner.ReplayLearner`."""

    def make(self, seed: int) -> Mapping[str, Any]:
        """Actor and critic, and their slow copies."""
        self.actor = HyperActor(self.belief_size, self.num_items, self.slate_size, self.options)
        self.critic = perceptron(self.belief_size + self.options.embedding_size, self.options.hidden_units, 1)
        initialise(nn.ModuleList([self.actor, self.critic]), seed)
        self.target_actor = copy.deepcopy(self.actor).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        learned = {"critic": self.critic, "actor": self.actor, "behaviour": self.actor}
        self.optimizers = {
            name: torch.optim.Adam(
                module.parameters(), lr=getattr(self.options, f"{name}_learning_rate"), fused=True
            )
            for name, module in learned.items()
        }
        return {
            "actor": self.actor,
            "critic": self.critic,
            "target_actor": self.target_actor,
            "target_critic": self.target_critic,
            **{f"{name}_optimizer": one for name, one in self.optimizers.items()},
        }

    def chooser(self, done: float) -> Chooser:
        """Shows the slates of noisy hyper-actions, with random items among them, fewer as the training goes on."""
        policy, share, noise = self.policy(), self.options.random_share(done), self.options.hyper_noise
        return lambda beliefs, rngs: with_random_items(
            policy.noisy_slates(beliefs, noise, rngs), share, self.num_items, rngs
        )

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Of the critic, then of the actor by it, then of the actor by clicks."""
        losses = {}
        for name, loss in (
            ("critic", self.critic_loss), ("actor", self.actor_loss), ("behaviour", self.behaviour_loss)
        ):  # fmt: skip
            value = loss(batch)
            descend(self.optimizers[name], value)
            losses[f"{name}_loss"] = value.item()
        follow(self.target_actor, self.actor, self.options.tau)
        follow(self.target_critic, self.critic, self.options.tau)
        return losses

    def critic_loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Of values of slates that were shown."""
        with torch.no_grad():
            target, next_beliefs = self.target_actor, batch["next_beliefs"]
            following = target.hyper_actions(target.slates(target.query(next_beliefs)))
            later = _values(self.target_critic, next_beliefs, following)
            due = batch["rewards"] + self.options.gamma * batch["continues"] * later
            shown = self.actor.hyper_actions(batch["slates"])
        return functional.mse_loss(_values(self.critic, batch["beliefs"], shown), due)

    def actor_loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Of what the critic thinks of hyper-actions, and of how far they are from those of their slates."""
        chosen = self.actor.query(batch["beliefs"])
        aligned = functional.mse_loss(self.actor.hyper_actions(self.actor.slates(chosen)), chosen)
        worth = _values(self.critic, batch["beliefs"], chosen).mean()
        return self.options.hyper_weight * aligned - worth

    def behaviour_loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Of clicks on what was shown."""
        chosen = self.actor.query(batch["beliefs"])
        scores = torch.einsum("be,bse->bs", chosen, self.actor.items[batch["slates"]])
        return functional.binary_cross_entropy_with_logits(scores, batch["clicks"])

    def policy(self) -> HyperActionPolicy:
        """The policy as it is now, without exploration."""
        return HyperActionPolicy(
            {"query": network_from_modules([self.actor.query])},
            numpy_of(items=self.actor.items, query_bias=torch.zeros(self.num_items)),
            self.slate_size,
            self.made_by,
        )


def _values(critic: nn.Module, beliefs: Tensor, hyper_actions: Tensor) -> Tensor:
    """Q(s, z), ``(batch,)``."""
    values: Tensor = critic(torch.cat([beliefs, hyper_actions], dim=1)).squeeze(1)
    return values
