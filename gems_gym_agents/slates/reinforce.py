"""REINFORCE with a baseline (Williams, 1992), over slates and over latents.

``reinforce_softmax`` draws slates from a softmax over items whose scores depend on the belief, without replacement:
a Plackett–Luce distribution. :class:`ReinforceSoftmaxAgent` has the loss. Chen et al. (2019, arXiv 1812.02353) take a
slate's K items for drawn one by one from the softmax π(i | s). With ``top_k_correction`` their weighted sum (section
4.3) stands for the slate's log-probability: an item that is likely to be in the slate anyway is not made more likely
still. Their other weights, for logs of another policy, are 1: the agent learns from sessions of its own, once.

``reinforce_latent`` is the same over latent actions, from a normal distribution that is clipped to the box; its density
counts what is clipped as what it is, a probability (Fujita & Maeda, 2018, arXiv 1802.07564).

Nothing is known beforehand but the belief; item embeddings, the weights behind the scores, are learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym.policies.actor import Actor
from gems_gym.policies.base import Shown
from gems_gym_agents.slates.agent import SessionAgent
from gems_gym_agents.slates.options import ReinforceLatentOptions, ReinforceSoftmaxOptions
from gems_gym_agents.slates.policies import PlackettLucePolicy
from gems_gym_agents.slates.training import Learner


class ReinforceSoftmaxAgent(SessionAgent[ReinforceSoftmaxOptions, PlackettLucePolicy]):
    """REINFORCE with Plackett–Luce slates.

    What is learned, for a slate A of items i_1 … i_K::

        L          = mean (b(s) − G)² − mean (Â·log π(A|s)),  Â = (u − mean u) / deviation of u,  u = G − b_old(s)
        log π(A|s) = Σ_k [f(s, i_k) − log Σ_{n not in i_1 … i_{k−1}} exp f(s, n)]

        with top_k_correction, in its place:
        Σ_k λ(i_k)·log π(i_k|s),  λ(i) = K·(1 − π(i|s))^{K−1}  (no gradient),  π(i|s) = exp f(s, i) / Σ_n exp f(s, n)

    s is the belief, f(s, i) an item's score, G the clicks from that slate on, discounted by ``gamma``,
    and, where a session is only cut, b_old of its last belief for what follows; b the baseline and b_old what it was
    before the round; mean and deviation of u are those of the round.

    Args:
        **options: See :class:`ReinforceSoftmaxOptions`.

    Examples:
        >>> agent = ReinforceSoftmaxAgent(top_k_correction=True)
        >>> agent.fit(vector_env, steps=1_000_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
        >>> slates, _ = agent.policy.act(None, beliefs)  # doctest: +SKIP
    """

    name: ClassVar[str] = "reinforce_softmax"
    options_class: ClassVar[type[ReinforceSoftmaxOptions]] = ReinforceSoftmaxOptions
    policy_class: ClassVar[type[PlackettLucePolicy]] = PlackettLucePolicy

    def _learner(self, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]) -> Learner:
        from gems_gym_agents.slates.reinforce_learner import ReinforceLearner, SlateHead

        return ReinforceLearner(SlateHead(self.options, env), self.options, env, seed, made_by)


class ReinforceLatentAgent(SessionAgent[ReinforceLatentOptions, Actor]):
    """REINFORCE over latent actions.

    What is learned::

        L          = mean (b(s) − G)² − mean (Â·log π(a|s)),  Â = (u − mean u) / deviation of u,  u = G − b_old(s)
        log π(a|s) = Σ_n log p(a_n),  p the density of N(μ_n(s), σ²) where |a_n| < 1,
                                      the probability of all that lies beyond where a_n = ±1

    s is the belief, a the latent, G the clicks from there on, discounted by ``gamma``,
    and, where a session is only cut, b_old of its last belief for what follows; b the baseline and b_old what it
    was before the round; mean and deviation of u are those of the round, and σ begins at ``spread``.

    Args:
        **options: See :class:`ReinforceLatentOptions`.

    Examples:
        >>> agent = ReinforceLatentAgent(spread=0.2)
        >>> agent.fit(vector_env, steps=1_000_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
        >>> latents = agent.policy(beliefs)  # doctest: +SKIP
    """

    name: ClassVar[str] = "reinforce_latent"
    options_class: ClassVar[type[ReinforceLatentOptions]] = ReinforceLatentOptions
    policy_class: ClassVar[type[Actor]] = Actor
    actions: ClassVar[Shown] = "latents"

    def _learner(self, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]) -> Learner:
        from gems_gym_agents.slates.reinforce_learner import LatentHead, ReinforceLearner

        return ReinforceLearner(LatentHead(self.options, env), self.options, env, seed, made_by)
