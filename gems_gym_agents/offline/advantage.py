"""Agents that clone recorded actions with weights that grow with their advantage: IQL, AWAC, CRR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Positive, Share
from gems_gym_agents.offline.agent import NO_ENTROPY, ValueAgent
from gems_gym_agents.offline.exporting import mean_actions
from gems_gym_agents.offline.options import ValueOptions

if TYPE_CHECKING:
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer


@dataclass(frozen=True, kw_only=True)
class IQLOptions(ValueOptions):
    """Options of IQL.

    Attributes:
        expectile: Expectile of the value regression, in (0, 1).
        weight_temp: Inverse temperature of the advantage weights, > 0.
    """

    expectile: Share = 0.7
    weight_temp: Positive = 3.0


class IQLAgent(ValueAgent):
    """Implicit Q-learning (Kostrikov et al. 2021, arXiv 2110.06169): never asks Q for an action outside the data.

    What is learned (V's loss is eq. 5 of the paper, the actor's eq. 7)::

        L_V      = mean (|expectile − 1[u < 0]|·u²),  u = min_j Q'_j(s, a) − V(s)
        L_critic = Σ_j mean (Q_j(s, a) − r − gamma·(1 − end)·V(s'))²
        L_actor  = −mean (min(exp(weight_temp·u), 100)·log π(a|s))

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left, s' the next belief
    and Q' a target network; 1[…] is 1 where the condition holds, else 0. Options: :class:`IQLOptions`.
    """

    options_class = IQLOptions
    options: IQLOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.IQLConfig(
            expectile=self.options.expectile,
            weight_temp=self.options.weight_temp,
            value_encoder_factory=self.encoder(d3rlpy),
            **self.shared_settings(d3rlpy),
        )


@dataclass(frozen=True, kw_only=True)
class AWACOptions(ValueOptions):
    """Options of AWAC.

    Attributes:
        temperature: λ of the advantage weights, which are in proportion to exp(A / λ), > 0.
    """

    temperature: Positive = 1.0


class AWACAgent(ValueAgent):
    """AWAC (Nair et al. 2020, arXiv 2006.09359): clones recorded actions, the more the better they are (eq. 13).

    What is learned::

        L_actor  = −Σ w·log π(a|s),  w = exp(A / temperature) / mean exp(A / temperature)
        A        = min_j Q_j(s, a) − min_j Q_j(s, ã),  ã ~ π(s)
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·min_j Q'_j(s', a'),  a' ~ π(s')

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. The sum is over the mini-batch, and so is the mean that d3rlpy divides the weights by,
    unlike the paper. Its π(a|s) is normal around the policy's mean, but a' is the tanh of a normal draw.

    Options: :class:`AWACOptions`.
    """

    options_class = AWACOptions
    options: AWACOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.AWACConfig(lam=self.options.temperature, **self.shared_settings(d3rlpy))

    def prepare(self, algorithm: Any, buffer: SessionReplayBuffer) -> None:
        """Takes the entropy bonus out of the critic's target, which AWAC has not.

        d3rlpy 2.8 inherits SAC's target with a temperature fixed at 1: in 32 dimensions the bonus outweighs the
        rewards, and |Q| passes its bound by 10 times within 150 updates.
        """
        for parameter in algorithm.impl.modules.log_temp.parameters():
            parameter.data.fill_(NO_ENTROPY)


@dataclass(frozen=True, kw_only=True)
class CRROptions(ValueOptions):
    """Options of CRR.

    Attributes:
        temperature: β of the advantage weights exp(A / β), > 0.
        max_weight: Largest weight, > 0.
        num_action_samples: Actions of the policy whose mean value recorded ones are compared with, ≥ 1.
    """

    temperature: Positive = 1.0
    max_weight: Positive = 20.0
    num_action_samples: Count = 4


class CRRAgent(ValueAgent):
    """Critic-regularised regression (Wang et al. 2020, arXiv 2006.15134): clones what beats the policy's own actions.

    What is learned::

        L_actor  = −mean (w·log π(a|s)),  w = min(exp(A / temperature), max_weight)
        A        = Q(s, a) − mean_k Q(s, a_k),  a_k ~ π(s),  k = 1 … num_action_samples
        L_critic = mean (Q(s, a) − r − gamma·(1 − end)·Q'(s', a'))²,  a' ~ π'(s')

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. There is one critic.

    What is exported is the policy's mean; d3rlpy's ``predict`` draws some of its actions and takes one of a high value.
    Target networks move by ``tau`` at every update, as those of the other agents do. Options: :class:`CRROptions`.
    """

    options_class = CRROptions
    options: CRROptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.CRRConfig(
            beta=self.options.temperature,
            max_weight=self.options.max_weight,
            n_action_samples=self.options.num_action_samples,
            target_update_type="soft",
            **self.shared_settings(d3rlpy),
        )

    def policy_actions(self, algorithm: Any, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """The policy's mean."""
        return mean_actions(algorithm, observations)
