"""GFN4Rec (Liu et al., 2023, arXiv 2306.02239): slates as likely as they are rewarded, by a generative flow network.

A slate A is built item by item. Each of its beginnings A_k, of k items, has a flow F(s, A_k) > 0, which splits among
the items that may come next, with probability P(i | s, A_k); as every beginning can be reached in one way only,
nothing else flows into it. In *detailed balance* what flows out of a beginning arrives at the next one, and what
arrives at complete slates is their reward R, the clicks. Then slates are drawn as often as they are rewarded.
:class:`GFN4RecAgent` has the loss, how far flows are from that.

``forward_offset`` keeps unlikely items from having a say without bounds, ``reward_smoothing`` slates without a click.
With a ``forward_offset`` and a ``flow_offset`` of 0 it is detailed balance as in Bengio et al. (2023, arXiv
2111.09266), and slates have probabilities proportional to R + ``reward_smoothing``. The paper calls this variant DB;
the numbers of its equations were not looked up, nor where exactly ``flow_offset``, its Z, stands in them: here it
stands in both.

Sessions are played by draws from P; the policy shows at each position the item of the highest probability. Nothing is
known beforehand but the belief; item embeddings are learned. In the paper R is what a slate itself earns, so ``gamma``
is 0. With a larger one, clicks on later slates of the session count, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym_agents.slates.agent import SessionAgent
from gems_gym_agents.slates.options import GFN4RecOptions
from gems_gym_agents.slates.policies import ItemByItemPolicy
from gems_gym_agents.slates.training import Learner


class GFN4RecAgent(SessionAgent[GFN4RecOptions, ItemByItemPolicy]):
    """GFN4Rec by detailed balance.

    What is learned, for a slate of items i_1 … i_K::

        L   = mean u_k² + mean v²,  k = 1 … K
        u_k = log F(s, A_{k−1}) + log(P(i_k|s, A_{k−1}) + forward_offset) + flow_offset − log F(s, A_k)
        v   = log F(s, A_K) + flow_offset − log(R + reward_smoothing)

    s is the belief, A_k the slate's first k items, F > 0 the flow through them, P(i|s, A_k) the probability that item i
    comes next, and R the clicks on the slate and, discounted by ``gamma``, on those that follow.

    Args:
        **options: See :class:`GFN4RecOptions`.

    Examples:
        >>> agent = GFN4RecAgent(forward_offset=0.1)
        >>> agent.fit(vector_env, steps=200_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
        >>> slates, _ = agent.policy.act(None, beliefs)  # doctest: +SKIP
    """

    name: ClassVar[str] = "gfn4rec"
    options_class: ClassVar[type[GFN4RecOptions]] = GFN4RecOptions
    policy_class: ClassVar[type[ItemByItemPolicy]] = ItemByItemPolicy

    def _learner(self, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]) -> Learner:
        from gems_gym_agents.slates.gfn4rec_learner import GFN4RecLearner

        return GFN4RecLearner(self.options, env, seed, made_by)
