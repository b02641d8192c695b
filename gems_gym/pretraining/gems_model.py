"""The GeMS network: a variational autoencoder over (slate, clicks), and its loss.

Deffayet, Thonet, Renders, de Rijke, *Generative Slate Recommendation with Reinforcement Learning*, WSDM 2023
(arXiv 2301.08632), section 4.
"""

import math
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_ROWS_AT_A_TIME = 256
"""Rows of item logits made at once: 256 x 1000 float32 stay in a core's second-level cache."""


class GemsVae(nn.Module):
    """The encoder and the decoder.

    Args:
        item_embeddings: float ``(num_items, embedding_size)``.
        frozen: Whether they stay as they are.
        slate_size: Items in a slate.
        latent_size: Numbers in a latent.
        hidden_sizes: Units of the encoder's two hidden layers; the decoder has them in the other order.
        generator: Draws the initial weights (torch's default distribution for linear layers); torch's global
            random state is left alone.
    """

    def __init__(
        self,
        item_embeddings: Tensor,
        frozen: bool,
        slate_size: int,
        latent_size: int,
        hidden_sizes: tuple[int, int],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.slate_size = slate_size
        self.item_embeddings = nn.Parameter(item_embeddings, requires_grad=not frozen)
        slots = slate_size * item_embeddings.shape[1]
        wide, narrow = hidden_sizes
        self.encoder = _mlp((slots + slate_size, wide, narrow, 2 * latent_size), generator)
        self.decoder = _mlp((latent_size, narrow, wide, slots), generator)
        self.click_head = _linear(wide, slate_size, generator)

    def encode(self, slates: Tensor, clicks: Tensor) -> tuple[Tensor, Tensor]:
        """Means and log-variances of the posteriors, ``(N, latent_size)`` each, of int64 slates and float clicks.

        An item id of -1 stands for a slot that showed nothing, whose embedding is zeros.
        """
        embedded = self.item_embeddings[slates] * (slates >= 0)[..., None]
        embedded = embedded.flatten(1)  # (N, slate_size * embedding_size)
        mean, log_variance = self.encoder(torch.cat([embedded, clicks], dim=1)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Slot vectors ``(N, slate_size, embedding_size)`` and click logits ``(N, slate_size)``."""
        hidden = self.decoder[:4](latents)
        return self.decoder[4](hidden).unflatten(1, (self.slate_size, -1)), self.click_head(hidden)

    def loss(
        self,
        slates: Tensor,
        clicks: Tensor,
        noise: Tensor,
        *,
        beta: float,
        click_weight: float,
        drawn: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the items + click_weight · that of the clicks + beta · KL, each a mean over its elements.

        Args:
            slates: int64 ``(N, slate_size)``; -1 where nothing was shown, and nothing has to be decoded.
            clicks: float ``(N, slate_size)``.
            noise: Standard normal, ``(N, latent_size)``.
            beta: Weight of the KL divergence to N(0, I) per latent dimension.
            click_weight: Weight of the clicks' term.
            drawn: int64 ``(D,)``, items drawn at random that stand for the catalogue in the cross-entropy of the items;
                None: the whole catalogue.

        Returns:
            The loss, and its three parts by name.
        """
        mean, log_variance = self.encode(slates, clicks)
        latents = mean + torch.exp(0.5 * log_variance) * noise  # the standard deviation, not the variance
        slots, click_logits = self.decode(latents)
        shown = slates >= 0
        parts = {
            "items": item_cross_entropy(slots[shown], self.item_embeddings, slates[shown], drawn),
            "clicks": functional.binary_cross_entropy_with_logits(click_logits[shown], clicks[shown]),
            "kl": kl_to_standard_normal(mean, log_variance).mean(),
        }
        return parts["items"] + click_weight * parts["clicks"] + beta * parts["kl"], parts


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) || N(0, 1)) in nats, per element."""
    return 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance)


def item_cross_entropy(
    slots: Tensor, item_embeddings: Tensor, items: Tensor, drawn: Tensor | None = None
) -> Tensor:
    """Mean cross-entropy of items under a softmax over slot vector · item embedding, all items of the catalogue.

    As published, the embeddings get no gradient through the product. With ``drawn`` it is an estimate: the sum over all
    other items is that over the drawn ones, times how many each stands for (Bengio and Senécal, "Adaptive importance
    sampling to accelerate training of a neural probabilistic language model", IEEE Transactions on Neural Networks
    2008, with uniform draws).

    Args:
        slots: ``(N, embedding_size)``.
        item_embeddings: ``(num_items, embedding_size)``.
        items: int64 ``(N,)``.
        drawn: int64 ``(D,)``, items drawn uniformly; None: the whole catalogue.
    """
    arguments = slots, item_embeddings.detach(), items, drawn
    found: Tensor = _ItemCrossEntropy.apply(*arguments)  # type: ignore[no-untyped-call]
    return found


class _ItemCrossEntropy(torch.autograd.Function):
    """Loss and gradient in one pass, some rows at a time: the logits are written once and never leave the cache.

    Left to autograd, the N x num_items logits go through memory several times, which takes about three times as long.
    """

    @staticmethod
    def forward(
        ctx: Any, slots: Tensor, item_embeddings: Tensor, items: Tensor, drawn: Tensor | None
    ) -> Tensor:
        total = slots.new_zeros(())
        gradient = torch.empty_like(slots)
        others = item_embeddings if drawn is None else item_embeddings[drawn]
        transposed = others.T.contiguous()
        for rows in torch.arange(len(slots)).split(_ROWS_AT_A_TIME):
            span = slice(int(rows[0]), int(rows[-1]) + 1)
            wanted = item_embeddings[items[span]]  # (rows, embedding_size)
            wanted_logits = (slots[span] * wanted).sum(dim=1, keepdim=True)
            logits = slots[span] @ transposed
            if drawn is not None:
                logits += math.log(len(item_embeddings) / len(drawn))
                logits.masked_fill_(drawn == items[span, None], -math.inf)
            peak = logits.amax(dim=1, keepdim=True)
            if drawn is not None:
                peak = torch.maximum(peak, wanted_logits)
            weights = logits.sub_(peak).exp_()
            sums = weights.sum(dim=1, keepdim=True)
            expected = weights @ others
            if drawn is not None:  # the wanted item is none of the others
                own = (wanted_logits - peak).exp()
                sums, expected = sums + own, expected + own * wanted
            total += (sums.log() + peak - wanted_logits).sum()
            # d/dq of (log-sum-exp - q · e) is the expected embedding less the wanted one
            gradient[span] = expected / sums - wanted
        ctx.save_for_backward(gradient.div_(len(slots)))
        return total / len(slots)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0], None, None, None


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    # its own initialisation draws from the global state
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    bound = inputs**-0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -bound, bound, generator=generator)
    return cast(nn.Linear, layer)


def _mlp(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [_linear(inputs, outputs, generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
