"""SlateQ (Ie et al., 2019, arXiv 1905.12767): the value of a slate from values of its items, for several clicks.

There, a user clicks at most one item of a slate A, and what follows depends on that item alone (Proposition 1):

    Q(s, A) = Σ_{i in A} P(i | s, A) Q(s, i)

Not to click counts as an item, ⊥, of every slate. Relative to its value, which no slate changes, the same is

    Q(s, A) = Q(s, ⊥) + Σ_{i in A, i ≠ ⊥} P(i | s, A) (Q(s, i) − Q(s, ⊥))

Here each item is clicked or not by itself. This sum is kept, with P the probability of that click, a product of two
factors that are both learned from clicks, B(s) = Q(s, ⊥) and D(s, i) = Q(s, i) − Q(s, ⊥): :class:`SlateQAgent` has the
equations. So what several clicks do to the future is taken to be the sum of what each does; where there is one click at
most, it is the paper's. B and D are learned from the clicks there were, as in its section 4.

Nothing is known beforehand but the belief. Item embeddings are learned by the click model; the values read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from gymnasium.vector import VectorEnv

from gems_gym_agents.slates.agent import SessionAgent
from gems_gym_agents.slates.options import SlateQOptions
from gems_gym_agents.slates.policies import SlateQPolicy
from gems_gym_agents.slates.training import Learner


class SlateQAgent(SessionAgent[SlateQOptions, SlateQPolicy]):
    """SlateQ with a click model that is learned beside it.

    What is learned, for the slate A of items i_k and its clicks c_k, and what is shown::

        Q(s, A)  = B(s) + Σ_k p_k·a(s, i_k)·D(s, i_k)
        L_clicks = −mean log P(c_k),  P(c_k = 1) = p_k·a(s, i_k)
        L_values = mean (B(s) + Σ_k c_k·D(s, i_k) − Σ_k c_k − gamma·(1 − end)·Q'(s', A'))²
        shown      argmax_A Q(s, A)

    p_k is how likely position k is looked at, a(s, i) how likely the user of belief s is drawn to item i, B(s) the
    value of no click and D(s, i) what a click adds to it; ``end`` is 1 where the user has left, s' the next belief and
    Q' a copy that follows slowly. A' is the best slate by Q' (``q_learning``) or the one that followed (``sarsa``).

    Args:
        **options: See :class:`SlateQOptions`.

    Examples:
        >>> agent = SlateQAgent(slate_search="greedy")
        >>> agent.fit(vector_env, steps=200_000, seed=0, evaluate=on_validation_users)  # doctest: +SKIP
        >>> slates, _ = agent.policy.act(None, beliefs)  # doctest: +SKIP
    """

    name: ClassVar[str] = "slateq"
    options_class: ClassVar[type[SlateQOptions]] = SlateQOptions
    policy_class: ClassVar[type[SlateQPolicy]] = SlateQPolicy

    def _learner(self, env: VectorEnv[Any, Any, Any], seed: int, made_by: Mapping[str, Any]) -> Learner:
        from gems_gym_agents.slates.slateq_learner import SlateQLearner

        return SlateQLearner(self.options, env, seed, made_by)
