"""SAC with Wolpertinger's choice (Dulac-Arnold et al., 2015, arXiv 1512.07679), through stable-baselines3.

The actor points at items, a query for each slot, and the agent's own critic chooses among the ``k`` items nearest to
each, slot by slot (:class:`~gems_gym.rankers.wknn.WknnRanker`, which says how many ``k`` are). What is chosen is the
latent that points at these items exactly, so the environment's ranker shows them; the critic learns from these
latents. As in the baseline "SAC+WkNN" of arXiv 2301.08632 only what is shown is refined: in the critic's targets stands
what the actor points at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym.rankers import WknnRanker
from gems_gym_agents.layers import layers_of
from gems_gym_agents.online.agent import OnlineAgent
from gems_gym_agents.online.options import EntropyOptions, TargetOptions
from gems_gym_agents.online.refined_latents import RefinedLatents

if TYPE_CHECKING:
    from stable_baselines3 import SAC


@dataclass(frozen=True, kw_only=True)
class WolpertingerSACOptions(EntropyOptions, TargetOptions):
    """Settings of SAC with Wolpertinger's choice: those of SAC but for how it begins."""

    agent: ClassVar[str] = "wolpertinger_sac"


class WolpertingerSACAgent(OnlineAgent):
    """SAC whose critics choose among the items near to what the actor points at; for rankers of the kind ``wknn``.

    What is shown, and what is learned from it::

        item_n   = argmax_i min_j Q_j(s, [x(item_1), …, x(item_{n−1}), x(i), ã_{n+1}, …])
        a        = [x(item_1), x(item_2), …],  ã ~ π(s)
        y        = r + gamma·(1 − end)·(min_j Q'_j(s', a') − α·log π(a'|s')),  a' ~ π(s')
        L_critic = ½ Σ_j mean (Q_j(s, a) − y)²
        L_actor  = mean (α·log π(ã|s) − min_j Q_j(s, ã)),  ã ~ π(s)
        L_α      = −log α·mean (log π(ã|s) + target_entropy)

    s is the belief, ã_n the query of slot n, i one of the k items nearest to it, x(i) the query that points at i, r the
    clicks times ``reward_scale``, ``end`` 1 where the user has left; a prime marks what follows and target networks.
    The weight of the entropy, α, begins at ``initial_entropy``.

    Args:
        **options: See :class:`WolpertingerSACOptions`.
    """

    options_class = WolpertingerSACOptions
    options: WolpertingerSACOptions
    policy_class = RefinedLatents
    ranker_kind: ClassVar[str] = "wknn"

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> SAC:
        """Makes SB3's model, which refines its actions."""
        from stable_baselines3.sac.policies import SACPolicy

        from gems_gym_agents.online.settings import entropy_settings, target_settings
        from gems_gym_agents.online.wolpertinger_model import RefiningSAC

        rankers = [getattr(layer, "ranker", None) for layer in layers_of(env)]
        ranker = next((one for one in rankers if isinstance(one, WknnRanker)), None)
        if ranker is None:
            raise ValueError(
                "wolpertinger_sac chooses among the items that a ranker of the kind wknn finds, and source has another "
                "one: make it by 'gems-gym pretrain ranker --kind wknn'"
            )
        settings = target_settings(self.options, env, SACPolicy, seed=seed, device=device)
        model = RefiningSAC(**settings, **entropy_settings(self.options))
        model.ranker = ranker
        return model

    def export_actor(self, model: Any, metadata: dict[str, Any]) -> RefinedLatents:
        """Copies actor and critics, and the ranker."""
        from gems_gym_agents.online.wolpertinger_model import export_refined

        return export_refined(model, metadata)
