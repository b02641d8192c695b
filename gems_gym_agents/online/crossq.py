"""CrossQ (Bhatt et al., 2024, arXiv 1902.05605) on latent actions, through sb3-contrib."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym.common.checks import Count
from gems_gym.policies.actor import Actor
from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.options import EntropyOptions, OffPolicyOptions

if TYPE_CHECKING:
    from sb3_contrib import CrossQ


@dataclass(frozen=True, kw_only=True)
class CrossQOptions(EntropyOptions, OffPolicyOptions):
    """Settings of CrossQ.

    Attributes:
        policy_delay: Critics' updates for each of the actor, ≥ 1.
    """

    agent: ClassVar[str] = "crossq"

    policy_delay: Count = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size < 2:
            raise ValueError(f"batch_size={self.batch_size}: a batch that is normalised must hold at least 2")


class CrossQAgent(OnlineAgent):
    """SAC without target critics: critics normalise present and next beliefs and actions in one batch instead.

    What is learned::

        Q_j      = the first half of Q_j(S, A),  Q'_j = the second,  S = [s, s'],  A = [a, a'],  a' ~ π(s')
        y        = r + gamma·(1 − end)·(min_j Q'_j − α·log π(a'|s'))  (no gradient)
        L_critic = ½ Σ_j mean (Q_j − y)²
        L_actor  = mean (α·log π(ã|s) − min_j Q_j(s, ã)),  ã ~ π(s),  once in policy_delay updates
        L_α      = −log α·mean (log π(ã|s) + target_entropy),  likewise

    s is the belief, s' the next one, a the latent, r the clicks times ``reward_scale``, ``end`` 1 where the user has
    left. The weight of the entropy, α, begins at ``initial_entropy``.

    Args:
        **options: See :class:`CrossQOptions`.
    """

    options_class = CrossQOptions
    options: CrossQOptions
    library = "sb3_contrib"

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> CrossQ:
        """Makes sb3-contrib's model."""
        from sb3_contrib import CrossQ

        from gems_gym_agents.online.settings import entropy_settings, off_policy_settings

        settings = off_policy_settings(self.options, env, seed=seed, device=device)
        settings["policy_kwargs"]["optimizer_kwargs"]["betas"] = (0.5, 0.999)  # the paper's and the library's
        return CrossQ(
            "MlpPolicy", policy_delay=self.options.policy_delay, **settings, **entropy_settings(self.options)
        )

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> Actor:
        """Copies the actor; each batch renormalisation becomes part of the linear layer after it."""
        from sb3_contrib.common.torch_layers import BatchRenorm1d
        from torch import nn

        from gems_gym_agents.actors import actor_from_modules, scaled_inputs
        from gems_gym_agents.torch_state import array_of

        modules: list[Any] = []
        for before, module in pairwise([None, *model.actor.latent_pi, model.actor.mu, nn.Tanh()]):
            if isinstance(before, BatchRenorm1d):
                factors = before.scale / (before.get_buffer("ra_var") + before.eps).sqrt()
                offsets = before.bias - factors * before.get_buffer("ra_mean")
                module = scaled_inputs(module, array_of(factors), array_of(offsets))
            if not isinstance(module, BatchRenorm1d):
                modules.append(module)
        return actor_from_modules(modules, metadata)
