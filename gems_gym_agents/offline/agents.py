"""The offline agents: five of d3rlpy's algorithms behind one protocol.

They share everything but the algorithm's own options and configuration
(:mod:`gems_gym_agents.offline.training`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from gems_gym_agents.offline.options import (
    AWACOptions,
    BCOptions,
    CQLOptions,
    IQLOptions,
    TD3PlusBCOptions,
    ValueOptions,
)
from gems_gym_agents.offline.training import OfflineAgent


class ValueAgent(OfflineAgent):
    """An offline agent with Q-functions, whose values are watched against their bound."""

    has_q_function: ClassVar[bool] = True
    options: ValueOptions

    def shared_settings(self, d3rlpy: Any) -> dict[str, Any]:
        """Settings that mean the same in every algorithm with actor and critics."""
        return {
            "gamma": self.options.gamma,
            "tau": self.options.tau,
            "batch_size": self.options.batch_size,
            "actor_learning_rate": self.options.actor_learning_rate,
            "critic_learning_rate": self.options.critic_learning_rate,
            "actor_encoder_factory": self.encoder(d3rlpy),
            "critic_encoder_factory": self.encoder(d3rlpy),
            "reward_scaler": d3rlpy.preprocessing.MultiplyRewardScaler(self.options.reward_scale),
        }


class TD3PlusBCAgent(ValueAgent):
    """TD3+BC (Fujimoto & Gu 2021, arXiv 2106.06860): TD3 whose actor also imitates the data.

    The actor maximises λ·Q(s, π(s)) − (π(s) − a)², with λ = alpha / mean |Q(s, a)| over the batch (eq. 3 and 5).
    Options: :class:`~gems_gym_agents.offline.options.TD3PlusBCOptions`.
    """

    options_class = TD3PlusBCOptions
    options: TD3PlusBCOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.TD3PlusBCConfig(alpha=self.options.alpha, **self.shared_settings(d3rlpy))


class BCAgent(OfflineAgent):
    """Behaviour cloning: regression of the recorded latent on the belief, by mean squared error.

    Options: :class:`~gems_gym_agents.offline.options.BCOptions`.
    """

    options_class = BCOptions
    options: BCOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.BCConfig(
            batch_size=self.options.batch_size,
            learning_rate=self.options.learning_rate,
            encoder_factory=self.encoder(d3rlpy),
        )


class IQLAgent(ValueAgent):
    """Implicit Q-learning (Kostrikov et al. 2021, arXiv 2110.06169): never asks Q for an action outside the data.

    V is the expectile of Q over recorded actions (eq. 5), the policy is cloned with weights exp(weight_temp ·
    (Q − V)) (eq. 7). Options: :class:`~gems_gym_agents.offline.options.IQLOptions`.
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


class CQLAgent(ValueAgent):
    """Conservative Q-learning (Kumar et al. 2020, arXiv 2006.04779): SAC that pushes Q down outside the data (eq. 4).

    What is pushed down are actions drawn uniformly, and from the policy with its noise. In 32 dimensions none of them
    is near the policy's mean, whose Q is what targets are made of: nothing holds against the push up at recorded
    actions. So Q is too high at recorded actions and at the policy's own, in proportion to ``conservative_weight``,
    and far below any return (-20 times its bound) at uniform ones, where no policy goes. Measured on 500 sessions of
    the level medium, after 2,000 updates: the mean Q of the policy's own actions is 34.4, 6.1, 3.2, 1.9 and 1.3 with
    the weights 5, 0.5, 0.2, 0.1 and 0.05, where the bound is 3.5, and what these policies earn, 250 clicks a session
    with each weight, is worth 1.25.

    The slowest of the five, by a factor of ten. Options:
    :class:`~gems_gym_agents.offline.options.CQLOptions`.
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


class AWACAgent(ValueAgent):
    """AWAC (Nair et al. 2020, arXiv 2006.09359): clones recorded actions with weights exp(A(s, a) / λ) (eq. 13).

    Options: :class:`~gems_gym_agents.offline.options.AWACOptions`.
    """

    NO_ENTROPY: ClassVar[float] = -30.0  # log temperature; −∞ would make NaN of an infinite log-probability

    options_class = AWACOptions
    options: AWACOptions

    def config(self, d3rlpy: Any) -> Any:
        """Makes d3rlpy's configuration."""
        return d3rlpy.algos.AWACConfig(lam=self.options.temperature, **self.shared_settings(d3rlpy))

    def prepare(self, algorithm: Any) -> None:
        """Takes the entropy bonus out of the critic's target, which AWAC has not.

        d3rlpy 2.8 inherits SAC's target with a temperature fixed at 1: in 32 dimensions the bonus outweighs the
        rewards, and |Q| passes its bound by 10 times within 150 updates.
        """
        for parameter in algorithm.impl.modules.log_temp.parameters():
            parameter.data.fill_(self.NO_ENTROPY)
