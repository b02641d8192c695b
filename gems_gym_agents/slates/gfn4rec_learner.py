"""GFN4Rec while it learns, in torch; the equations are in :mod:`gems_gym_agents.slates.gfn4rec`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gems_gym_agents.actors import network_from_modules
from gems_gym_agents.slates.networks import initialise, numpy_of, perceptron
from gems_gym_agents.slates.options import GFN4RecOptions
from gems_gym_agents.slates.policies import ItemByItemPolicy
from gems_gym_agents.slates.replay_learner import ReplayLearner, descend
from gems_gym_agents.slates.sessions import Chooser, Sessions


class FlowNetwork(nn.Module):
    """What follows a belief and a slate's beginning: the probabilities of the next item, and the flow.

    Args:
        belief_size: Numbers in a belief.
        num_items: Items.
        slate_size: Positions of a slate.
        options: The settings.
    """

    def __init__(self, belief_size: int, num_items: int, slate_size: int, options: GFN4RecOptions) -> None:
        super().__init__()
        size, hidden = options.embedding_size, options.hidden_units
        self.items = nn.Parameter(torch.empty(num_items, size))
        self.query_bias = nn.Parameter(torch.zeros(num_items))
        self.query = perceptron(belief_size + slate_size * size, hidden, size)
        self.flow = perceptron(belief_size + slate_size * size, hidden, 1)

    def forward(self, beliefs: Tensor, slates: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of P of each item of slates, ``(batch, slate_size)``, and of F, ``(batch, slate_size + 1)``."""
        slate_size = slates.shape[1]
        # [k, j]: whether position j is filled once k are
        filled = torch.ones(slate_size + 1, slate_size, dtype=torch.bool).tril(-1)
        shown = self.items[slates][:, None] * filled[..., None]  # (batch, slate_size + 1, slate_size, size)
        seen = beliefs[:, None].expand(-1, slate_size + 1, -1)
        beginnings = torch.cat([seen, shown.flatten(2)], dim=2)
        scores = self.query(beginnings[:, :-1]) @ self.items.T + self.query_bias
        used = torch.zeros(scores.shape, dtype=torch.bool)
        used.scatter_(2, slates[:, None].expand(-1, slate_size, -1), filled[:-1].expand(len(slates), -1, -1))
        logs = scores.masked_fill(used, -torch.inf).log_softmax(2)
        return logs.gather(2, slates[..., None]).squeeze(2), self.flow(beginnings).squeeze(2)


class GFN4RecLearner(ReplayLearner[GFN4RecOptions]):
    """See :class:`~gems_gym_agents.slates.replay_learner.ReplayLearner`."""

    def make(self, seed: int) -> Mapping[str, Any]:
        """The network of flows and probabilities."""
        self.network = FlowNetwork(self.belief_size, self.num_items, self.slate_size, self.options)
        initialise(self.network, seed)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=self.options.learning_rate, fused=True
        )
        return {"network": self.network, "optimizer": self.optimizer}

    def chooser(self, done: float) -> Chooser:
        """Draws slates."""
        return self.policy().draw

    def rows(self, one: Sessions) -> dict[str, NDArray[Any]]:
        """Beliefs, slates and their rewards."""
        nothing = np.zeros(one.beliefs.shape[:2], np.float32)  # is expected after a session
        return {
            "beliefs": one.beliefs[:, :-1][one.playing],
            "slates": one.actions[:, :-1][one.playing],
            "rewards": one.returns(self.options.gamma, nothing)[one.playing],
        }

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Of both networks."""
        balance, reward = self.losses(**batch)
        descend(self.optimizer, balance + reward)
        return {"balance_loss": balance.item(), "reward_loss": reward.item()}

    def losses(self, beliefs: Tensor, slates: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor]:
        """How far flows are from balance on the way, and from the rewards at its end; see the module's equations."""
        options = self.options
        logs, flows = self.network(beliefs, slates)
        # P as a probability: without an offset the logarithm's gradient is still that of the softmax
        forward = (logs.exp() + options.forward_offset).log() if options.forward_offset else logs
        unbalanced = flows[:, :-1] + forward + options.flow_offset - flows[:, 1:]
        missed = flows[:, -1] + options.flow_offset - (rewards + options.reward_smoothing).log()
        return unbalanced.square().mean(), missed.square().mean()

    def policy(self) -> ItemByItemPolicy:
        """The policy as it is now, without exploration."""
        return ItemByItemPolicy(
            {"query": network_from_modules([self.network.query])},
            numpy_of(items=self.network.items, query_bias=self.network.query_bias),
            self.slate_size,
            self.made_by,
        )
