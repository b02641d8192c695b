"""TQC (Kuznetsov et al., 2020, arXiv 2005.04269) on latent actions, through sb3-contrib."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym.common.checks import Count, WholeNumber
from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.options import EntropyOptions, TargetOptions

if TYPE_CHECKING:
    from sb3_contrib import TQC


@dataclass(frozen=True, kw_only=True)
class TQCOptions(EntropyOptions, TargetOptions):
    """Settings of TQC.

    Attributes:
        critics: How many critics, each of which learns the quantiles of returns, ≥ 1.
        quantiles: Quantiles of each critic, ≥ 1.
        dropped_quantiles: How many quantiles a critic are left out of the target, fewer than ``quantiles``: the highest
            of all critics together.
    """

    agent: ClassVar[str] = "tqc"

    critics: Count = 2
    quantiles: Count = 25
    dropped_quantiles: WholeNumber = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dropped_quantiles >= self.quantiles:
            raise ValueError(
                f"dropped_quantiles must be less than quantiles={self.quantiles}, got {self.dropped_quantiles}"
            )


class TQCAgent(OnlineAgent):
    """SAC whose critics learn the distribution of returns; the highest quantiles are left out, as they deceive.

    What is learned::

        y_i      = r + gamma·(1 − end)·(z'_i(s', a') − α·log π(a'|s')),  a' ~ π(s')
        L_critic = mean (|τ_m − 1[y_i < q_jm(s, a)]|·h(y_i − q_jm(s, a))),  τ_m = (m − ½) / quantiles
        L_actor  = mean (α·log π(ã|s) − mean q_jm(s, ã)),  ã ~ π(s)
        L_α      = −log α·mean (log π(ã|s) + target_entropy)

    s is the belief, a the latent, r the clicks times ``reward_scale``, ``end`` 1 where the user has left; a prime marks
    what follows and target networks. q_jm is quantile m of critic j, and z'_i are the lowest ``critics`` ·
    (``quantiles`` − ``dropped_quantiles``) of all target critics' quantiles; h(x) is x²/2 for |x| ≤ 1, |x| − ½ beyond,
    1[…] is 1 where the condition holds, else 0, and the entropy's weight α begins at ``initial_entropy``.

    Args:
        **options: See :class:`TQCOptions`.
    """

    options_class = TQCOptions
    options: TQCOptions
    library = "sb3_contrib"

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> TQC:
        """Makes sb3-contrib's model."""
        from sb3_contrib import TQC
        from sb3_contrib.tqc.policies import TQCPolicy

        from gems_gym_agents.online.settings import entropy_settings, target_settings

        settings = target_settings(self.options, env, TQCPolicy, seed=seed, device=device)
        settings["policy_kwargs"] |= {
            "n_critics": self.options.critics,
            "n_quantiles": self.options.quantiles,
        }
        return TQC(
            top_quantiles_to_drop_per_net=self.options.dropped_quantiles,
            **settings,
            **entropy_settings(self.options),
        )
