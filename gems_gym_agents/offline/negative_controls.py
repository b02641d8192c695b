"""Negative controls: algorithms made for learning online, fitted to a dataset without any correction.

They are expected to fail: nothing holds their policies where the data are, and Q feeds on its own errors elsewhere.
They stand in tables to show what the other agents are for. A training that runs away ends with a ``DivergedError``.

``gems-gym list`` marks the agents of modules of this name as negative controls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gems_gym.common.checks import Discount, NonNegative, Positive
from gems_gym_agents.offline.agent import OfflineAgent, ValueAgent
from gems_gym_agents.offline.imitation import BCOptions
from gems_gym_agents.offline.options import ValueOptions

if TYPE_CHECKING:
    from gems_gym_agents.offline.replay_buffer import SessionReplayBuffer


@dataclass(frozen=True, kw_only=True)
class ControlOptions(ValueOptions):
    """Options of TD3 and SAC on a dataset.

    Attributes:
        bc_weight: Weight of the mean squared distance between the policy's mean and the recorded latent, in the actor's
            loss, beside −Q in scaled rewards, ≥ 0: a larger one imitates more. With one above 0 the agent is no
            negative control any more; TD3 is then TD3+BC without its normalisation of Q.
    """

    bc_weight: NonNegative = 0.0


class ControlAgent(ValueAgent):
    """One that imitates if asked to."""

    options: ControlOptions

    def prepare(self, algorithm: Any, buffer: SessionReplayBuffer) -> None:
        """Adds the behaviour term to the actor's loss."""
        impl, weight = algorithm.impl, self.options.bc_weight
        without = impl.compute_actor_loss

        def with_imitation(batch: Any, action: Any) -> Any:
            loss = without(batch, action)
            distance = (action.squashed_mu - batch.actions).square().mean()
            return replace(loss, actor_loss=loss.actor_loss + weight * distance)

        if weight > 0:
            impl.compute_actor_loss = with_imitation


class OfflineTD3Agent(ControlAgent):
    """Negative control: TD3 (Fujimoto et al. 2018, arXiv 1802.09477) on a dataset, expected to fail.

    What is learned::

        L_actor  = −mean Q_1(s, π(s)) + bc_weight·mean (π(s) − a)²
        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·min_j Q'_j(s', clip(π'(s') + ε)),  ε = clip(N(0, 0.2²), ±0.5)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. With ``bc_weight`` = 0 nothing imitates. Options: :class:`ControlOptions`.
    """

    options_class = ControlOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.TD3Config(**self.shared_settings(d3rlpy))


@dataclass(frozen=True, kw_only=True)
class OfflineSACOptions(ControlOptions):
    """Options of SAC on a dataset.

    Attributes:
        initial_temperature: Weight of the entropy to start with, > 0; it is tuned from there.
    """

    initial_temperature: Positive = 0.05


class OfflineSACAgent(ControlAgent):
    """Negative control: SAC (Haarnoja et al. 2018, arXiv 1812.05905) on a dataset, expected to fail.

    What is learned::

        L_critic = Σ_j mean (Q_j(s, a) − y)²
        y        = r + gamma·(1 − end)·(min_j Q'_j(s', a') − α·log π(a'|s')),  a' ~ π(s')
        L_actor  = mean (α·log π(ã|s) − min_j Q_j(s, ã)) + bc_weight·mean (m(s) − a)²,  ã ~ π(s)

    s is the belief, a the recorded latent, r the scaled clicks, ``end`` 1 where the user has left; a prime marks what
    follows and target networks. The policy's mean is m, and α begins at ``initial_temperature`` and is tuned to an
    entropy of minus the number of latent dimensions.

    It is SAC-N with two critics; ``bc_weight`` above 0 holds it near the data. Options:
    :class:`OfflineSACOptions`.
    """

    options_class = OfflineSACOptions
    options: OfflineSACOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.SACConfig(
            initial_temperature=self.options.initial_temperature, **self.shared_settings(d3rlpy)
        )


@dataclass(frozen=True, kw_only=True)
class OfflineReinforceOptions(BCOptions):
    """Options of REINFORCE on a dataset.

    Attributes:
        learning_rate: Learning rate of Adam, > 0.
        gamma: Discount factor in [0, 1) of the returns.
        reward_scale: Factor on rewards, > 0; Adam's steps depend on it by ``grad_clip`` and Adam's ε only.
    """

    learning_rate: Positive = 3e-4
    gamma: Discount = 0.8
    reward_scale: Positive = 0.1


class OfflineReinforceAgent(OfflineAgent):
    """Negative control: REINFORCE (Williams 1992) on logged sessions, expected to fail.

    What is learned::

        L   = mean ((G_t − mean G)·(π(s_t) − a_t)²)
        G_t = r_t + gamma·r_{t+1} + gamma²·r_{t+2} + …

    s_t is the belief, a_t the recorded latent, r_t the clicks times ``reward_scale``; means are over the mini-batch.

    The policy is drawn to recorded latents that were followed by more than the mean, and pushed away from the others,
    as if it had chosen them itself: nothing corrects for who did. So it runs into the corners of the box, away from all
    data. Options: :class:`OfflineReinforceOptions`.
    """

    options_class = OfflineReinforceOptions
    options: OfflineReinforceOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes a configuration of d3rlpy's form; the algorithm is ours."""
        from gems_gym_agents.offline.reinforce import ReinforceConfig

        return ReinforceConfig(
            batch_size=self.options.batch_size,
            learning_rate=self.options.learning_rate,
            gamma=self.options.gamma,
            reward_scaler=d3rlpy.preprocessing.MultiplyRewardScaler(self.options.reward_scale),
            encoder_factory=self.encoder(d3rlpy),
            optim_factory=self.optimizer(d3rlpy),
        )
