"""The GRU belief's training: its network, unrolled over complete sessions with a backward pass of our own.

Sessions are long (100 steps) and beliefs small (20 numbers), so ``torch.nn.GRU`` spends its time on bookkeeping: the
backward pass of each step's slice clears an array of the full sequence. Here the factors of the backward recursion
that do not depend on the incoming gradient are computed for all steps at once, which leaves three operations a step:
about three times as fast on a CPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gems_gym.beliefs.gru import GruBelief
from gems_gym.common.checks import Count, Seed, checked_arguments
from gems_gym.pretraining.belief import BELIEF_PRESETS, BeliefModel, BeliefSettings, train_belief
from gems_gym.pretraining.click_prediction import ClickHead
from gems_gym.pretraining.session_log import SessionLog
from gems_gym.pretraining.trainers import Trainer, Upkeep


@checked_arguments
def pretrain_belief(
    log: SessionLog,
    num_items: Count,
    settings: BeliefSettings | None = None,
    *,
    seed: Seed,
    device: str = "cpu",
    progress: bool = True,
    upkeep: Upkeep | None = None,
) -> tuple[GruBelief, dict[str, Any]]:
    """Trains a GRU belief encoder on logged sessions.

    Arguments, results and errors as of :func:`~gems_gym.pretraining.belief.train_belief`; ``settings`` are the default
    preset's if None.
    """
    return train_belief(
        GruBeliefModel,
        log,
        num_items,
        settings or BeliefSettings(),
        seed=seed,
        device=device,
        progress=progress,
        upkeep=upkeep,
    )


class GruBeliefModel(BeliefModel):
    """The GRU while it is trained; what it takes in of an observation goes to its gates."""

    encoder = GruBelief

    def __init__(self, num_items: int, slate_size: int, settings: BeliefSettings) -> None:
        super().__init__(num_items, slate_size, settings, outputs=3 * settings.size)
        self.recurrence = nn.Linear(settings.size, 3 * settings.size)
        self.head = ClickHead(settings.size, settings.embedding_size, slate_size)

    def beliefs(self, inputs: Tensor, initial: Tensor | None = None) -> Tensor:
        """Hidden states, from zeros or from others, ``(sessions, size)``, that get no gradient."""
        found: Tensor = GruUnroll.apply(inputs, self.recurrence.weight, self.recurrence.bias, initial)  # type: ignore[no-untyped-call]
        return found

    def network_tensors(self) -> Mapping[str, Tensor]:
        """The recurrent weights."""
        return {"weight_hh": self.recurrence.weight, "bias_hh": self.recurrence.bias}


class GruUnroll(torch.autograd.Function):
    """Hidden states of a GRU, as a function of the gates' inputs.

    With ``g`` the gates' inputs in PyTorch's order (r, z, n)::

        r = sigmoid(g_r + W_hr h + b_hr)
        z = sigmoid(g_z + W_hz h + b_hz)
        n = tanh(g_n + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    ``GruUnroll.apply(gates, weight_hh, bias_hh)`` takes (steps, sessions, 3 * size), (3 * size, size) and (3 * size,)
    and returns (steps, sessions, size). The GRU starts from zeros, or from a fourth argument (sessions, size), which
    gets no gradient.
    """

    @staticmethod
    def forward(
        ctx: Any, gates: Tensor, weight_hh: Tensor, bias_hh: Tensor, initial: Tensor | None = None
    ) -> Tensor:
        """Runs the recursion, step after step."""
        steps, sessions, width = gates.shape
        size = width // 3
        hidden = gates.new_zeros(steps + 1, sessions, size)
        if initial is not None:
            hidden[0] = initial
        reset_keep = gates.new_empty(steps, sessions, 2 * size)  # r and z
        new = gates.new_empty(steps, sessions, size)  # n
        inner = gates.new_empty(steps, sessions, size)  # W_hn h + b_hn
        weight_reset_keep = weight_hh[: 2 * size].t().contiguous()
        weight_new = weight_hh[2 * size :].t().contiguous()
        input_reset_keep = gates[..., : 2 * size] + bias_hh[: 2 * size]
        input_new, bias_new = gates[..., 2 * size :], bias_hh[2 * size :]
        for t in range(steps):
            torch.addmm(input_reset_keep[t], hidden[t], weight_reset_keep, out=reset_keep[t]).sigmoid_()
            torch.addmm(bias_new, hidden[t], weight_new, out=inner[t])
            torch.addcmul(input_new[t], reset_keep[t, :, :size], inner[t], out=new[t]).tanh_()
            torch.lerp(new[t], hidden[t], reset_keep[t, :, size:], out=hidden[t + 1])
        ctx.save_for_backward(hidden, reset_keep, new, inner, weight_hh)
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Runs the recursion backwards; every gate's gradient is a known factor times the hidden state's gradient."""
        hidden, reset_keep, new, inner, weight_hh = ctx.saved_tensors
        grad = grads[0].contiguous()
        steps, sessions, size = new.shape
        reset, keep = reset_keep[..., :size], reset_keep[..., size:]
        to_new = (1 - keep) * (1 - new * new)
        to_keep = (hidden[:-1] - new) * keep * (1 - keep)
        to_reset = to_new * inner * reset * (1 - reset)
        factors = torch.stack([to_reset, to_keep, to_new * reset], dim=2)  # (steps, sessions, 3, size)
        grad_hidden = torch.empty_like(new)
        grad_recurrent = torch.empty_like(factors)  # with respect to W_h h + b_h
        carried = torch.zeros_like(new[0])
        for t in reversed(range(steps)):
            torch.add(carried, grad[t], out=grad_hidden[t])
            torch.mul(factors[t], grad_hidden[t][:, None], out=grad_recurrent[t])
            carried = torch.addmm(grad_hidden[t] * keep[t], grad_recurrent[t].view(sessions, -1), weight_hh)
        flat = grad_recurrent.view(steps * sessions, 3 * size)
        grad_weight = flat.t() @ hidden[:-1].reshape(-1, size)
        grad_gates = torch.cat(
            [grad_recurrent[:, :, 0], grad_recurrent[:, :, 1], to_new * grad_hidden], dim=-1
        )
        return grad_gates, grad_weight, flat.sum(0), None


TRAINER = Trainer(pretrain_belief, BELIEF_PRESETS)
