"""Agents with a deterministic policy that follows its critics and is held near the data: TD3+BC, ReBRAC, PRDC."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gems_gym.common.checks import Count, NonNegative, Positive
from gems_gym_agents.offline.agent import ValueAgent
from gems_gym_agents.offline.exporting import seen_by_networks
from gems_gym_agents.offline.options import ValueOptions

if TYPE_CHECKING:
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer


@dataclass(frozen=True, kw_only=True)
class TD3PlusBCOptions(ValueOptions):
    """Options of TD3+BC.

    Attributes:
        alpha: Weight of the Q-function, normalised by the mean |Q| of the batch, against the behaviour term, > 0: a
            larger one imitates less. The paper's 2.5 strays too far from the data in 32 latent dimensions.
    """

    alpha: Positive = 0.5


class TD3PlusBCAgent(ValueAgent):
    """TD3+BC (Fujimoto & Gu 2021, arXiv 2106.06860): TD3 whose actor also imitates the data.

    What is learned (the actor's loss is eq. 3 of the paper, λ its eq. 5)::

        L_actor  = −λ·mean Q_1(s, π(s)) + mean (π(s) − a)²,  λ = alpha / mean |Q_1(s, π(s))|  (no gradient)
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·min_j Q'_j(s', clip(π'(s') + ε)),  ε = clip(N(0, 0.2²), ±0.5)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. The paper has Q of recorded actions in λ, d3rlpy that of the policy's. Options:
    :class:`TD3PlusBCOptions`.
    """

    options_class = TD3PlusBCOptions
    options: TD3PlusBCOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.TD3PlusBCConfig(alpha=self.options.alpha, **self.shared_settings(d3rlpy))


@dataclass(frozen=True, kw_only=True)
class ReBRACOptions(ValueOptions):
    """Options of ReBRAC.

    Attributes:
        batch_size: Transitions of one update, ≥ 1; the paper's large batches are part of the method.
        actor_learning_rate: Learning rate of the actor, by Adam, > 0.
        critic_learning_rate: Learning rate of the critic, by Adam, > 0.
        actor_beta: Weight of the squared distance to the recorded action in the actor's loss, ≥ 0.
        critic_beta: Weight of the squared distance to the next recorded action in the critic's target, ≥ 0, in scaled
            rewards.
    """

    batch_size: Count = 1024
    actor_learning_rate: Positive = 1e-3
    critic_learning_rate: Positive = 1e-3
    actor_beta: NonNegative = 0.001
    critic_beta: NonNegative = 0.01


class ReBRACAgent(ValueAgent):
    """ReBRAC (Tarasov et al. 2023, arXiv 2305.09836): TD3+BC whose critic's target is held near the data as well.

    What is learned::

        L_actor  = mean (−λ·min_j Q_j(s, π(s)) + actor_beta·|π(s) − a|²)
        λ        = 1 / mean |min_j Q_j(s, π(s))|  (no gradient)
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·(min_j Q'_j(s', ã) − critic_beta·|ã − a'|²)
        ã        = clip(π'(s') + ε),  ε = clip(N(0, 0.2²), ±0.5)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. The latent a' was recorded at s'; the last transition of a session has none, and zero
    stands for it.

    The paper also normalises the critic's layers: ``layer_norm=True``. Options: :class:`ReBRACOptions`.
    """

    options_class = ReBRACOptions
    options: ReBRACOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.ReBRACConfig(
            actor_beta=self.options.actor_beta,
            critic_beta=self.options.critic_beta,
            **self.shared_settings(d3rlpy),
        )


@dataclass(frozen=True, kw_only=True)
class PRDCOptions(ValueOptions):
    """Options of PRDC.

    Attributes:
        alpha: Weight of the Q-function, normalised by the mean |Q| of the batch, against the distance to the data, > 0.
        beta: Factor on observations in that distance, > 0: with a large one only actions from the same state count.
    """

    alpha: Positive = 2.5
    beta: Positive = 2.0


class PRDCAgent(ValueAgent):
    """PRDC (Ran et al. 2023, arXiv 2306.06569): TD3 drawn to what was done where belief and action were near.

    What is learned::

        L_actor  = −λ·mean Q_1(s, π(s)) + mean (π(s) − a*)²,  λ = alpha / mean |Q_1(s, π(s))|  (no gradient)
        a*       = the recorded a_i with the smallest |beta·(s − s_i)|² + |π(s) − a_i|²
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·min_j Q'_j(s', clip(π'(s') + ε)),  ε = clip(N(0, 0.2²), ±0.5)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. The pairs s_i, a_i are those of the whole dataset, whatever session they are from.

    The nearest of all transitions is looked up for each row of each mini-batch, so that an update takes time in
    proportion to the dataset. Options: :class:`PRDCOptions`.
    """

    options_class = PRDCOptions
    options: PRDCOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.PRDCConfig(
            alpha=self.options.alpha, beta=self.options.beta, **self.shared_settings(d3rlpy)
        )

    def prepare(self, algorithm: Any, buffer: SessionReplayBuffer) -> None:
        """Indexes the recorded transitions, as d3rlpy's ``fit`` does, but not in an object that all its PRDCs share."""
        observations, actions = buffer.recorded
        seen = seen_by_networks(algorithm, observations).cpu().numpy()
        rows = np.concatenate([self.options.beta * seen, actions], axis=1)
        # one thread: starting more takes longer than the search in a mini-batch
        algorithm.impl._nbsr = copy.deepcopy(algorithm._nbsr).set_params(n_jobs=1).fit(rows)
