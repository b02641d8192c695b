"""Clicks predicted from beliefs: the head that beliefs are trained through, a probe of trained ones, and measures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional

from gems_gym.common.threads import one_thread

MANY_ITEMS = 2**15
"""Of more items than that, only those in a batch go through the item tower."""

_PREDICTED_TOGETHER = 10_000
BATCH_SIZE, _LEARNING_RATE = 1_024, 1e-2


class ClickHead(nn.Module):
    """A position-based click model on top of beliefs.

    The probability of a click is ``examination(position) * relevance(belief, item)``, as in the position-based model of
    Craswell et al. (WSDM 2008). Relevance is the sigmoid of a two-tower score: an MLP of the belief times an MLP of the
    item's embedding, plus a bias of each. The item tower runs once over the catalogue, not once per shown item.

    Args:
        belief_size: Numbers in a belief.
        embedding_size: Numbers in an item embedding.
        slate_size: Positions.
        num_features: Numbers that the towers meet in.
        num_hidden: Hidden units of each tower.
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


def click_loss(log_probabilities: Tensor, clicks: Tensor, shown: Tensor) -> Tensor:
    """Binary cross-entropy, mean over positions that showed an item, from log-probabilities of clicks."""
    # exp(-1e-6) is the float32 number nearest 1 that leaves a usable log(1 - p).
    bounded = log_probabilities.clamp(max=-1e-6)
    likelihoods = torch.where(clicks > 0, bounded, torch.log(-torch.expm1(bounded)))
    return -(likelihoods * shown).sum() / shown.sum()


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


class ClickProbe:
    """A click head on beliefs and the simulator's own item embeddings, so that it measures nothing but the beliefs.

    Args:
        item_embeddings: The simulator's own, float ``(num_items, D)``: privileged.
        belief_size: Numbers in a belief.
        slate_size: Items in a slate.
        seed: Seed of the initial weights and the batches; torch's global random state is left alone.
    """

    def __init__(
        self, item_embeddings: NDArray[np.floating], belief_size: int, slate_size: int, seed: int
    ) -> None:
        scaled = item_embeddings / (item_embeddings.std() or 1.0)
        self._items = torch.from_numpy(scaled.astype(np.float32))
        self._generator = torch.Generator().manual_seed(seed)
        # Made without memory first: torch's own initialisation would draw from the global generator.
        with torch.device("meta"):
            head = ClickHead(belief_size, scaled.shape[1], slate_size)
        self._head = head.to_empty(device="cpu")
        draw_linear_weights(self._head, self._generator)
        with torch.no_grad():
            self._head.examination.fill_(1.0)

    def fit(
        self,
        beliefs: NDArray[np.float32],
        slates: NDArray[np.integer],
        clicks: NDArray[np.integer],
        batches: int = 1_000,
    ) -> None:
        """Trains the head.

        Args:
            beliefs: float32 ``(N, belief_size)`` before each slate.
            slates: Item ids ``(N, slate_size)``; -1 where nothing was shown.
            clicks: ``(N, slate_size)``, 0 or 1.
            batches: Updates, each on 1,024 slates drawn with replacement.
        """
        states, shown = torch.from_numpy(beliefs), torch.from_numpy(slates.astype(np.int64))
        clicked = torch.from_numpy(clicks.astype(np.float32))
        optimizer = torch.optim.Adam(self._head.parameters(), lr=_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, batches)
        with one_thread():
            for _ in range(batches):
                rows = torch.randint(len(states), (BATCH_SIZE,), generator=self._generator)
                predicted = self._log_probabilities(states[rows], shown[rows])
                loss = click_loss(predicted, clicked[rows], shown[rows] >= 0)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    @torch.no_grad()
    def predict(self, beliefs: NDArray[np.float32], slates: NDArray[np.integer]) -> NDArray[np.float32]:
        """Click probabilities, float32 ``(N, slate_size)``, from arrays as :meth:`fit` takes them.

        Where nothing was shown they mean nothing.
        """
        states, shown = torch.from_numpy(beliefs), torch.from_numpy(slates.astype(np.int64))
        with one_thread():
            parts = zip(states.split(_PREDICTED_TOGETHER), shown.split(_PREDICTED_TOGETHER), strict=True)
            return torch.cat([self._log_probabilities(*part).exp() for part in parts]).numpy()

    def _log_probabilities(self, beliefs: Tensor, slates: Tensor) -> Tensor:
        if len(self._items) > MANY_ITEMS:
            features = self._head.item_features(self._items[slates])
        else:
            features = self._head.item_features(self._items)[slates]
        found: Tensor = self._head(beliefs, features)
        return found


def log_loss(probabilities: NDArray[np.floating], clicks: NDArray[np.integer]) -> float:
    """Mean negative log-likelihood of the clicks, nats a position; probabilities are kept 1e-7 away from 0 and 1."""
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.where(clicks > 0, np.log(clipped), np.log1p(-clipped)).mean())


def auc(scores: NDArray[np.floating], clicks: NDArray[np.integer]) -> float | None:
    """Probability that a clicked position has a higher score than one without a click; equal scores count half.

    The Mann-Whitney form of the area under the ROC curve. None where all or none was clicked.
    """
    clicked = clicks.ravel() > 0
    positives = int(clicked.sum())
    negatives = clicked.size - positives
    if positives == 0 or negatives == 0:
        return None
    rank_sum = float(rankdata(scores.ravel())[clicked].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def click_report(
    predicted: NDArray[np.floating],
    clicks: NDArray[np.integer],
    truth: NDArray[np.floating] | None,
    policy: NDArray[np.integer],
    policy_names: Sequence[str],
    shown: NDArray[np.bool_] | None = None,
) -> dict[str, dict[str, float | int | None]]:
    """Measures predictions, over all sessions and for each logging policy.

    Args:
        predicted: ``(num_sessions, ...)`` predicted click probabilities.
        clicks: Same shape, 0 or 1.
        truth: Same shape, the simulator's click probabilities: what a perfect model would predict. None: not known.
        policy: ``(num_sessions,)`` index into ``policy_names``.
        policy_names: Who showed the slates.
        shown: Same shape as the clicks: what counts, as an item was shown there. None: all.

    Returns:
        For "all" and every policy with sessions here: ``sessions``, ``log_loss`` and ``auc`` of the prediction,
        ``log_loss_truth`` and ``auc_truth`` of the simulator's own probabilities, and ``log_loss_base``, that of the
        group's own click rate predicted everywhere (its AUC is one half). Without the truth there are none of it.
    """
    groups = {"all": np.ones(len(policy), dtype=np.bool_)}
    groups |= {name: policy == index for index, name in enumerate(policy_names)}
    report: dict[str, dict[str, float | int | None]] = {}
    for name, chosen in groups.items():
        counted = chosen.reshape(-1, *[1] * (clicks.ndim - 1)) & (True if shown is None else shown)
        if counted.any():
            counted = np.broadcast_to(counted, clicks.shape)
            seen, likely = clicks[counted], predicted[counted]
            report[name] = {
                "sessions": int(chosen.sum()),
                "log_loss": log_loss(likely, seen),
                "log_loss_base": log_loss(np.full(seen.shape, seen.mean()), seen),
                "auc": auc(likely, seen),
            }
            if truth is not None:
                known = truth[counted]
                report[name] |= {"log_loss_truth": log_loss(known, seen), "auc_truth": auc(known, seen)}
    return report
