"""Options of the offline agents: typed, with the recipe's defaults, checked when they are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from gems_gym.errors import unknown_name
from gems_gym_agents.option_checks import is_count, is_number, is_positive

OptionsT = TypeVar("OptionsT", bound="TrainingOptions")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What every offline agent has.

    Attributes:
        batch_size: Transitions of one update, ≥ 1.
        hidden_units: Sizes of the hidden layers of actor and critics.
        layer_norm: Puts a layer normalisation behind each hidden layer.
        steps_per_epoch: Updates between two lines of the log (and two evaluations), ≥ 1.
    """

    batch_size: int = 256
    hidden_units: tuple[int, ...] = (256, 256)
    layer_norm: bool = False
    steps_per_epoch: int = 1000

    def __post_init__(self) -> None:
        if not isinstance(self.hidden_units, str):
            object.__setattr__(self, "hidden_units", tuple(self.hidden_units))  # JSON knows lists only
        for name in ("batch_size", "steps_per_epoch"):
            require_option(self, name, is_count(getattr(self, name)), "an integer ≥ 1")
        sizes = self.hidden_units
        valid = isinstance(sizes, tuple) and bool(sizes) and all(is_count(size) for size in sizes)
        require_option(self, "hidden_units", valid, "a sequence of integers ≥ 1, e.g. (256, 256)")
        require_option(self, "layer_norm", isinstance(self.layer_norm, bool), "True or False")


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

    gamma: float = 0.8
    reward_scale: float = 0.1
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 3e-4
    tau: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, "gamma", is_number(self.gamma) and 0 <= self.gamma < 1, "in [0, 1)")
        require_option(self, "tau", is_number(self.tau) and 0 < self.tau <= 1, "in (0, 1]")
        for name in ("reward_scale", "actor_learning_rate", "critic_learning_rate"):
            require_option(self, name, is_positive(getattr(self, name)), "> 0")


@dataclass(frozen=True, kw_only=True)
class BCOptions(TrainingOptions):
    """Options of behaviour cloning.

    Attributes:
        learning_rate: Of Adam, > 0.
    """

    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, "learning_rate", is_positive(self.learning_rate), "> 0")


@dataclass(frozen=True, kw_only=True)
class TD3PlusBCOptions(ValueOptions):
    """Options of TD3+BC.

    Attributes:
        alpha: Weight of the Q-function, normalised by the mean |Q| of the batch, against the behaviour term, > 0.
            The paper's 2.5 strays too far from the data in 32 latent dimensions.
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, "alpha", is_positive(self.alpha), "> 0")


@dataclass(frozen=True, kw_only=True)
class IQLOptions(ValueOptions):
    """Options of IQL.

    Attributes:
        expectile: Expectile of the value regression, in (0, 1).
        weight_temp: Inverse temperature of the advantage weights, > 0.
    """

    expectile: float = 0.7
    weight_temp: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, "expectile", is_number(self.expectile) and 0 < self.expectile < 1, "in (0, 1)")
        require_option(self, "weight_temp", is_positive(self.weight_temp), "> 0")


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

    actor_learning_rate: float = 1e-4
    conservative_weight: float = 0.1
    num_action_samples: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, "conservative_weight", is_positive(self.conservative_weight), "> 0")
        require_option(self, "num_action_samples", is_count(self.num_action_samples), "an integer ≥ 1")


@dataclass(frozen=True, kw_only=True)
class AWACOptions(ValueOptions):
    """Options of AWAC.

    Attributes:
        temperature: λ of the advantage weights exp(A / λ), > 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(self, "temperature", is_positive(self.temperature), "> 0")


def make_options(kind: type[OptionsT], agent: str, given: Mapping[str, Any]) -> OptionsT:
    """Makes checked options out of keyword arguments.

    Args:
        kind: The dataclass.
        agent: The agent's class name, for the error.
        given: The keyword arguments.

    Raises:
        ValueError: If a name is unknown (it shows the nearest) or a value is out of its range.
    """
    known = [field.name for field in fields(kind)]
    for name in given:
        if name not in known:
            raise unknown_name(f"option of {agent}", name, known)
    return kind(**given)


def require_option(options: TrainingOptions, name: str, valid: bool, wanted: str) -> None:
    """Raises a ``ValueError`` that names the option and its value, unless it is valid."""
    if not valid:
        raise ValueError(f"option {name} must be {wanted}, got {getattr(options, name)!r}")
