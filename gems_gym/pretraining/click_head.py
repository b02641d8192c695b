"""What a belief is trained through: the probability of a click on each position of a slate, given the belief."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ClickHead(nn.Module):
    """A position-based click model on top of beliefs.

    The probability of a click is ``examination(position) * relevance(belief, item)``, as in the position-based model of
    Craswell et al. (WSDM 2008). Relevance is the sigmoid of a two-tower score: an MLP of the belief times an MLP of the
    item's embedding, plus a bias of each. The item tower runs once over the catalogue, not once per shown item.

    Args:
        belief_size: numbers in a belief.
        embedding_size: numbers in an item embedding.
        slate_size: positions.
        num_features: numbers that the towers meet in.
        num_hidden: hidden units of each tower.
    """

    def __init__(
        self,
        belief_size: int,
        embedding_size: int,
        slate_size: int,
        num_features: int = 32,
        num_hidden: int = 64,
    ) -> None:
        super().__init__()
        self.belief_tower = _tower(belief_size, num_hidden, num_features + 1)
        self.item_tower = _tower(embedding_size, num_hidden, num_features + 1)
        self.examination = nn.Parameter(torch.empty(slate_size))

    def item_features(self, item_embeddings: Tensor) -> Tensor:
        """``(num_items, embedding_size)`` to ``(num_items, num_features + 1)``; the last one is the item's bias."""
        found: Tensor = self.item_tower(item_embeddings)
        return found

    def forward(self, beliefs: Tensor, features: Tensor) -> Tensor:
        """Log-probabilities of clicks.

        Args:
            beliefs: ``(..., belief_size)``.
            features: ``(..., slate_size, num_features + 1)``: :meth:`item_features` of the shown items.

        Returns:
            ``(..., slate_size)``, below 0.
        """
        users = self.belief_tower(beliefs)
        scores = (features[..., :-1] * users[..., None, :-1]).sum(-1)
        relevance = functional.logsigmoid(scores + features[..., -1] + users[..., -1:])
        return relevance + functional.logsigmoid(self.examination)


def click_loss(log_probabilities: Tensor, clicks: Tensor) -> Tensor:
    """Binary cross-entropy, mean over positions, from log-probabilities of clicks."""
    # exp(-1e-6) is the float32 number nearest 1 that leaves a usable log(1 - p).
    bounded = log_probabilities.clamp(max=-1e-6)
    return -torch.where(clicks > 0, bounded, torch.log(-torch.expm1(bounded))).mean()


@torch.no_grad()
def draw_linear_weights(module: nn.Module, generator: torch.Generator) -> None:
    """Draws the weights of all linear layers in a module from U(-1/√inputs, 1/√inputs), in their order."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            bound = part.in_features**-0.5
            for parameter in part.parameters():
                parameter.uniform_(-bound, bound, generator=generator)


def _tower(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
