"""The settings of the agents that learn from whole sessions; each agent's own module has its equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval

from gems_gym.common.checks import (
    Checked,
    Count,
    Discount,
    NonNegative,
    Positive,
    Probability,
    Units,
    WholeNumber,
)
from gems_gym.user_splits import Users

SlateSearch = Literal["top_k", "greedy", "lp"]
"""How the best slate is found, see :mod:`gems_gym_agents.slates.search`."""


@dataclass(frozen=True, kw_only=True)
class SessionOptions(Checked):
    """Settings of every agent that learns from whole sessions.

    Attributes:
        gamma: Discount factor, in [0, 1).
        hidden_units: Units of the hidden layers of every network.
        sessions: Sessions in a round, with a new user each; after each round the agent learns. It takes the least time
            where it is a multiple of the users that are served together.
        batch_size: Interactions in a gradient update, ≥ 1.
        validate_every: Interactions after which the policy is scored if ``evaluate`` is given, rounded up to complete
            rounds.
    """

    gamma: Discount = 0.8
    hidden_units: tuple[Units, ...] = (128, 128)
    sessions: Users = 100
    batch_size: Count = 256
    validate_every: Count = 50_000


@dataclass(frozen=True, kw_only=True)
class ReplayOptions(SessionOptions):
    """Settings of agents that learn from the sessions of earlier rounds again.

    Attributes:
        embedding_size: Numbers in an item embedding.
        updates: Gradient updates after each round.
        kept_rounds: Rounds before the last one that are learned from again. One of 100 sessions of 100 steps takes
            about 3 MB.
    """

    embedding_size: Units = 32
    updates: Count = 400
    kept_rounds: WholeNumber = 30


@dataclass(frozen=True, kw_only=True)
class ValueOptions(ReplayOptions):
    """Settings of agents that learn values of slates, and explore by random items.

    Attributes:
        epsilon: Share of positions that get a random item, at the end of ``exploring_share``.
        exploring_share: Share of the training over which that share falls, from 1.
        tau: Polyak coefficient of the copies that targets are taken from, in (0, 1].
    """

    epsilon: Probability = 0.05
    exploring_share: Probability = 0.2
    tau: Annotated[float, Interval(gt=0, le=1)] = 0.005

    def random_share(self, done: float) -> float:
        """Share of positions that get a random item when the share ``done`` of the training is over."""
        fallen = min(done / self.exploring_share, 1.0) if self.exploring_share else 1.0
        return 1.0 + (self.epsilon - 1.0) * fallen


@dataclass(frozen=True, kw_only=True)
class ReinforceOptions(SessionOptions):
    """Settings of REINFORCE.

    Attributes:
        learning_rate: Learning rate of the policy, > 0.
        baseline_learning_rate: Learning rate of the baseline, > 0.
        batch_size: Interactions in a gradient update. A round is gone through once, in random order.
    """

    learning_rate: Positive = 3e-4
    baseline_learning_rate: Positive = 1e-3
    batch_size: Count = 500


@dataclass(frozen=True, kw_only=True)
class ReinforceSoftmaxOptions(ReinforceOptions):
    """Settings of REINFORCE over slates.

    Attributes:
        embedding_size: Numbers in an item embedding.
        top_k_correction: Whether items count as drawn one by one, corrected for the size of slates.
    """

    embedding_size: Units = 32
    top_k_correction: bool = False


@dataclass(frozen=True, kw_only=True)
class ReinforceLatentOptions(ReinforceOptions):
    """Settings of REINFORCE over latents.

    Attributes:
        spread: Standard deviation of every number of a latent at first, > 0; it is learned on.
    """

    spread: Positive = 0.3


@dataclass(frozen=True, kw_only=True)
class SlateQOptions(ValueOptions):
    """Settings of SlateQ.

    Attributes:
        target: What the target takes to follow: ``"q_learning"``, the best slate; ``"sarsa"``, the one that did.
        slate_search: How the best slate is found, see :mod:`gems_gym_agents.slates.search`; all ways find one of the
            same value.
        learning_rate: Learning rate of all networks, > 0.
    """

    target: Literal["q_learning", "sarsa"] = "q_learning"
    slate_search: SlateSearch = "top_k"
    learning_rate: Positive = 1e-3


@dataclass(frozen=True, kw_only=True)
class HACOptions(ValueOptions):
    """Settings of HAC; ``embedding_size`` is that of hyper-actions, too.

    Attributes:
        critic_learning_rate: Learning rate of the critic, > 0.
        actor_learning_rate: Learning rate of the actor and the item embeddings, by the critic, > 0.
        behaviour_learning_rate: Learning rate of the same, by clicks, > 0.
        hyper_weight: Weight of the distance between a hyper-action and that of its slate, ≥ 0.
        hyper_noise: Standard deviation of the noise on hyper-actions in training, ≥ 0.
    """

    critic_learning_rate: Positive = 1e-3
    actor_learning_rate: Positive = 3e-4
    behaviour_learning_rate: Positive = 3e-5
    hyper_weight: NonNegative = 0.1
    hyper_noise: NonNegative = 0.1


@dataclass(frozen=True, kw_only=True)
class GFN4RecOptions(ReplayOptions):
    """Settings of GFN4Rec.

    Attributes:
        gamma: Discount factor of the clicks on later slates that count for a slate, in [0, 1).
        learning_rate: Learning rate of all networks, > 0.
        reward_smoothing: What is added to rewards, b_r, > 0.
        forward_offset: What is added to probabilities, b_f, ≥ 0.
        flow_offset: What is added to logarithms of flows, Z.
    """

    gamma: Discount = 0.0
    learning_rate: Positive = 1e-4
    reward_smoothing: Positive = 0.4
    forward_offset: NonNegative = 0.5
    flow_offset: float = 1.0
