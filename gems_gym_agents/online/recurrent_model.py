"""The networks of recurrent PPO: what its LSTMs take in of a slate and its clicks, and the belief they become."""

from __future__ import annotations

from typing import Any

import torch
from gymnasium import spaces
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from gems_gym.beliefs import GruBelief, LstmBelief
from gems_gym_agents.online.end_to_end_model import MomentLayout
from gems_gym_agents.torch_state import array_of


class SlateFeatures(BaseFeaturesExtractor):
    """Sums of the embeddings of items that were not clicked and of those that were, over the slate's size; and clicks.

    Args:
        observation_space: Observation space of a moment.
        layout: Layout of a moment.
        belief: What the item embeddings start from, or, if ``pretrained`` is false, what they have the sizes of.
        pretrained: Whether they start from the belief's; from random ones otherwise.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], layout: MomentLayout, belief: GruBelief, pretrained: bool
    ) -> None:
        super().__init__(observation_space, features_dim=2 * belief.embedding_size + layout.slate_size)
        self.layout, self.catalog_hash = layout, belief.catalog_hash
        self.embedding = nn.Embedding(belief.num_items, belief.embedding_size)
        if pretrained:
            with torch.no_grad():
                self.embedding.weight.copy_(torch.from_numpy(belief.tensors["item_embeddings"]))

    def forward(self, moments: Tensor) -> Tensor:
        """``(batch, width)`` to ``(batch, 2 * embedding_size + slate_size)``."""
        clicks = moments[:, self.layout.clicks]
        embedded = self.embedding(moments[:, self.layout.slate].long())  # (batch, slate_size, embedding_size)
        clicked = (embedded * clicks[..., None]).mean(1)
        return torch.cat([embedded.mean(1) - clicked, clicked, clicks], dim=1)


def export_lstm(policy: RecurrentActorCriticPolicy, header: dict[str, Any]) -> LstmBelief:
    """The actor's LSTM as a belief encoder that follows complete sessions without torch.

    Args:
        policy: A trained policy with :class:`SlateFeatures`.
        header: What else to record in the file.
    """
    features = policy.features_extractor
    assert isinstance(features, SlateFeatures)
    lstm: Any = policy.lstm_actor  # its parameters have no types
    size, slots = features.embedding.embedding_dim, features.layout.slate_size
    weight = lstm.weight_ih_l0.detach()  # (4 * lstm_size, 2 * size + slots)
    items = weight[:, : 2 * size].reshape(-1, 2, size).transpose(0, 1) / slots  # (2, 4 * lstm_size, size)
    tensors = {
        "item_embeddings": features.embedding.weight,
        "weight_items": items[:, None].expand(-1, slots, -1, -1),
        "weight_clicks": weight[:, 2 * size :].T,
        "weight_hh": lstm.weight_hh_l0,
        "bias": lstm.bias_ih_l0 + lstm.bias_hh_l0,
    }
    arrays = {name: array_of(tensor) for name, tensor in tensors.items()}
    return LstmBelief(arrays, features.catalog_hash, header)
