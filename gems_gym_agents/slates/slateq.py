"""SlateQ (Ie et al., 2019, arXiv 1905.12767): the value of a slate from values of its items, for several clicks.

There, a user clicks at most one item of a slate A, and what follows depends on that item alone (Proposition 1):

    Q(s, A) = Σ_{i in A} P(i | s, A) Q(s, i)

Not to click counts as an item, ⊥, of every slate. Relative to its value, which no slate changes, the same is

    Q(s, A) = Q(s, ⊥) + Σ_{i in A, i ≠ ⊥} P(i | s, A) (Q(s, i) − Q(s, ⊥))

Here each item is clicked or not by itself. This sum is kept, with P the probability of that click:

    Q(s, A) = B(s) + Σ_k p_k a(s, i_k) D(s, i_k),    B(s) = Q(s, ⊥),    D(s, i) = Q(s, i) − Q(s, ⊥)

So what several clicks do to the future is taken to be the sum of what each does; where there is one click at most, it
is the paper's. Both factors of the probability are learned from clicks: p_k, that position k is looked at, and a(s, i),
that the user of belief s is drawn to item i. B and D are learned from the clicks c there were, as in its section 4:

    B(s) + Σ_k c_k D(s, i_k)   against   Σ_k c_k + γ Q(s', A')

A' is the slate that followed (``sarsa``) or the best one (``q_learning``), and Q(s', A') is of copies of the networks
that follow slowly. The policy shows argmax_A Q(s, A).

Nothing is known beforehand but the belief. Item embeddings are learned by the click model; the values read them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from annotated_types import Interval
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray

from gems_gym.common.checks import Count, Positive, Probability, Units, WholeNumber
from gems_gym_agents.slates.agent import SessionAgent, SessionOptions
from gems_gym_agents.slates.policies import SlateQPolicy
from gems_gym_agents.slates.search import SlateSearch
from gems_gym_agents.slates.training import Learner


@dataclass(frozen=True, kw_only=True)
class SlateQOptions(SessionOptions):
    """Settings of SlateQ.

    Attributes:
        target: What the target takes to follow: ``"q_learning"``, the best slate; ``"sarsa"``, the one that did.
        slate_search: How the best slate is found, see :mod:`gems_gym_agents.slates.search`; all ways find one of the
            same value.
        embedding_size: Numbers in an item embedding.
        learning_rate: Of all networks, > 0.
        updates: Gradient updates after each round.
        kept_rounds: Rounds before the last one that are learned from again. One of 100 sessions of 100 steps takes
            about 3 MB.
        epsilon: Share of positions that get a random item, at the end of ``exploring_share``.
        exploring_share: Share of the training over which that share falls, from 1.
        tau: Polyak coefficient of the copies that targets are taken from, in (0, 1].
    """

    target: Literal["q_learning", "sarsa"] = "q_learning"
    slate_search: SlateSearch = "top_k"
    embedding_size: Units = 32
    learning_rate: Positive = 1e-3
    updates: Count = 400
    kept_rounds: WholeNumber = 30
    epsilon: Probability = 0.05
    exploring_share: Probability = 0.2
    tau: Annotated[float, Interval(gt=0, le=1)] = 0.005


class SlateQAgent(SessionAgent[SlateQOptions, SlateQPolicy]):
    """SlateQ with a click model that is learned beside it.

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


def with_random_items(
    slates: NDArray[np.int64], share: float, num_items: int, rngs: Sequence[np.random.Generator]
) -> NDArray[np.int64]:
    """Slates some of whose items are replaced by random ones: ε-greedy exploration, position by position.

    Args:
        slates: int64 ``(num_users, slate_size)``.
        share: Of positions, in [0, 1].
        num_items: Items to draw from; what is drawn may stand in the slate already.
        rngs: A generator for each user.
    """
    slate_size = slates.shape[1]
    drawn = [(rng.random(slate_size), rng.integers(num_items, size=slate_size)) for rng in rngs]
    chances, items = (np.stack(one) for one in zip(*drawn, strict=True))
    return np.where(chances < share, items, slates)
