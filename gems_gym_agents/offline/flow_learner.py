"""Flow Q-learning in the form of one of d3rlpy's algorithms; imported when an agent is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from d3rlpy.algos.qlearning.ddpg import DDPG, DDPGConfig
from d3rlpy.algos.qlearning.torch.ddpg_impl import DDPGBaseActorLoss, DDPGBaseImpl, DDPGBaseModules
from d3rlpy.models.builders import create_continuous_q_function
from d3rlpy.optimizers import OptimizerWrapper
from d3rlpy.torch_utility import TorchMiniBatch
from torch import Tensor, nn


@dataclass
class FlowQConfig(DDPGConfig):  # type: ignore[misc]  # the library has no types
    """DDPG's settings, and two more.

    Attributes:
        alpha: Weight of the distance to what the flow does, against the Q-function.
        flow_steps: Steps in which the flow is followed from noise to an action.
    """

    n_critics: int = 2
    alpha: float = 1.0
    flow_steps: int = 10

    def create(self, device: Any = False, enable_ddp: bool = False) -> FlowQ:
        """Makes the algorithm."""
        return FlowQ(self, device, enable_ddp)


class WithNoise(nn.Module):
    """A network of an observation and of noise; the flow is told how far the noise has come, too.

    Args:
        encoder_factory: d3rlpy's, of the hidden layers.
        observation_shape: Shape of an observation.
        inputs: Numbers beside the observation.
        outputs: Numbers that come out.
    """

    def __init__(self, encoder_factory: Any, observation_shape: Any, inputs: int, outputs: int) -> None:
        super().__init__()
        self._encoder = encoder_factory.create_with_action(observation_shape, inputs)
        self._fc = nn.Linear(encoder_factory.hidden_units[-1], outputs)

    def forward(self, observations: Tensor, others: Tensor) -> Tensor:
        """(batch, observation_size) and (batch, inputs) to (batch, outputs)."""
        found: Tensor = self._fc(self._encoder(observations, others))
        return found


@dataclass(frozen=True)
class FlowQModules(DDPGBaseModules):  # type: ignore[misc]
    """The networks: besides DDPG's the flow, from an observation, noise on its way to an action, and how far it is."""

    flow: WithNoise
    flow_optim: OptimizerWrapper


@dataclass(frozen=True)
class FlowQActorLoss(DDPGBaseActorLoss):  # type: ignore[misc]
    """What the policy's loss is made of."""

    distance: Tensor


