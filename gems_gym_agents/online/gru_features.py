"""A GRU as stable-baselines3's features extractor: beliefs that are trained with the policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from gems_gym.beliefs import GruBelief
from gems_gym.pretraining.belief import BeliefSettings
from gems_gym.pretraining.gru import GruBeliefModel
from gems_gym_agents.online.layer_norm_policy import LayerNormSACPolicy
from gems_gym_agents.online.session_moments import MomentLayout


class GruFeatures(BaseFeaturesExtractor):
    """Beliefs of the last of some moments in a row, by a GRU that takes in all of them.

    The GRU starts from its state before the first moment, as it was when the moment was recorded, and is unrolled from
    there: gradients reach as many steps back as there are moments (Kapturowski et al., ICLR 2019, "stored state").

    Args:
        observation_space: of one moment.
        layout: of a moment.
        belief: what the GRU starts from, or, if ``pretrained`` is false, what it has the sizes of.
        pretrained: whether it starts from the belief's weights; from random ones otherwise.

    Attributes:
        which: whose of the moments' states is this GRU's.

    Raises:
        ValueError: a belief whose weights are not those of pooled slates.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], layout: MomentLayout, belief: GruBelief, pretrained: bool
    ) -> None:
        super().__init__(observation_space, features_dim=belief.size)
        self.layout, self.catalog_hash = layout, belief.catalog_hash
        self.which = 0
        settings = BeliefSettings(size=belief.size, embedding_size=belief.embedding_size)
        self.gru = GruBeliefModel(belief.num_items, belief.slate_size, settings)
        # SB3 has seeded torch's global generator
        self.gru.initialise(None, torch.Generator().manual_seed(int(torch.randint(2**31, ()))))
        if pretrained:
            load_pooled(self.gru, belief)
        del self.gru.head  # clicks are not predicted here

    def forward(self, observations: Tensor) -> Tensor:
        """``(batch, moments * width)`` to beliefs ``(batch, size)``; rows may end in moments that are none."""
        # (moments, batch, width)
        moments = observations.view(len(observations), -1, self.layout.width).transpose(0, 1)
        embedded = nn.functional.embedding(moments[..., self.layout.slate].long(), self.gru.item_embeddings)
        inputs = self.gru.inputs(embedded, moments[..., self.layout.clicks])
        beliefs = self.gru.beliefs(inputs, initial=moments[0, :, self.layout.state(self.which)])
        last = (moments[..., self.layout.step] >= 0).sum(0) - 1  # (batch,)
        found: Tensor = beliefs[last, torch.arange(len(observations), device=last.device)]
        return found

    def belief(self, header: dict[str, Any] | None = None) -> GruBelief:
        """The GRU as it is now, as a belief encoder that follows whole sessions without torch."""
        return GruBelief(self.gru.tensors(), self.catalog_hash, header)


class GruCritic(ContinuousCritic):
    """SB3's critics, without the gradient of their GRU where an actor is trained, which needs that of the action alone.

    It would be thrown away, but costs a fifth of an update.
    """

    def forward(self, obs: Tensor, actions: Tensor) -> tuple[Tensor, ...]:
        """Values of moments ``(batch, moments * width)`` and actions, one ``(batch, 1)`` from each critic."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not actions.requires_grad):
            features = self.extract_features(obs, self.features_extractor)
        inputs = torch.cat([features, actions], dim=1)
        return tuple(q_network(inputs) for q_network in self.q_networks)


class GruSACPolicy(LayerNormSACPolicy):
    """``LayerNormSACPolicy`` with such critics."""

    critic_class = GruCritic


@torch.no_grad()
def load_pooled(model: GruBeliefModel, belief: GruBelief) -> None:
    """Takes over the weights of a belief encoder that was trained on pooled slates.

    There every slot's weights are one matrix for clicked and one for other items, times a number of the slot.

    Raises:
        ValueError: the weights are no such product.
    """
    tensors = belief.tensors
    weights = tensors["weight_items"].astype(np.float64)  # (2, slate_size, gates, E)
    matrices = weights[:, 0]  # (2, gates, E)
    norms = np.einsum("cge,cge->c", matrices, matrices)
    slots = np.einsum("csge,cge->cs", weights, matrices) / norms[:, None]
    error = np.abs(slots[:, :, None, None] * matrices[:, None] - weights).max()
    if not error <= 1e-4 * np.abs(weights).max():
        raise ValueError(
            "the belief's weights are not those of pooled slates (slate_input='pooled'), which end-to-end training "
            "starts from; pretrain one, or start from random weights with pretrained=False"
        )
    assert model.slot_weights is not None
    for parameter, values in (
        (model.item_embeddings, tensors["item_embeddings"]),
        (model.slot_weights, slots),
        (model.items_to_inputs.weight, matrices.transpose(1, 0, 2).reshape(matrices.shape[1], -1)),
        (model.items_to_inputs.bias, tensors["bias_ih"]),
        (model.clicks_to_inputs.weight, tensors["weight_clicks"].T),
        (model.recurrence.weight, tensors["weight_hh"]),
        (model.recurrence.bias, tensors["bias_hh"]),
    ):
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
