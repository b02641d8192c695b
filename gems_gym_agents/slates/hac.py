"""HAC, hyper-actor critic (Liu et al., 2023, arXiv 2302.03431): a slate as a vector that an actor and a critic share.

The actor answers a belief s with a *hyper-action*, a vector z = μ(s). The *effect-action* A is the slate that it comes
to: the items whose embeddings φ(i) have the largest dot products with z. The mean of their embeddings, ẑ = mean of
φ(i) over A, is a hyper-action again, of what was shown. One critic values both: it learns from slates that were shown,
and the actor follows it at z. :class:`HACAgent` has the three losses.

The second part of the actor's loss keeps the two kinds of action together; the third loss is supervision by clicks.
Each has an optimiser of its own; actor and behaviour move both μ and φ, which nothing else teaches. The paper calls
the parts critic, alignment and supervision; the numbers of its equations were not looked up. Unlike there, the
targets' hyper-actions are those of slates as well, which the critic has learned about.

Sessions are played with normal noise on hyper-actions and random items in slates, fewer as the training goes on.
Nothing is known beforehand but the belief.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym_agents.slates.agent import SessionAgent
from gems_gym_agents.slates.options import HACOptions
from gems_gym_agents.slates.policies import HyperActionPolicy
from gems_gym_agents.slates.training import Learner


class HACAgent(SessionAgent[HACOptions, HyperActionPolicy]):
    """HAC with item embeddings that are learned beside it.

    What is learned::

        L_critic    = mean (Q(s, ẑ(A)) − r − gamma·(1 − end)·Q'(s', ẑ'(A')))²
        L_actor     = −mean Q(s, μ(s)) + hyper_weight·mean (ẑ(top μ(s)) − μ(s))²
        L_behaviour = −mean (c_i·log σ(φ(i)·μ(s)) + (1 − c_i)·log(1 − σ(φ(i)·μ(s)))),  i in A

    s is the belief, A the slate that was shown, c its clicks, r their sum, ``end`` 1 where the user has left; a prime
    marks what follows and copies that follow slowly. ẑ(A) is the mean of the embeddings φ(i) of a slate's items, top z
    the slate of the items with the largest φ(i)·z, and A' that of μ'(s').

    Args:
        **options: See :class:`HACOptions`.

    Examples:
        >>> agent = HACAgent(gamma=0.9)
        >>> agent.fit(vector_env, steps=200_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
        >>> slates, _ = agent.policy.act(None, beliefs)  # doctest: +SKIP
    """

    name: ClassVar[str] = "hac"
    options_class: ClassVar[type[HACOptions]] = HACOptions
    policy_class: ClassVar[type[HyperActionPolicy]] = HyperActionPolicy

    def _learner(self, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]) -> Learner:
        from gems_gym_agents.slates.hac_learner import HACLearner

        return HACLearner(self.options, env, seed, made_by)
