"""SAC whose actor and critics each have a GRU of their own, trained with them on raw slates and clicks.

A finished actor is an ordinary one: its GRU, as a belief encoder, and its layers, as a policy on these beliefs.

In training a GRU is unrolled over the last moments of a session from its recorded state before them. So it sees what
it will see when it follows complete sessions, except that recorded states grow old: they are those of the networks as
they were when the session began.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gymnasium.vector import VectorEnv

from gems_gym.beliefs import GruBelief
from gems_gym_agents.online.options import EndToEndOptions
from gems_gym_agents.online.sac import SACAgent

if TYPE_CHECKING:
    from stable_baselines3 import SAC


class EndToEndSACAgent(SACAgent):
    """SAC whose actor and critics learn from slates and clicks, each through a GRU of its own.

    What is learned, with b(h) for the belief that the actor's GRU makes of slates and clicks h, c(h) for the critics'::

        y        = r + gamma·(1 − end)·(min_j Q'_j(c'(h'), a') − α·log π(a'|b(h'))),  a' ~ π(b(h'))
        L_critic = ½ Σ_j mean (Q_j(c(h), a) − y)²                                     moves Q_j and c
        L_actor  = mean (α·log π(ã|b(h)) − min_j Q_j(c(h), ã)),  ã ~ π(b(h))          moves π and b

    a is the latent, r the clicks times ``reward_scale``, ``end`` 1 where the user has left; a prime marks what follows
    and target networks. Gradients reach ``window`` slates back, and α is SAC's.

    The finished agent is like any other: its actor's GRU is the belief that its policy acts on. It learns in the same
    environments: the environment's belief, which must be a GRU, is what the GRUs start from.

    Args:
        **options: See :class:`EndToEndOptions`.

    Examples:
        >>> agent = EndToEndSACAgent(window=10)
        >>> agent.fit(vector_env, steps=200_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
        >>> agent.policy(agent.belief.read(state))  # doctest: +SKIP
    """

    options_class = EndToEndOptions
    options: EndToEndOptions

    def make_model(self, env: VectorEnv, *, seed: int, device: str) -> SAC:
        """Makes SB3's model, with GRUs."""
        from gems_gym_agents.online.end_to_end_model import make_end_to_end

        return make_end_to_end(self.options, env, seed=seed, device=device)

    def export_belief(self, model: Any, header: dict[str, Any]) -> GruBelief:
        """The actor's GRU as a belief encoder."""
        from gems_gym_agents.online.end_to_end_model import features_of

        return features_of(model.actor).belief(header)
