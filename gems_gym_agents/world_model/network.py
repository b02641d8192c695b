"""The world model while it is learned: a network in torch that predicts every click of a session from those before."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gems_gym.common.compilation import compiled
from gems_gym_agents.user_model.logs import Log

RECENT = 20
"""Clicks that the network remembers one by one."""
AGES = 10
"""Ages of a click, in steps, that it tells apart; the last stands for all greater ones."""
DETECTORS = 4
"""Patterns of recent clicks that it looks for."""
SPAN = 8
"""Steps for which such a pattern may have an effect."""

_LEAST = 0.002
"""Relevance is taken to be in [_LEAST, 1 − _LEAST]."""


class Batch(NamedTuple):
    """Sessions as the network reads them.

    Attributes:
        slates: int64 ``(num_sessions, length + 1, slate_size)``, the first slate at index 0.
        clicks: float32, same shape.
        recent: The last :data:`RECENT` clicks before each step, the newest first: int64
            ``(num_sessions, length, RECENT)``; ``num_items`` where there are fewer.
        ages: How many steps ago they were, from 0, at most ``AGES - 1``; same shape.
        num_clicks: Clicks before each step, int64 ``(num_sessions, length)``.
    """

    slates: Tensor
    clicks: Tensor
    recent: Tensor
    ages: Tensor
    num_clicks: Tensor

    @classmethod
    def of(cls, log: Log, num_items: int) -> "Batch":
        """The sessions of a log."""
        slates = log.slates.astype(np.int64)
        sessions, steps, _ = slates.shape
        recent = np.full((sessions, steps - 1, RECENT), num_items)
        ages = np.full((sessions, steps - 1, RECENT), AGES - 1)
        num_clicks = np.zeros((sessions, steps - 1), np.int64)
        _list_recent(slates, log.clicks, recent, ages, num_clicks)
        clicks = torch.from_numpy(log.clicks.astype(np.float32))
        return cls(
            torch.from_numpy(slates), clicks, *(torch.from_numpy(one) for one in (recent, ages, num_clicks))
        )


class WorldNetwork(nn.Module):
    """Predicts clicks; see :class:`~gems_gym_agents.world_model.model.WorldModel` for what it computes.

    Args:
        embeddings: Where the items start, ``(num_items, size)``.
        labels: Where the groups start: the group of each item, ``(num_items,)``.
        slate_size: Positions of a slate.
    """

    def __init__(self, embeddings: NDArray[np.floating], labels: NDArray[np.int64], slate_size: int) -> None:
        super().__init__()
        size = embeddings.shape[1]
        num_groups = int(labels.max()) + 1
        query = 0.6 * torch.eye(size + 1)
        query[-1, -1] = -3.0
        by_click = 0.8 * torch.exp(-torch.arange(RECENT) / 10)[:, None]
        self.items = nn.Parameter(torch.tensor(embeddings, dtype=torch.float32))
        self.inputs = nn.Parameter(torch.eye(size + 1, size))
        self.gate = nn.Parameter(torch.tensor([0.0] * size + [-2.0]))
        self.start = nn.Parameter(torch.zeros(size))
        self.query = nn.Parameter(query)
        self.tired_query = nn.Parameter(torch.zeros(num_groups, size + 1, size + 1))
        self.examination = nn.Parameter(torch.full((slate_size,), 1.0))
        self.crowding = nn.Parameter(torch.full((slate_size - 1,), -4.0))
        self.membership = nn.Parameter(2.0 * functional.one_hot(torch.tensor(labels), num_groups).float())
        self.by_click = nn.Parameter(by_click * torch.tensor([0.6, 0.8, 1.0, 1.2]))
        self.by_age = nn.Parameter(torch.zeros(AGES, DETECTORS))
        self.detection = nn.Parameter(torch.tensor([-2.0, -3.0, -3.5, -4.0]))
        self.span = nn.Parameter(torch.full((DETECTORS, SPAN), -1.0))

    def with_one(self) -> Tensor:
        """Items' embeddings and a 1 behind them, ``(num_items, size + 1)``."""
        return functional.pad(self.items, (0, 1), value=1.0)

    def crowding_by_count(self) -> Tensor:
        """By how much 0, 1, … items of one group lower the logarithms of all clicks, ``(slate_size + 1,)``."""
        return functional.pad(functional.softplus(self.crowding).cumsum(0), (2, 0))

    def forward(
        self, batch: Batch, membership: Tensor, tiring: bool = True, start: Tensor | None = None
    ) -> Tensor:
        """Probabilities of clicks on all slates but the first.

        Args:
            batch: Sessions.
            membership: Membership of items in groups, ``(num_items, num_groups)``, rows that add up to 1.
            tiring: Whether tiredness changes the query too.
            start: States at the beginning, ``(num_sessions, size)``; the network's own if None.

        Returns:
            ``(num_sessions, length, slate_size)``.
        """
        items = self.with_one()
        states = functional.pad(self._states(batch, items, start), (0, 1), value=1.0)
        tired = self._tiredness(batch, membership)  # (num_sessions, length, num_groups)
        query = states @ self.query
        if tiring:
            by_group = torch.einsum("btd,gde->btge", states, self.tired_query)
            query = query - torch.einsum("btg,btge->bte", 1.0 - torch.exp(-tired), by_group)
        shown = batch.slates[:, 1:]
        groups = membership[shown]  # (num_sessions, length, slate_size, num_groups)
        logits = torch.einsum("btd,btsd->bts", query, items[shown])
        logits = logits - torch.einsum("btg,btsg->bts", tired, groups)
        relevance = _LEAST + (1.0 - 2.0 * _LEAST) * torch.sigmoid(logits)
        return torch.sigmoid(self.examination) * self._uncrowded(groups) * relevance

    def _states(self, batch: Batch, items: Tensor, start: Tensor | None) -> Tensor:
        """The user's state before each slate but the first, ``(num_sessions, length, size)``."""
        gates = torch.sigmoid(items @ self.gate)[batch.slates] * batch.clicks
        # what the clicks on a slate, one after another, keep of the state, and what they add to it
        kept = torch.flip(torch.cumprod(torch.flip(1.0 - gates, [2]), 2), [2])
        added = gates * functional.pad(kept[:, :, 1:], (0, 1), value=1.0)
        moves = torch.einsum("bts,btsd->btd", added, items[batch.slates]) @ self.inputs
        state = self.start if start is None else start
        state = state.expand(len(gates), -1)
        states = []
        for move, keep in zip(moves.unbind(1)[:-1], kept[:, :, 0].unbind(1)[:-1], strict=True):
            state = torch.addcmul(move, keep.unsqueeze(1), state)
            states.append(state)
        return torch.stack(states, dim=1)

    def _tiredness(self, batch: Batch, membership: Tensor) -> Tensor:
        # (num_sessions, length, RECENT, groups)
        members = functional.pad(membership, (0, 0, 0, 1))[batch.recent]
        # (num_sessions, length, RECENT, DETECTORS)
        weights = self.by_click * torch.exp(self.by_age)[batch.ages]
        detected = torch.sigmoid(torch.einsum("btng,btnc->btgc", members, weights) + self.detection)
        effects = detected @ functional.softplus(self.span)  # (num_sessions, length, groups, SPAN)
        length = effects.shape[1]
        later = [functional.pad(effects[..., ago], (0, 0, ago, 0))[:, :length] for ago in range(SPAN)]
        return torch.stack(later).sum(dim=0)

    def _uncrowded(self, groups: Tensor) -> Tensor:
        """The factor by which crowding makes all clicks on a slate less likely, ``(num_sessions, length, 1)``."""
        by_count = self.crowding_by_count()
        counts = groups.sum(dim=2).clamp(max=len(by_count) - 1 - 1e-4)
        below = counts.floor()
        whole = below.long()
        between = (counts - below) * (by_count[whole + 1] - by_count[whole])
        return torch.exp(-(by_count[whole] + between).sum(dim=2, keepdim=True))


def log_likelihood(chances: Tensor, batch: Batch) -> Tensor:
    """Of each slot of all slates but the first, ``(num_sessions, length, slate_size)``."""
    return torch.log(torch.where(batch.clicks[:, 1:] > 0, chances, 1.0 - chances))


@compiled
def _list_recent(
    slates: NDArray[np.int64],
    clicks: NDArray[np.int8],
    recent: NDArray[np.int64],
    ages: NDArray[np.int64],
    num_clicks: NDArray[np.int64],
) -> None:
    """Fill the arrays of a :class:`Batch`."""
    num_sessions, steps, slate_size = slates.shape
    items = np.empty(steps * slate_size, np.int64)
    when = np.empty(steps * slate_size, np.int64)
    for session in range(num_sessions):
        count = 0
        for step in range(steps):
            if step > 0:
                num_clicks[session, step - 1] = count
                for n in range(min(RECENT, count)):
                    recent[session, step - 1, n] = items[count - 1 - n]
                    ages[session, step - 1, n] = min(step - 1 - when[count - 1 - n], AGES - 1)
            for s in range(slate_size):
                if clicks[session, step, s]:
                    items[count] = slates[session, step, s]
                    when[count] = step
                    count += 1
