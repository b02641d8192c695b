"""Options of the offline agents: typed, with the recipe's defaults, checked when they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval, MinLen

from gems_gym.common.checks import Count, Discount, Positive, Share, Units, check_fields


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every offline agent has.

    Attributes:
        batch_size: Transitions of one update, ≥ 1.
        hidden_units: Sizes of the hidden layers of actor and critics.
        layer_norm: Puts a layer normalisation behind each hidden layer.
        steps_per_epoch: Updates between two lines of the log (and two evaluations), ≥ 1.
    """

    batch_size: Count = 256
    hidden_units: Annotated[tuple[Units, ...], MinLen(1)] = (256, 256)
    layer_norm: bool = False
    steps_per_epoch: Count = 1000

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, kw_only=True)
class ValueOptions(TrainingOptions):
    """What every agent with Q-functions has.

    Attributes:
        gamma: Discount factor in [0, 1).
        reward_scale: Factor on rewards inside the algorithm, > 0; everything reported is in raw clicks. With
            at most 10 clicks a slate, .1 and gamma .8 bound |Q| by 5.
        actor_learning_rate: Of Adam, > 0.
        critic_learning_rate: Of Adam, > 0.
        tau: Share of the critics that moves into the target critics at each update, in (0, 1].
    """

    gamma: Discount = 0.8
    reward_scale: Positive = 0.1
    actor_learning_rate: Positive = 3e-4
    critic_learning_rate: Positive = 3e-4
    tau: Annotated[float, Interval(gt=0, le=1)] = 0.005


@dataclass(frozen=True, kw_only=True)
class BCOptions(TrainingOptions):
    """Options of behaviour cloning.

    Attributes:
        learning_rate: Of Adam, > 0.
    """

    learning_rate: Positive = 1e-3


@dataclass(frozen=True, kw_only=True)
class TD3PlusBCOptions(ValueOptions):
    """Options of TD3+BC.

    Attributes:
        alpha: Weight of the Q-function, normalised by the mean |Q| of the batch, against the behaviour term, > 0.
            The paper's 2.5 strays too far from the data in 32 latent dimensions.
    """

    alpha: Positive = 0.5


@dataclass(frozen=True, kw_only=True)
class IQLOptions(ValueOptions):
    """Options of IQL.

    Attributes:
        expectile: Expectile of the value regression, in (0, 1).
        weight_temp: Inverse temperature of the advantage weights, > 0.
    """

    expectile: Share = 0.7
    weight_temp: Positive = 3.0


@dataclass(frozen=True, kw_only=True)
class CQLOptions(ValueOptions):
    """Options of CQL.

    Attributes:
        actor_learning_rate: Of Adam, > 0; lower than the critic's, as published.
        conservative_weight: Weight of the conservative loss, > 0. It lifts Q at recorded actions by half of itself over
            the target, and the target with it: by weight / (2 (1 − gamma)) or more in the end. This must be small
            against the bound of |Q|, max reward · reward_scale / (1 − gamma); the published 5 took Q to 10 times it.
        num_action_samples: Actions sampled for the log-sum-exp, ≥ 1; the cost of an update grows with it.
    """

    actor_learning_rate: Positive = 1e-4
    conservative_weight: Positive = 0.1
    num_action_samples: Count = 10


@dataclass(frozen=True, kw_only=True)
class AWACOptions(ValueOptions):
    """Options of AWAC.

    Attributes:
        temperature: λ of the advantage weights exp(A / λ), > 0.
    """

    temperature: Positive = 1.0
