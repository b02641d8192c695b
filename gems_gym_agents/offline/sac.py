"""Agents with a Gaussian policy and a pessimistic critic: CQL and SAC-N."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gems_gym.common.checks import Count, Positive
from gems_gym_agents.offline.agent import ValueAgent
from gems_gym_agents.offline.options import ValueOptions


@dataclass(frozen=True, kw_only=True)
class CQLOptions(ValueOptions):
    """Options of CQL.

    Attributes:
        actor_learning_rate: Learning rate of the actor, by Adam, > 0; lower than the critic's, as published.
        conservative_weight: Weight of the conservative loss, > 0, times a factor α that d3rlpy tunes from 1 on. It
            lifts Q at recorded actions by half of itself over the target, and the target with it: by weight / (2 (1 −
            gamma)) or more in the end, as long as α is 1. This must be small against the bound of |Q|, max reward ·
            reward_scale / (1 − gamma); the published 5 took Q to 10 times it.
        num_action_samples: Actions sampled for the log-sum-exp, ≥ 1; the cost of an update grows with it.
    """

    actor_learning_rate: Positive = 1e-4
    conservative_weight: Positive = 0.1
    num_action_samples: Count = 10


class CQLAgent(ValueAgent):
    """Conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779): SAC that pushes Q down outside the data (eq. 4).

    What is learned::

        L_critic = Σ_j [mean (Q_j(s, a) − y)² + α·conservative_weight·(gap_j − 10)]
        gap_j    = mean (log Σ_b exp(Q_j(s, b) − log p(b)) − Q_j(s, a))
        y        = r + gamma·(1 − end)·min_j Q'_j(s', m(s'))
        L_actor  = mean (T·log π(ã|s) − min_j Q_j(s, ã)),  ã ~ π(s)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. The latents b are drawn ``num_action_samples`` times each from π(s), π(s') and
    uniformly, with the density p(b), and m is the policy's mean.

    d3rlpy tunes two factors, which both begin at 1: α grows while the gap, the mean over critics, is above 10, and
    shrinks while it is below; T is tuned to an entropy of minus the number of latent dimensions. Neither changes by
    much more than a factor of e in 10,000 updates.

    What is pushed down are the latents b. In 32 dimensions none of them is near the policy's mean, whose Q is what
    targets are made of: nothing holds against the push up at recorded actions. So Q is too high at recorded actions and
    at the policy's own, in proportion to ``conservative_weight``, and far below any return (-20 times its bound) at
    uniform ones, where no policy goes. Measured on 500 sessions of the level medium, after 2,000 updates: the mean Q of
    the policy's own actions is 34.4, 6.1, 3.2, 1.9 and 1.3 with the weights 5, 0.5, 0.2, 0.1 and 0.05, where the bound
    is 3.5, and what these policies earn, 250 clicks a session with each weight, is worth 1.25.

    Ten times slower than TD3+BC. Options: :class:`CQLOptions`.
    """

    options_class = CQLOptions
    options: CQLOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.CQLConfig(
            conservative_weight=self.options.conservative_weight,
            n_action_samples=self.options.num_action_samples,
            **self.shared_settings(d3rlpy),
        )


@dataclass(frozen=True, kw_only=True)
class SACNOptions(ValueOptions):
    """Options of SAC-N.

    Attributes:
        num_critics: Q-functions, of whose values the smallest counts, ≥ 1.
        initial_temperature: Weight of the entropy to start with, > 0; it is tuned from there. At the usual 1 the
            entropy of 32 latent dimensions outweighs the clicks.
    """

    num_critics: Count = 10
    initial_temperature: Positive = 0.05


class SACNAgent(ValueAgent):
    """SAC-N (An et al. 2021, arXiv 2110.01548): SAC that believes the most pessimistic of many critics.

    What is learned::

        L_critic = Σ_j mean (Q_j(s, a) − y)²,  j = 1 … num_critics
        y        = r + gamma·(1 − end)·(min_j Q'_j(s', a') − α·log π(a'|s')),  a' ~ π(s')
        L_actor  = mean (α·log π(ã|s) − min_j Q_j(s, ã)),  ã ~ π(s)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. The weight α begins at ``initial_temperature`` and is tuned to an entropy of minus the
    number of latent dimensions.

    Where the data end, the critics disagree, and the smallest of N values is low. Options: :class:`SACNOptions`.
    """

    options_class = SACNOptions
    options: SACNOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.SACConfig(
            n_critics=self.options.num_critics,
            initial_temperature=self.options.initial_temperature,
            **self.shared_settings(d3rlpy),
        )
