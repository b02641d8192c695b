"""The decision diffuser in the form of one of d3rlpy's algorithms; imported when an agent is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from d3rlpy.algos.qlearning import BCConfig
from d3rlpy.base import ImplBase, LearnableBase
from d3rlpy.constants import ActionSpace
from d3rlpy.optimizers import OptimizerWrapper
from d3rlpy.torch_utility import Modules
from torch import Tensor, nn

from gems_gym_agents.offline.diffuser_policy import LEVEL_SIZE, noise_levels
from gems_gym_agents.offline.exporting import seen_by_networks
from gems_gym_agents.offline.windows import Windows


@dataclass
class DecisionDiffuserConfig(BCConfig):  # type: ignore[misc]  # the library has no types
    """Behaviour cloning's settings, and those that the agent's options explain."""

    horizon: int = 20
    noise_levels: int = 100
    unconditioned: float = 0.25

    def create(self, device: Any = False, enable_ddp: bool = False) -> DecisionDiffuser:
        """Makes the algorithm."""
        return DecisionDiffuser(self, device, enable_ddp)


class SkippingNetwork(nn.Module):
    """Hidden layers, and a linear one that sees the input beside what they made of it.

    Args:
        encoder_factory: d3rlpy's, of the hidden layers.
        inputs: Numbers that go in.
        outputs: Numbers that come out.
    """

    def __init__(self, encoder_factory: Any, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden = encoder_factory.create((inputs,))
        self.last = nn.Linear(inputs + encoder_factory.hidden_units[-1], outputs)

    def forward(self, rows: Tensor) -> Tensor:
        """(batch, inputs) to (batch, outputs)."""
        found: Tensor = self.last(torch.cat([rows, self.hidden(rows)], dim=1))
        return found


@dataclass(frozen=True)
class DecisionDiffuserModules(Modules):  # type: ignore[misc]
    """The denoiser, the inverse dynamics, and the optimiser of both."""

    denoiser: SkippingNetwork
    inverse: SkippingNetwork
    optim: OptimizerWrapper


class DecisionDiffuser(LearnableBase):  # type: ignore[misc]
    """Makes the networks, and learns from windows."""

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Makes the networks and their optimiser."""
        config, (size,) = self._config, observation_shape
        future = (config.horizon - 1) * size
        denoiser, inverse = (
            SkippingNetwork(config.encoder_factory, inputs, outputs).to(self._device)
            for inputs, outputs in ((size + future + LEVEL_SIZE, future), (2 * size, action_size))
        )
        both = nn.ModuleList([denoiser, inverse])
        optim = config.optim_factory.create(both.named_modules(), lr=config.learning_rate, compiled=False)
        modules = DecisionDiffuserModules(denoiser=denoiser, inverse=inverse, optim=optim)
        self._impl = ImplBase(observation_shape, action_size, modules, self._device)

    def get_action_type(self) -> ActionSpace:
        """Latents are continuous."""
        return ActionSpace.CONTINUOUS

    def update(self, batch: Windows) -> dict[str, float]:
        """Makes one step on the loss of both networks."""
        modules, device = self._impl.modules, self._device
        beliefs = seen_by_networks(self, batch.beliefs)  # (batch, horizon, belief_size)
        future = beliefs[:, 1:].flatten(1)
        signal, noise_share = self._levels(len(future)).T[..., None]
        known = (torch.rand(len(future), 1) >= self._config.unconditioned).float().to(device)
        returns = torch.as_tensor(batch.returns, device=device)[:, None]
        noised = signal * future + noise_share * torch.randn_like(future)
        inputs = [beliefs[:, 0], noised, signal, noise_share, known * returns, known]
        errors = (modules.denoiser(torch.cat(inputs, dim=1)) - future).square()
        there = torch.as_tensor(batch.there[:, 1:], device=device)
        denoising = errors.reshape(beliefs[:, 1:].shape)[there].mean()
        found = torch.tanh(modules.inverse(beliefs[:, :2].flatten(1)))
        imitation = (found - torch.as_tensor(batch.actions, device=device)).square().mean()
        modules.optim.zero_grad()
        (denoising + imitation).backward()
        modules.optim.step()
        return {"loss": float(denoising.detach()), "bc_loss": float(imitation.detach())}

    def _levels(self, count: int) -> Tensor:
        """Shares of signal and noise at levels that are drawn, (count, 2)."""
        levels = torch.as_tensor(noise_levels(self._config.noise_levels), device=self._device)
        return levels[torch.randint(len(levels), (count,))]