class FlowQ(DDPG):  # type: ignore[misc]
    """Makes the networks of :class:`FlowQImpl`."""

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Makes the networks and their optimisers."""
        config, device = self._config, self._device

        def network(inputs: int) -> WithNoise:
            return WithNoise(config.actor_encoder_factory, observation_shape, inputs, action_size).to(device)

        def optimizer(factory: Any, module: nn.Module, rate: float) -> OptimizerWrapper:
            return factory.create(module.named_modules(), lr=rate, compiled=False)

        (q_funcs, forwarder), (targ_q_funcs, targ_forwarder) = (
            create_continuous_q_function(
                observation_shape, action_size, config.critic_encoder_factory, config.q_func_factory,
                n_ensembles=config.n_critics, device=device, enable_ddp=False,
            )
            for _ in range(2)
        )  # fmt: skip
        policy, flow = network(action_size), network(action_size + 1)
        self._impl = FlowQImpl(
            config,
            observation_shape=observation_shape,
            action_size=action_size,
            modules=FlowQModules(
                policy=policy,
                q_funcs=q_funcs,
                targ_q_funcs=targ_q_funcs,
                actor_optim=optimizer(config.actor_optim_factory, policy, config.actor_learning_rate),
                critic_optim=optimizer(config.critic_optim_factory, q_funcs, config.critic_learning_rate),
                flow=flow,
                flow_optim=optimizer(config.actor_optim_factory, flow, config.actor_learning_rate),
            ),
            q_func_forwarder=forwarder,
            targ_q_func_forwarder=targ_forwarder,
            gamma=config.gamma,
            tau=config.tau,
            compiled=False,
            device=device,
        )


class FlowQImpl(DDPGBaseImpl):  # type: ignore[misc]
    """The updates of Algorithm 1 of Park et al. 2025 (arXiv 2502.02538).

    Args:
        config: ``alpha`` and ``flow_steps`` are read.
        **parts: Those of d3rlpy's base.
    """

    def __init__(self, config: FlowQConfig, **parts: Any) -> None:
        super().__init__(**parts)
        self._alpha, self._flow_steps = config.alpha, config.flow_steps

    def inner_update(self, batch: TorchMiniBatch, grad_step: int) -> dict[str, float]:
        """Critics, flow, policy, and the target critics."""
        losses: dict[str, float] = {
            **self.update_critic(batch), **self.update_flow(batch), **self.update_actor(batch)
        }  # fmt: skip
        self.update_critic_target()
        return losses

    def update_flow(self, batch: TorchMiniBatch) -> dict[str, float]:
        """Learns where recorded actions lie from noise, at a random point of the straight way there."""
        modules, noise = self._modules, torch.randn_like(batch.actions)
        share = torch.rand_like(batch.rewards)  # (batch, 1)
        between = torch.cat([(1 - share) * noise + share * batch.actions, share], dim=1)
        modules.flow_optim.zero_grad()
        loss = (modules.flow(batch.observations, between) - (batch.actions - noise)).square().mean()
        loss.backward()
        modules.flow_optim.step()
        return {"bc_loss": float(loss.detach())}

    def compute_target(self, batch: TorchMiniBatch) -> Tensor:
        """The mean of the target critics for actions of the policy."""
        with torch.no_grad():
            actions = self.inner_sample_action(batch.next_observations)
            found: Tensor = self._targ_q_func_forwarder.compute_target(
                batch.next_observations, actions, reduction="mean"
            )
            return found

    def compute_actor_grad(self, batch: TorchMiniBatch) -> FlowQActorLoss:
        """Gradients of the policy, for noise that is drawn."""
        self._modules.actor_optim.zero_grad()
        loss = self.compute_actor_loss(batch, torch.randn_like(batch.actions))
        loss.actor_loss.backward()
        return loss

    def compute_actor_loss(self, batch: TorchMiniBatch, noise: Tensor) -> FlowQActorLoss:
        """The policy's distance to where the flow takes the same noise, and its value."""
        chosen = self._modules.policy(batch.observations, noise)
        distance = (chosen - self.imitated(batch.observations, noise)).square().mean()
        values = self._q_func_forwarder.compute_expected_q(
            batch.observations, chosen.clamp(-1.0, 1.0), "mean"
        )
        gain = values.mean() / values.abs().mean().detach()
        return FlowQActorLoss(actor_loss=self._alpha * distance - gain, distance=distance)

    @torch.no_grad()
    def imitated(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Where the flow takes noise, by Euler's method: actions as the recorded ones, in the box."""
        actions, length = noise, 1.0 / self._flow_steps
        for step in range(self._flow_steps):
            share = torch.full_like(noise[:, :1], step * length)
            actions = actions + length * self._modules.flow(observations, torch.cat([actions, share], dim=1))
        return actions.clamp(-1.0, 1.0)

    def act(self, observations: Tensor, noise: Tensor) -> Tensor:
        """What the policy makes of noise, in the box."""
        found: Tensor = self._modules.policy(observations, noise).clamp(-1.0, 1.0)
        return found

    def inner_sample_action(self, x: Tensor) -> Tensor:
        """Actions for noise that is drawn."""
        return self.act(x, torch.randn(len(x), self.action_size, device=x.device))

    def inner_predict_best_action(self, x: Tensor) -> Tensor:
        """The same: there is no action that stands for all."""
        return self.inner_sample_action(x)
