"""REINFORCE on logged transitions, in the form of one of d3rlpy's algorithms; imported when an agent is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from d3rlpy.algos.qlearning import BC, BCConfig
from d3rlpy.models.torch import ImitationLoss
from d3rlpy.torch_utility import TorchMiniBatch


@dataclass
class ReinforceConfig(BCConfig):  # type: ignore[misc]  # the library has no types
    """Behaviour cloning's settings: the policy has the same form."""

    def create(self, device: Any = False, enable_ddp: bool = False) -> Reinforce:
        """Makes the algorithm."""
        return Reinforce(self, device, enable_ddp)


class Reinforce(BC):  # type: ignore[misc]
    """Behaviour cloning whose loss is weighted by what the session earned from there on, less the batch's mean.

    Of a Gaussian policy with a fixed width, (a − π(s))² is the negative log-likelihood, but for a factor.
    """

    def inner_create_impl(self, observation_shape: Any, action_size: int) -> None:
        """Makes the networks; the loss of a batch is replaced."""
        super().inner_create_impl(observation_shape, action_size)
        self._impl._compute_imitator_grad = self._gradient

    @property
    def need_returns_to_go(self) -> bool:
        """They are what actions are weighted with."""
        return True

    def _gradient(self, batch: TorchMiniBatch) -> ImitationLoss:
        modules = self._impl.modules
        modules.optim.zero_grad()
        squares = (modules.imitator(batch.observations).squashed_mu - batch.actions).square()
        returns = batch.returns_to_go.reshape(-1, 1)
        loss = ((returns - returns.mean()) * squares).mean()
        loss.backward()
        return ImitationLoss(loss=loss)
