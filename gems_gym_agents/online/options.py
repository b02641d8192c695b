"""Settings of the online agents; they stand apart, as agents, models and trainings all need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Interval

from gems_gym.common.checks import (
    Count,
    Discount,
    Positive,
    Probability,
    Units,
    WholeNumber,
    check_fields,
)


@dataclass(frozen=True, kw_only=True)
class SACOptions:
    """Settings of SAC; the defaults are the project's recipe for beliefs and GeMS latents.

    Attributes:
        agent: The name of the agent whose settings these are.
        gamma: Discount factor, in [0, 1).
        initial_entropy: The entropy coefficient to start with, > 0; it is tuned from there. SB3's ``"auto_0.05"``.
            Starting at SB3's usual 1 drowns the clicks of 32 latent dimensions in entropy for most of a short run.
        target_entropy: In nats; ``None``: minus the number of latent dimensions.
        net_arch: Units of the hidden layers, the same for actor and critics.
        layer_norm: ``LayerNorm`` after each hidden layer of actor and critics.
        learning_rate: Of actor, critics and entropy coefficient (one value for all three in SB3), > 0.
        tau: How far the target critics move at every update, in (0, 1].
        batch_size: Transitions per update, ≥ 1.
        gradient_steps: Updates after each step of all users, ≥ 1. With one for 100 users, runs of as many interactions
            are three times as fast, learn later and differ more between seeds.
        learning_starts: Interactions with uniformly random actions before the first update.
        hold_random_actions: Whether each user's random action is drawn once a session and not at every step, so that
            the first thing learned is what a latent is worth over a session.
        buffer_size: Transitions kept, over all users; bounds memory (about 290 bytes each for 20 numbers in, 32 out).
        reward_scale: Factor on rewards inside the algorithm, > 0; reports stay in raw clicks.
        validate_every: Interactions between two kept (and, with ``evaluate``, scored) policies, rounded up to complete
            sessions of all users; an interrupted run resumes from the last of them.
        starts: How often training begins, each time from another seed, ≥ 1. After 1, 2, 4, ... rounds of
            ``validate_every`` interactions the half with the worse policies on validation users is dropped, until one
            start is left: what SAC finds early decides much of where it ends. The interactions of all count.
        averaged_share: How much of the training, at its end, is averaged, in [0, 1]: the mean of the weights of the
            policies kept there is the last policy, beside them (:func:`gems_gym_agents.online.checkpoints.mean_actor`).
            0: none is.
    """

    agent: ClassVar[str] = "sac"

    gamma: Discount = 0.8
    initial_entropy: Positive = 0.05
    target_entropy: float | None = None
    net_arch: tuple[Units, ...] = (128, 128)
    layer_norm: bool = True
    learning_rate: Positive = 1e-3
    tau: Annotated[float, Interval(gt=0, le=1)] = 0.005
    batch_size: Count = 256
    gradient_steps: Count = 4
    learning_starts: WholeNumber = 10_000
    hold_random_actions: bool = False
    buffer_size: Count = 300_000
    reward_scale: Positive = 1.0
    validate_every: Count = 50_000
    starts: Annotated[int, Interval(ge=1, le=1024)] = 1
    averaged_share: Probability = 0.5

    def __post_init__(self) -> None:
        check_fields(self)
        if self.batch_size > self.buffer_size:
            raise ValueError(
                f"batch_size must be at most buffer_size={self.buffer_size}, got {self.batch_size}"
            )


@dataclass(frozen=True, kw_only=True)
class EndToEndOptions(SACOptions):
    """Settings of SAC whose actor and critics have a GRU of their own, trained with them.

    Attributes:
        window: Moments that gradients reach back, ≥ 1; the state before them is the one recorded when they were met.
        pretrained: Whether the GRUs start from the environment's belief; from random weights of its sizes otherwise.
        buffer_size: Transitions kept, over all users (about 650 bytes each for beliefs of 20 and slates of 10).
    """

    agent: ClassVar[str] = "sac_end_to_end"

    window: Count = 5
    pretrained: bool = True
