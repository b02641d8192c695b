"""SlateQ while it learns, in torch; the equations are in :mod:`gems_gym_agents.slates.slateq`."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from gems_gym_agents.actors import network_from_modules
from gems_gym_agents.slates.networks import initialise, numpy_of, perceptron, scores_of
from gems_gym_agents.slates.options import SlateQOptions
from gems_gym_agents.slates.policies import SlateQPolicy
from gems_gym_agents.slates.replay_learner import ReplayLearner, descend, follow
from gems_gym_agents.slates.sessions import Chooser, with_random_items

_LEAST = 1e-6
"""The smallest probability that the click model gives to what happens."""


class SlateQNetwork(nn.Module):
    """The click model, and the values of clicks and of none.

    Args:
        belief_size: Numbers in a belief.
        num_items: Items.
        slate_size: Positions of a slate.
        options: The settings.
    """

    def __init__(self, belief_size: int, num_items: int, slate_size: int, options: SlateQOptions) -> None:
        super().__init__()
        size, hidden = options.embedding_size, options.hidden_units
        self.items = nn.Parameter(torch.empty(num_items, size))
        self.positions = nn.Parameter(torch.ones(slate_size))
        self.interest = perceptron(belief_size, hidden, size)
        self.interest_bias = nn.Parameter(torch.zeros(num_items))
        self.value = perceptron(belief_size, hidden, size)
        # before more is known, a click is worth one click
        self.value_bias = nn.Parameter(torch.ones(num_items))
        self.no_click = perceptron(belief_size, hidden, 1)

    @property
    def propensities(self) -> Tensor:
        """p, that a position is looked at, ``(slate_size,)``."""
        return torch.sigmoid(self.positions)

    def attractiveness(self, beliefs: Tensor, slates: Tensor | None = None) -> Tensor:
        """a(s, i), of a slate's items or of all: ``(batch, slate_size)`` or ``(batch, num_items)``."""
        return torch.sigmoid(scores_of(self.interest(beliefs), self.items, self.interest_bias, slates))

    def click_values(self, beliefs: Tensor, slates: Tensor | None = None) -> Tensor:
        """D(s, i), likewise. The click model alone moves the embeddings."""
        return scores_of(self.value(beliefs), self.items.detach(), self.value_bias, slates)

    def no_click_value(self, beliefs: Tensor) -> Tensor:
        """B(s), ``(batch,)``."""
        value: Tensor = self.no_click(beliefs).squeeze(1)
        return value

    def slate_values(self, beliefs: Tensor, slates: Tensor) -> Tensor:
        """Q(s, A), ``(batch,)``."""
        worth = self.attractiveness(beliefs, slates) * self.click_values(beliefs, slates)
        return self.no_click_value(beliefs) + worth @ self.propensities

    def best_values(self, beliefs: Tensor) -> Tensor:
        """max_A Q(s, A), ``(batch,)``: the best items, each at a position that befits it."""
        worth = self.attractiveness(beliefs) * self.click_values(beliefs)
        propensities = self.propensities.sort(descending=True).values
        return self.no_click_value(beliefs) + worth.topk(len(propensities), dim=1).values @ propensities


class SlateQLearner(ReplayLearner[SlateQOptions]):
    """See :class:`~gems_gym_agents.slates.replay_learner.ReplayLearner`."""

    def make(self, seed: int) -> Mapping[str, Any]:
        """The network and its slow copy."""
        self.network = SlateQNetwork(self.belief_size, self.num_items, self.slate_size, self.options)
        initialise(self.network, seed)
        self.target = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.options.learning_rate, fused=True
        )
        return {
            "network": self.network, "target": self.target, "optimizer": self.optimizer,
        }  # fmt: skip

    def chooser(self, done: float) -> Chooser:
        """Shows the best slates, with random items among them, fewer as the training goes on."""
        policy, share = self.policy(), self.options.random_share(done)
        return lambda beliefs, rngs: with_random_items(policy.slates(beliefs), share, self.num_items, rngs)

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Of click model and values."""
        click_loss, value_loss = self.losses(**batch)
        descend(self.optimizer, click_loss + value_loss)
        follow(self.target, self.network, self.options.tau)
        return {"click_loss": click_loss.item(), "value_loss": value_loss.item()}

    def losses(
        self,
        beliefs: Tensor,
        slates: Tensor,
        clicks: Tensor,
        rewards: Tensor,
        continues: Tensor,
        next_beliefs: Tensor,
        next_slates: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Of the click model and of the values, on some transitions, a row each."""
        chances = self.network.propensities * self.network.attractiveness(beliefs, slates)
        likely = torch.where(clicks > 0.0, chances, 1.0 - chances)  # what happened
        click_loss = -likely.clamp(min=_LEAST).log().mean()
        with torch.no_grad():
            if self.options.target == "sarsa":
                following = self.target.slate_values(next_beliefs, next_slates)
            else:
                following = self.target.best_values(next_beliefs)
            targets = rewards + self.options.gamma * continues * following
        clicked = (clicks * self.network.click_values(beliefs, slates)).sum(1)
        return click_loss, functional.mse_loss(self.network.no_click_value(beliefs) + clicked, targets)

    def policy(self) -> SlateQPolicy:
        """The policy as it is now, without exploration."""
        network = self.network
        return SlateQPolicy(
            {role: network_from_modules([getattr(network, role)]) for role in SlateQPolicy.roles},
            numpy_of(
                items=network.items,
                interest_bias=network.interest_bias,
                value_bias=network.value_bias,
                propensities=network.propensities,
            ),
            self.slate_size,
            self.made_by,
            self.options.slate_search,
        )
