"""Options that offline agents share; those of one algorithm stand beside its agent."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Interval, MinLen

from gems_gym.common.checks import Checked, Count, Discount, Positive, Units


@dataclass(frozen=True, kw_only=True)
class TrainingOptions(Checked):
    """What every offline agent has.

    Attributes:
        batch_size: Transitions of one update, ≥ 1.
        hidden_units: Sizes of the hidden layers of actor and critics.
        layer_norm: Puts a layer normalisation behind each hidden layer.
        observation_scaler: What is done to observations before the networks see them, by their numbers in the dataset:
            "standard": mean 0 and standard deviation 1; "minmax": from -1 to 1; ``None``: nothing, as beliefs lie in
            [-1, 1]. The exported policy takes them as they are.
        grad_clip: Largest norm of a gradient, > 0, to which longer ones are shortened; ``None``: none is.
        steps_per_epoch: Updates between two lines of the log (and two evaluations), ≥ 1.
    """

    batch_size: Count = 256
    hidden_units: Annotated[tuple[Units, ...], MinLen(1)] = (256, 256)
    layer_norm: bool = False
    observation_scaler: Literal["standard", "minmax"] | None = None
    grad_clip: Positive | None = None
    steps_per_epoch: Count = 1000


@dataclass(frozen=True, kw_only=True)
class ValueOptions(TrainingOptions):
    """What every agent with Q-functions has.

    Attributes:
        gamma: Discount factor in [0, 1).
        reward_scaler: What is done to rewards inside the algorithm; scores are in raw clicks, losses and |Q| in scaled
            ones. "scale": nothing but ``reward_scale``; "standard": mean 0 and standard deviation 1 over the dataset;
            "minmax": from 0 to 1; "return": divided by the range of the sessions' returns.
        reward_scale: Factor on rewards after that, > 0. With at most 10 clicks a slate, "scale", .1 and gamma .8 bound
            |Q| by 5.
        actor_learning_rate: Learning rate of the actor, by Adam, > 0.
        critic_learning_rate: Learning rate of the critic, by Adam, > 0.
        tau: Share of the critics that moves into the target critics at each update, in (0, 1]; of TD3 and its kin, at
            each second one.
    """

    gamma: Discount = 0.8
    reward_scaler: Literal["scale", "standard", "minmax", "return"] = "scale"
    reward_scale: Positive = 0.1
    actor_learning_rate: Positive = 3e-4
    critic_learning_rate: Positive = 3e-4
    tau: Annotated[float, Interval(gt=0, le=1)] = 0.005
